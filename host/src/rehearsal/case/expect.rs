//! What must come of a case, and how it differs from what came.

use conclave_core::entry::Entry;
use conclave_core::generation;
use conclave_core::outcome::{CauseKind, Proposal, Verdict};
use serde::Deserialize;

use super::Texts;
use super::short::{Short, maybe};
use crate::rehearsal::Played;

/// `[expect]`: whatever is absent may be anything. A case that says nothing expects an outcome.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Expect {
    /// How it ends.
    pub(super) outcome: Option<Ending>,
    /// The best candidate.
    #[serde(deserialize_with = "maybe")]
    pub(super) winner: Option<Winner>,
    /// Generations that were asked for.
    #[serde(deserialize_with = "maybe")]
    pub(super) generations: Option<Count>,
    /// Generations that were cancelled.
    #[serde(deserialize_with = "maybe")]
    pub(super) cancelled: Option<Count>,
    /// Rounds.
    pub(super) rounds: Option<u32>,
    /// Whether it stopped before all that it might have asked for.
    pub(super) stopped_early: Option<bool>,
    /// The candidates' agents, best first.
    pub(super) ranking: Option<Vec<String>>,
    /// The candidates' scores in the order of the case's candidates, within 0.001.
    pub(super) scores: Option<Vec<f64>>,
    /// What the error holds.
    pub(super) error: Option<String>,
    /// Facts that the outcome has among others.
    pub(super) metadata: Texts,
    /// What was emitted, by kind, in order.
    pub(super) emitted: Option<Vec<String>>,
    /// With `record`: whether it does something else than was recorded.
    pub(super) divergence: Option<bool>,
}

/// How a deliberation may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ending {
    /// With an outcome.
    Completed,
    /// With an error that the plugin returned.
    Refused,
    /// With any other failure: a trap, a limit, a deadline, a broken rule.
    Failed,
    /// By a wish of the client.
    Cancelled,
}

/// What is said of the winner: its whole content in the short form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Winner {
    agent: Option<String>,
    content: Option<String>,
    contains: Option<String>,
    score_min: Option<f64>,
}

impl Short for Winner {
    const EXPECTED: &'static str = "the winner's content, or a table with `agent`, `content`, \
                                    `contains` or `score_min`";

    fn of_text(text: &str) -> Option<Self> {
        Some(Self {
            content: Some(text.to_owned()),
            ..Self::default()
        })
    }
}

/// Bounds of a number; in the short form it is exactly that number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Count {
    min: Option<usize>,
    max: Option<usize>,
}

impl Short for Count {
    const EXPECTED: &'static str = "a number, or a table with `min` or `max`";

    fn of_number(number: u64) -> Option<Self> {
        let exactly = usize::try_from(number).ok();
        Some(Self {
            min: exactly,
            max: exactly,
        })
    }
}

impl Count {
    fn problem(&self, what: &str, got: usize) -> Option<String> {
        let (min, max) = (self.min, self.max);
        let fits = min.is_none_or(|min| got >= min) && max.is_none_or(|max| got <= max);
        let expected = match (min, max) {
            (Some(min), Some(max)) if min == max => min.to_string(),
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => "any".to_owned(),
        };
        (!fits).then(|| differs(what, &expected, &got.to_string()))
    }
}

fn differs(what: &str, expected: &str, got: &str) -> String {
    format!("{what}: expected {expected}, got {got}")
}

impl Expect {
    /// Whether anything is said of what comes out.
    pub(super) fn wants_outcome(&self) -> bool {
        self.outcome.is_some()
            || self.winner.is_some()
            || self.generations.is_some()
            || self.cancelled.is_some()
            || self.rounds.is_some()
            || self.stopped_early.is_some()
            || self.ranking.is_some()
            || self.scores.is_some()
            || self.error.is_some()
            || !self.metadata.is_empty()
            || self.emitted.is_some()
    }

    /// Every difference.
    pub(super) fn problems(&self, played: &Played) -> Vec<String> {
        let mut problems = Vec::new();
        let got = Ending::of(&played.verdict);
        let by_error = self.error.as_ref().map(|_| got);
        let expected = self.outcome.or(by_error).unwrap_or(Ending::Completed);
        if got != expected || (self.error.is_some() && got == Ending::Completed) {
            problems.push(differs("outcome", expected.word(), &told(&played.verdict)));
        }
        if let Some(error) = &self.error {
            let message = message(&played.verdict);
            if !message.contains(error) && got != Ending::Completed {
                problems.push(differs("error", &format!("… {error} …"), message));
            }
        }
        self.count(played, &mut problems);
        if let Verdict::Completed(outcome) = &played.verdict {
            self.compare(&outcome.proposal, played, &mut problems);
        }
        problems
    }

