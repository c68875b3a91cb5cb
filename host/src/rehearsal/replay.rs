//! A recorded deliberation once more, with the component that it ran on or with another one.
//!
//! [`again`] answers every call from the record, in its order: whoever does the same comes to the same
//! end, and whoever does something else has diverged at that entry. [`anew`] begins anew, and answers
//! each generation that was asked for in the record, word for word, with what came of it there.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_core::entry::{Entry, Record};
use conclave_core::generation::Failure;
use conclave_core::ids::Actor;
use conclave_core::outcome::{Candidate, Score as Grade, Verdict};
use conclave_core::plugin::{Kind, PluginRef};

use super::cast::{Lead, RecordedScores, Score};
use super::divergence::divergence;
use super::recorded::Recorded;
use super::stage::{Play, Played, Unplayable, play};
use crate::wasm::Solo;

/// A record that was run again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The run.
    pub played: Played,
    /// Where the plugin did something else than was recorded, and what.
    pub divergence: Option<String>,
}

/// A recorded deliberation that was begun anew.
#[derive(Clone, Debug)]
pub struct Anew {
    /// The run.
    pub played: Played,
    /// What was asked for and is not in the record, each in a sentence.
    pub unrecorded: Vec<String>,
}

/// Runs the plugin against the record, entry by entry. A scorer is run on every recorded call of one.
///
/// # Errors
/// When the record is no beginning of a deliberation.
pub async fn again(
    records: &[Record],
    solo: &Solo,
    reference: &PluginRef,
) -> Result<Again, Unplayable> {
    match solo.kind() {
        Kind::Strategy => strategy_again(records, solo, reference).await,
        Kind::Scorer => scorer_again(records, solo, reference).await,
    }
}

async fn strategy_again(
    records: &[Record],
    solo: &Solo,
    reference: &PluginRef,
) -> Result<Again, Unplayable> {
    let past = past(with_plugin(records, solo.kind(), reference));
    let end = past.last().map(|record| record.seq);
    let played = play(Play {
        records: past,
        strategy: Lead::Component(solo.clone()),
        scorer: Score::Recorded(Arc::new(RecordedScores::new(records, None))),
        answers: Arc::new(Recorded::of(records)),
        cancel_at_ms: None,
    });
    let played = played.await?;
    let divergence = divergence(records, end, &played);
    Ok(Again { played, divergence })
}

/// Runs a scorer on each recorded call, and compares the grades.
async fn scorer_again(
    records: &[Record],
    solo: &Solo,
    reference: &PluginRef,
) -> Result<Again, Unplayable> {
    let recorded = Arc::new(Recorded::of(records));
    let (mut last, mut divergence) = (None, None);
    for (call, candidates, result) in calls_of_scorer(records) {
        let played = grade(records, candidates, &recorded, solo, reference).await?;
        let graded = played.records.iter().rev().find_map(scored);
        if divergence.is_none() && graded != Some(result) {
            divergence = Some(format!(
                "score call {call}: recorded {}, now {}",
                grades(Some(result)),
                grades(graded)
            ));
        }
        last = Some(played);
    }
    let played = last.ok_or_else(no_call)?;
    Ok(Again { played, divergence })
}

fn no_call() -> Unplayable {
    Unplayable::Broken("the record holds no call of a scorer".to_owned())
}

async fn grade(
    records: &[Record],
    candidates: &[Candidate],
    recorded: &Arc<Recorded>,
    solo: &Solo,
    reference: &PluginRef,
) -> Result<Played, Unplayable> {
    let first = with_plugin(&records[..1], solo.kind(), reference);
    play(Play {
        records: first,
        strategy: Lead::Grading(candidates.to_vec()),
        scorer: Score::Component(solo.clone()),
        answers: recorded.clone(),
        cancel_at_ms: None,
    })
    .await
}

type Grades = Result<Vec<Grade>, Failure>;

fn scored(record: &Record) -> Option<&Grades> {
    match &record.entry {
        Entry::Scored { result, .. } => Some(result),
        _ => None,
    }
}

/// The calls of the scorer that were answered, with candidates and grades.
fn calls_of_scorer(records: &[Record]) -> Vec<(Actor, &[Candidate], &Grades)> {
    let mut asked = BTreeMap::new();
    let mut calls = Vec::new();
    for record in records {
        match &record.entry {
            Entry::Scoring {
                scorer, candidates, ..
            } => {
                asked.insert(*scorer, candidates.as_slice());
            }
            Entry::Scored { scorer, result, .. } => {
                calls.extend(asked.remove(scorer).map(|asked| (*scorer, asked, result)));
            }
            _ => {}
        }
    }
    calls
}

fn grades(result: Option<&Grades>) -> String {
    match result {
        Some(Ok(scores)) => {
            let values = scores.iter().map(|score| format!("{:.3}", score.value));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        Some(Err(failure)) => format!("the error `{failure}`"),
        None => "nothing".to_owned(),
    }
}

/// Begins the recorded deliberation anew with this plugin. `scorer` grades what a strategy puts forward
/// that was not graded in the record.
///
/// # Errors
/// When the record is no beginning of a deliberation.
pub async fn anew(
    records: &[Record],
    solo: &Solo,
    reference: &PluginRef,
    scorer: Option<Solo>,
) -> Result<Anew, Unplayable> {
    let recorded = Arc::new(Recorded::of(records));
    let played = match solo.kind() {
        Kind::Strategy => {
            let first = with_plugin(records.get(..1).unwrap_or_default(), solo.kind(), reference);
            let played = play(Play {
                records: first,
                strategy: Lead::Component(solo.clone()),
                scorer: Score::Recorded(Arc::new(RecordedScores::new(records, scorer))),
                answers: recorded.clone(),
                cancel_at_ms: None,
            });
            played.await?
        }
        Kind::Scorer => {
            let last = calls_of_scorer(records).pop();
            let (_, candidates, _) = last.ok_or_else(no_call)?;
            grade(records, candidates, &recorded, solo, reference).await?
        }
    };
    Ok(Anew {
        played,
        unrecorded: recorded.unrecorded(),
    })
}

/// How a recorded deliberation ended, if it has.
#[must_use]
pub fn verdict_of(records: &[Record]) -> Option<&Verdict> {
    match records.last().map(|record| &record.entry) {
        Some(Entry::Finished { verdict, .. }) => Some(verdict),
        _ => None,
    }
}

/// The records with another plugin in the first one.
fn with_plugin(records: &[Record], kind: Kind, reference: &PluginRef) -> Vec<Record> {
    let mut records = records.to_vec();
    if let Some(Entry::Accepted(accepted)) = records.first_mut().map(|record| &mut record.entry) {
        match kind {
            Kind::Strategy => accepted.strategy = reference.clone(),
            Kind::Scorer => accepted.scorer = reference.clone(),
        }
    }
    records
}

/// The records without what ended the deliberation: its plugin is to come to its end by itself.
fn past(mut records: Vec<Record>) -> Vec<Record> {
    let last_effect = records
        .iter()
        .rposition(|record| record.entry.actor().is_some());
    let mut place = 0;
    records.retain(|record| {
        let is_end = match &record.entry {
            Entry::Finished { .. } | Entry::CancelRequested { .. } | Entry::Paused { .. } => true,
            // It was aborted for the end.
            Entry::Completed { result, .. } => *result == Err(Failure::Cancelled),
            _ => false,
        };
        let is_behind = last_effect.is_none_or(|last| place > last);
        place += 1;
        !(is_end && is_behind)
    });
    records
}
