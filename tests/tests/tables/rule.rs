//! What a stop rule does in every state that sampling can reach, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::SAMPLES_MAX;
use crate::sampling::Sampling;

/// How many samples were right, and how many wrong.
pub(crate) type State = (usize, usize);

/// What the component does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    GoesOn,
    Stops { right_wins: bool },
}

/// What it does in every state that it can reach.
pub(crate) type Decisions = BTreeMap<State, Decision>;

fn after((right, wrong): State, sample: bool) -> State {
    if sample {
        (right + 1, wrong)
    } else {
        (right, wrong + 1)
    }
}

/// The shortest way to a state whose decision is not known; behind it, on into what is not known.
fn path_into_the_unknown(known: &Decisions) -> Option<Vec<bool>> {
    let mut paths = VecDeque::from([((0, 0), Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((state, path)) = paths.pop_front() {
        for sample in [true, false] {
            let next = after(state, sample);
            let mut path: Vec<bool> = path.clone();
            path.push(sample);
            match known.get(&next) {
                None => return Some(extended(known, next, path)),
                Some(Decision::GoesOn) if seen.insert(next) => paths.push_back((next, path)),
                Some(_) => {}
            }
        }
    }
    None
}

fn extended(known: &Decisions, mut state: State, mut path: Vec<bool>) -> Vec<bool> {
    while path.len() < SAMPLES_MAX {
        let is_known = |sample| known.contains_key(&after(state, sample));
        // Towards what is not known, and else along the diagonal, where sampling goes on longest.
        let to_the_diagonal = state.0 <= state.1;
        let away = is_known(to_the_diagonal) && !is_known(!to_the_diagonal);
        let sample = to_the_diagonal != away;
        state = after(state, sample);
        path.push(sample);
    }
    path
}

/// Every decision that sampling by this rule can come to. The rule must see counts only: states that
/// are reached on several ways must be decided the same.
pub(crate) async fn decisions(sampling: &Sampling, params: &Value) -> Decisions {
    let mut known = Decisions::from([((0, 0), Decision::GoesOn)]);
    while let Some(path) = path_into_the_unknown(&known) {
        let run = sampling.run(params, &path).await;
        let mut state = (0, 0);
        for (place, sample) in path[..run.samples].iter().enumerate() {
            state = after(state, *sample);
            let decision = if place + 1 < run.samples {
                Decision::GoesOn
            } else {
                Decision::Stops {
                    right_wins: run.right_wins,
                }
            };
            let before = known.insert(state, decision).unwrap_or(decision);
            // Which answer wins a tie is no matter of counts.
            let same = match state.0 == state.1 {
                true => (before == Decision::GoesOn) == (decision == Decision::GoesOn),
                false => before == decision,
            };
            assert!(same, "{state:?}: {before:?}, then {decision:?}");
        }
    }
    known
}

/// Accuracy and mean samples when a sample is right with probability `p`.
pub(crate) fn expected(decisions: &Decisions, p: f64) -> (f64, f64) {
    let (mut accuracy, mut mean) = (0.0, 0.0);
    let mut reached = BTreeMap::from([((0, 0), 1.0)]);
    for _ in 0..=SAMPLES_MAX {
        let mut next = BTreeMap::new();
        for (state @ (right, wrong), probability) in reached {
            if let Decision::Stops { right_wins } = decisions[&state] {
                mean += probability * (right + wrong) as f64;
                // A tie goes to the answer that was seen first, which is each in half of the ways.
                let share = if right == wrong {
                    0.5
                } else {
                    f64::from(u8::from(right_wins))
                };
                accuracy += probability * share;
                continue;
            }
            for (sample, chance) in [(true, p), (false, 1.0 - p)] {
                *next.entry(after(state, sample)).or_default() += probability * chance;
            }
        }
        reached = next;
    }
    (accuracy, mean)
}