    fn count(&self, played: &Played, problems: &mut Vec<String>) {
        let entries = || played.records.iter().map(|record| &record.entry);
        if let Some(generations) = &self.generations {
            let is = |entry: &&Entry| matches!(entry, Entry::Submitted { .. });
            problems.extend(generations.problem("generations", entries().filter(is).count()));
        }
        if let Some(cancelled) = &self.cancelled {
            let is = |entry: &&Entry| {
                matches!(
                    entry,
                    Entry::Completed {
                        result: Err(generation::Failure::Cancelled),
                        ..
                    }
                )
            };
            problems.extend(cancelled.problem("cancelled", entries().filter(is).count()));
        }
        if let Some(emitted) = &self.emitted {
            let kinds = entries().filter_map(|entry| match entry {
                Entry::Emitted { kind, .. } => Some(kind.clone()),
                _ => None,
            });
            let kinds: Vec<_> = kinds.collect();
            if kinds != *emitted {
                let (expected, got) = (emitted.join(", "), kinds.join(", "));
                problems.push(differs("emitted", &expected, &got));
            }
        }
    }

    fn compare(&self, proposal: &Proposal, played: &Played, problems: &mut Vec<String>) {
        if let (Some(winner), Some(best)) = (&self.winner, proposal.ranked.first()) {
            let content = &best.candidate.content;
            let whole = winner.clone();
            let agent = best.candidate.agent.as_str();
            if let Some(expected) = whole.agent.filter(|expected| expected != agent) {
                problems.push(differs("winner.agent", &expected, agent));
            }
            if let Some(expected) = whole.content.filter(|expected| expected != content) {
                let (expected, got) = (format!("{expected:?}"), format!("{content:?}"));
                problems.push(differs("winner.content", &expected, &got));
            }
            if let Some(expected) = whole.contains.filter(|part| !content.contains(part)) {
                let (expected, got) = (format!("… {expected:?} …"), format!("{content:?}"));
                problems.push(differs("winner.contains", &expected, &got));
            }
            let score = best.score.value;
            if let Some(expected) = whole.score_min.filter(|min| score < *min) {
                let expected = format!("at least {expected}");
                problems.push(differs("winner.score_min", &expected, &score.to_string()));
            }
        }
        if let Some(expected) = self.rounds.filter(|rounds| *rounds != proposal.rounds) {
            let (expected, got) = (expected.to_string(), proposal.rounds.to_string());
            problems.push(differs("rounds", &expected, &got));
        }
        let early = proposal.stopped_early;
        if let Some(expected) = self.stopped_early.filter(|expected| *expected != early) {
            let (expected, got) = (expected.to_string(), early.to_string());
            problems.push(differs("stopped_early", &expected, &got));
        }
        let agents = proposal.ranked.iter().map(|one| &one.candidate.agent);
        let agents: Vec<_> = agents.map(ToString::to_string).collect();
        if let Some(expected) = self.ranking.as_ref().filter(|want| **want != agents) {
            let (expected, got) = (expected.join(", "), agents.join(", "));
            problems.push(differs("ranking", &expected, &got));
        }
        for (key, expected) in &self.metadata {
            let got = proposal.metadata.get(key);
            if got != Some(expected) {
                let got = got.map_or("nothing", String::as_str);
                problems.push(differs(&format!("metadata.{key}"), expected, got));
            }
        }
        if let Some(expected) = &self.scores {
            compare_scores(expected, played, problems);
        }
    }
}

/// Compares the last call of the scorer.
fn compare_scores(expected: &[f64], played: &Played, problems: &mut Vec<String>) {
    let last = played
        .records
        .iter()
        .rev()
        .find_map(|record| match &record.entry {
            Entry::Scored {
                result: Ok(scores), ..
            } => Some(scores),
            _ => None,
        });
    let got: Vec<_> = last
        .into_iter()
        .flatten()
        .map(|score| score.value)
        .collect();
    let near = |(left, right): (&f64, &f64)| (left - right).abs() <= 0.001;
    if got.len() != expected.len() || !expected.iter().zip(&got).all(near) {
        let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
        problems.push(differs("scores", &expected, &got));
    }
}

impl Ending {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Completed(_) => Self::Completed,
            Verdict::Failed(cause) => match cause.kind {
                CauseKind::StrategyFailed | CauseKind::AllAgentsFailed => Self::Refused,
                _ => Self::Failed,
            },
            Verdict::Cancelled(_) => Self::Cancelled,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

fn message(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Completed(_) => "",
        Verdict::Failed(cause) => &cause.message,
        Verdict::Cancelled(reason) => reason,
    }
}

fn told(verdict: &Verdict) -> String {
    let word = Ending::of(verdict).word();
    match message(verdict) {
        "" => word.to_owned(),
        message => format!("{word}: {message}"),
    }
}
