//! Where a strategy that runs on a record does something else than was recorded.

use std::collections::BTreeSet;

use conclave_core::entry::Record;
use conclave_core::ids::Seq;
use conclave_core::outcome::{CauseKind, Outcome, Verdict};
use serde_json::{Map, Value, json};

use super::replay::verdict_of;
use super::stage::Played;

/// Where a strategy did something else than the record, whose last entry by plugins is `end`.
pub(super) fn divergence(records: &[Record], end: Option<Seq>, played: &Played) -> Option<String> {
    if let Verdict::Failed(cause) = &played.verdict
        && cause.kind == CauseKind::NondeterministicPlugin
    {
        return Some(cause.message.clone());
    }
    if let Some(seq) = played.ended_before {
        let step = records.iter().find(|record| record.seq == seq);
        let step = step.map_or_else(String::new, |record| record.entry.describe());
        let now = ending(&played.verdict);
        return Some(format!(
            "it ended before recorded step {seq}: expected to {step}, actual: {now}"
        ));
    }
    // Whoever was ended by others might have gone on.
    let recorded = verdict_of(records).filter(|recorded| is_by_plugin(recorded))?;
    let mut records = played.records.iter();
    let further = records.find(|record| Some(record.seq) > end && record.entry.actor().is_some());
    match further {
        Some(further) => Some(format!(
            "it diverged behind the last recorded step: expected to {}, actual: {}",
            ending(recorded),
            further.entry.describe()
        )),
        None if is_same_end(&played.verdict, recorded) => None,
        None => Some(other_end(recorded, &played.verdict)),
    }
}

/// What is told of two ends that are not the same.
fn other_end(recorded: &Verdict, now: &Verdict) -> String {
    let (expected, actual) = (ending(recorded), ending(now));
    match (recorded, now) {
        (Verdict::Completed(recorded), Verdict::Completed(now)) if expected == actual => format!(
            "it took every recorded step and came to another outcome: {}",
            difference(recorded, now)
        ),
        _ => format!(
            "it took every recorded step and came to another end: expected to {expected}, actual: \
             {actual}"
        ),
    }
}

/// The first part of two outcomes that differs, by its name in the contract.
fn difference(recorded: &Outcome, now: &Outcome) -> String {
    let json = |outcome: &Outcome| json!(outcome.proposal);
    let (recorded, now) = (json(recorded), json(now));
    first_difference("", &recorded, &now).unwrap_or_else(|| "which agents answered".to_owned())
}

fn first_difference(path: &str, recorded: &Value, now: &Value) -> Option<String> {
    match (recorded, now) {
        (recorded, now) if recorded == now => None,
        (Value::Object(recorded), Value::Object(now)) => {
            let keys: BTreeSet<_> = recorded.keys().chain(now.keys()).collect();
            let dot = if path.is_empty() { "" } else { "." };
            let of = |object: &Map<String, Value>, key| object.get(key).cloned();
            keys.into_iter().find_map(|key| {
                let (recorded, now) = (of(recorded, key), of(now, key));
                let path = format!("{path}{dot}{key}");
                first_difference(&path, &recorded.into(), &now.into())
            })
        }
        (Value::Array(recorded), Value::Array(now)) if recorded.len() == now.len() => {
            let mut pairs = recorded.iter().zip(now).enumerate();
            pairs.find_map(|(place, (recorded, now))| {
                first_difference(&format!("{path}[{place}]"), recorded, now)
            })
        }
        (Value::Array(recorded), Value::Array(now)) => {
            let (recorded, now) = (recorded.len(), now.len());
            Some(format!("{path}: expected {recorded} of them, got {now}"))
        }
        (recorded, now) => Some(format!("{path}: expected {recorded}, got {now}")),
    }
}

/// Whether the plugin itself came to this end.
fn is_by_plugin(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Completed(_) => true,
        Verdict::Failed(cause) => matches!(
            cause.kind,
            CauseKind::StrategyFailed
                | CauseKind::AllAgentsFailed
                | CauseKind::PluginInvalid
                | CauseKind::PluginTrapped
                | CauseKind::PluginLimitExceeded
        ),
        Verdict::Cancelled(_) => false,
    }
}

/// Whether two ends are the same; messages of failures name the plugin, and may differ for that.
fn is_same_end(one: &Verdict, other: &Verdict) -> bool {
    match (one, other) {
        (Verdict::Failed(one), Verdict::Failed(other)) => one.kind == other.kind,
        (one, other) => one == other,
    }
}

fn ending(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Completed(outcome) => {
            let winner = outcome.winner();
            let (agent, score) = (&winner.candidate.agent, winner.score.value);
            format!("complete with the winner of `{agent}` (score {score:.3})")
        }
        Verdict::Failed(cause) => format!("fail with: {}", cause.message),
        Verdict::Cancelled(_) => "be cancelled".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named_by_its_path() {
        let recorded = json!({
            "ranked": [{"score": {"value": 0.5, "rationale": "good"}}],
            "reasoning": "the best score",
        });
        let mut now = recorded.clone();
        assert_eq!(first_difference("", &recorded, &now), None);
        now["reasoning"] = json!("the best of scores");
        assert_eq!(
            first_difference("", &recorded, &now).unwrap(),
            "reasoning: expected \"the best score\", got \"the best of scores\""
        );
        now["ranked"][0]["score"]["rationale"] = Value::Null;
        assert_eq!(
            first_difference("", &recorded, &now).unwrap(),
            "ranked[0].score.rationale: expected \"good\", got null"
        );
        now["ranked"] = json!([]);
        assert_eq!(
            first_difference("", &recorded, &now).unwrap(),
            "ranked: expected 1 of them, got 0"
        );
    }
}
