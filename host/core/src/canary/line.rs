//! Puts deliberations that ended back into the order in which they were accepted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::DeliberationId;

use super::Observation;

/// Longest that those behind a deliberation wait for it, from its acceptance: a client may allow one
/// an hour, and a bad canary must go before that.
const WAIT_MAX_MS: u64 = 300_000;
/// More than a host should ever have between the oldest that runs and the newest that ended.
const PLACES_MAX: usize = 4096;

/// Where a deliberation stands: when it was accepted, in milliseconds since the Unix epoch, and which
/// it is.
pub(super) type Place = (u64, DeliberationId);

/// Deliberations between the oldest that runs and the newest that was accepted, of bounded number.
///
/// One that runs for too long is passed over, and taken when it ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(Place, Standing)>", into = "Vec<(Place, Standing)>")]
pub(super) struct Line(BTreeMap<Place, Standing>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// It runs; nobody waits for it beyond this time.
    Running { until_ms: u64 },
    /// It ended, and waits for those before it.
    Ended(Observation),
}

impl Line {
    /// A deliberation was accepted, and ends within `timeout_ms`.
    pub(super) fn enter(&mut self, place: Place, timeout_ms: u64) {
        let until_ms = place.0.saturating_add(timeout_ms.min(WAIT_MAX_MS));
        self.0.insert(place, Standing::Running { until_ms });
    }

    /// A deliberation ended; `None` when its end says nothing. Answers those whose turn it is now.
    pub(super) fn leave(
        &mut self,
        place: Place,
        observation: Option<Observation>,
        now_ms: u64,
    ) -> Vec<Observation> {
        match observation {
            Some(observation) => self.0.insert(place, Standing::Ended(observation)),
            None => self.0.remove(&place),
        };
        let mut turn = Vec::new();
        while let Some(first) = self.0.first_entry() {
            if let Standing::Running { until_ms } = first.get()
                && *until_ms > now_ms
            {
                break;
            }
            turn.extend(first.remove().ended());
        }
        while self.0.len() > PLACES_MAX {
            let first = self.0.pop_first();
            turn.extend(first.and_then(|(_, standing)| standing.ended()));
        }
        turn
    }
}

impl Standing {
    fn ended(self) -> Option<Observation> {
        match self {
            Self::Running { .. } => None,
            Self::Ended(observation) => Some(observation),
        }
    }
}

impl From<Vec<(Place, Standing)>> for Line {
    fn from(places: Vec<(Place, Standing)>) -> Self {
        Self(places.into_iter().collect())
    }
}

impl From<Line> for Vec<(Place, Standing)> {
    fn from(line: Line) -> Self {
        line.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Ending;
    use crate::channel::{Arm, Draw, Share};

    fn place(at_ms: u64) -> Place {
        (at_ms, DeliberationId::new(&format!("deliberation-{at_ms}")))
    }

    fn scored(score: f64) -> Observation {
        Observation {
            draw: Draw {
                share: Share::try_from(1000).unwrap(),
                arm: Arm::Canary,
                canary: 1,
            },
            ending: Ending::Completed(score),
        }
    }

    #[test]
    fn those_that_ended_wait_for_those_that_were_accepted_before() {
        let mut line = Line::default();
        (1..=4).for_each(|at_ms| line.enter(place(at_ms), 1000));
        assert_eq!(line.leave(place(3), Some(scored(0.3)), 10), []);
        assert_eq!(line.leave(place(2), Some(scored(0.2)), 20), []);
        let turn = line.leave(place(1), Some(scored(0.1)), 30);
        assert_eq!(turn, [0.1, 0.2, 0.3].map(scored));
        let turn = line.leave(place(4), Some(scored(0.4)), 40);
        assert_eq!(turn, [scored(0.4)]);
        assert_eq!(line, Line::default());
    }

    #[test]
    fn one_that_says_nothing_lets_the_next_pass() {
        let mut line = Line::default();
        (1..=2).for_each(|at_ms| line.enter(place(at_ms), 1000));
        assert_eq!(line.leave(place(2), Some(scored(0.2)), 10), []);
        assert_eq!(line.leave(place(1), None, 20), [scored(0.2)]);
    }

    #[test]
    fn nobody_waits_long_and_one_that_was_passed_over_is_taken_when_it_ends() {
        let mut line = Line::default();
        line.enter(place(1), u64::MAX);
        line.enter(place(2), 1000);
        line.enter(place(3), 1000);
        assert_eq!(line.leave(place(2), Some(scored(0.2)), WAIT_MAX_MS), []);
        let turn = line.leave(place(3), Some(scored(0.3)), 1 + WAIT_MAX_MS);
        assert_eq!(turn, [scored(0.2), scored(0.3)]);
        let turn = line.leave(place(1), Some(scored(0.1)), 2 + WAIT_MAX_MS);
        assert_eq!(turn, [scored(0.1)]);
    }

    #[test]
    fn a_line_has_an_end() {
        let mut line = Line::default();
        let places = u64::try_from(PLACES_MAX).unwrap() + 10;
        (0..places).for_each(|at_ms| line.enter(place(at_ms), u64::MAX));
        let turn = line.leave(place(3), Some(scored(0.3)), places);
        assert_eq!(turn, [scored(0.3)]);
        assert_eq!(line.0.len(), PLACES_MAX);
    }

    #[test]
    fn a_line_reads_back_from_json() {
        let mut line = Line::default();
        (1..=3).for_each(|at_ms| line.enter(place(at_ms), 1000));
        line.leave(place(2), Some(scored(0.2)), 10);
        let json = serde_json::to_string(&line).unwrap();
        let mut read: Line = serde_json::from_str(&json).unwrap();
        assert_eq!(read, line);
        assert_eq!(read.leave(place(1), None, 20), [scored(0.2)]);
    }
}
