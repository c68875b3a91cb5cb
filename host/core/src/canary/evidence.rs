//! What is known of one canary: the capital of each test, and the counts behind it.

use serde::{Deserialize, Serialize};

use crate::channel::{Arm, Draw, Share};

use super::events::{FixedRate, RelativeRisk};
use super::scores::ScoreBets;
use super::{Counts, Ending, ErrorRate, Finding, Observation, Test};

/// The evidence that a canary is worse than stable, of a size that does not grow.
///
/// Deliberations are not judged in the order in which they end where that depends on the version: a
/// version that fails sooner would have more failures at first, without failing more often. Failures,
/// cancellations and scores are therefore taken in the order of acceptance ([`Trial`](super::Trial)
/// sees to it).
/// A missed deadline comes at the same age on either version; and a trap is taken at once although a
/// version may trap sooner, since stable hardly ever does, and a canary that does must go quickly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    error_rate: ErrorRate,
    /// Of deliberations that could have run on either version.
    canary: Counts,
    stable: Counts,
    /// Of those that could only run on the canary.
    alone: Counts,
    traps: RelativeRisk,
    failures: RelativeRisk,
    deadlines: RelativeRisk,
    cancellations: RelativeRisk,
    scores: ScoreBets,
    traps_alone: FixedRate,
    verdict: Option<Finding>,
}

/// What a deliberation can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Population {
    /// It could have run on either version.
    Either,
    /// It could only run on the canary.
    CanaryAlone,
    /// It could only run on stable, and says nothing.
    StableAlone,
}

impl Population {
    pub(super) fn of(draw: Draw) -> Self {
        match (draw.share, draw.arm) {
            (Share::ALL, Arm::Canary) => Self::CanaryAlone,
            (Share::NONE | Share::ALL, _) => Self::StableAlone,
            _ => Self::Either,
        }
    }
}

impl Evidence {
    /// None yet. The error rate holds for all tests together, over the canary's whole life.
    #[must_use]
    pub fn new(error_rate: ErrorRate) -> Self {
        Self {
            error_rate,
            canary: Counts::default(),
            stable: Counts::default(),
            alone: Counts::default(),
            traps: RelativeRisk::new(),
            failures: RelativeRisk::new(),
            deadlines: RelativeRisk::new(),
            cancellations: RelativeRisk::new(),
            scores: ScoreBets::new(),
            traps_alone: FixedRate::new(),
            verdict: None,
        }
    }

    /// Takes note of one deliberation, in the order of acceptance. A score outside 0 to 1 is moved
    /// into that range, and NaN counts as 0.
    ///
    /// Answers the verdict that the canary is worse, once: when the first test has found so.
    pub fn observe(&mut self, observation: Observation) -> Option<Finding> {
        let now = self.observe_now(observation);
        let in_turn = self.observe_in_turn(observation);
        now.or(in_turn)
    }

    /// The tests that need not wait for deliberations that were accepted before.
    pub(super) fn observe_now(&mut self, observation: Observation) -> Option<Finding> {
        let Observation { draw, ending } = observation.sane();
        match (Population::of(draw), draw.arm) {
            (Population::Either, Arm::Canary) => self.canary.note(ending),
            (Population::Either, Arm::Stable) => self.stable.note(ending),
            (Population::CanaryAlone, _) => {
                self.alone.note(ending);
                return None;
            }
            (Population::StableAlone, _) => return None,
        }
        match ending {
            Ending::Trapped => self.traps.note(draw),
            Ending::DeadlineMissed => self.deadlines.note(draw),
            Ending::Completed(_) | Ending::Failed | Ending::Cancelled => {}
        }
        self.judge()
    }

    /// The tests that take deliberations in the order of acceptance.
    pub(super) fn observe_in_turn(&mut self, observation: Observation) -> Option<Finding> {
        let Observation { draw, ending } = observation.sane();
        match Population::of(draw) {
            Population::Either => {
                self.scores.note(draw, ending.worth());
                match ending {
                    Ending::Completed(_) => {}
                    Ending::Cancelled => self.cancellations.note(draw),
                    Ending::Trapped | Ending::Failed | Ending::DeadlineMissed => {
                        self.failures.note(draw);
                    }
                }
            }
            Population::CanaryAlone => self.traps_alone.note(ending == Ending::Trapped),
            Population::StableAlone => {}
        }
        self.judge()
    }

    fn judge(&mut self) -> Option<Finding> {
        if self.verdict.is_some() {
            return None;
        }
        self.verdict = Test::ALL
            .into_iter()
            .map(|test| self.finding(test))
            .find(Finding::is_enough);
        self.verdict
    }

    /// How far a test is.
    #[must_use]
    pub fn finding(&self, test: Test) -> Finding {
        let none = Counts::default();
        let (evidence, canary, stable) = match test {
            Test::Traps => (self.traps.capital(), self.canary, self.stable),
            Test::Failures => (self.failures.capital(), self.canary, self.stable),
            Test::Deadlines => (self.deadlines.capital(), self.canary, self.stable),
            Test::Cancellations => (self.cancellations.capital(), self.canary, self.stable),
            Test::Scores => (self.scores.capital(), self.canary, self.stable),
            Test::TrapsAlone => (self.traps_alone.capital(), self.alone, none),
        };
        Finding {
            test,
            evidence,
            evidence_needed: self.error_rate.capital_needed(),
            canary,
            stable,
        }
    }

    /// How far the test is that is nearest to a verdict, the first of equals.
    #[must_use]
    pub fn nearest(&self) -> Finding {
        let findings = Test::ALL.map(|test| self.finding(test)).into_iter();
        let nearest = findings
            .rev()
            .max_by(|one, other| one.evidence.total_cmp(&other.evidence));
        nearest.expect("there are tests, which all need the same evidence")
    }

    /// The verdict that the canary is worse, as it was when it was found; it stands.
    #[must_use]
    pub fn verdict(&self) -> Option<&Finding> {
        self.verdict.as_ref()
    }
}

impl Observation {
    /// The observation with a score that can be counted with.
    fn sane(self) -> Self {
        let ending = match self.ending {
            Ending::Completed(score) if score.is_nan() => Ending::Completed(0.0),
            Ending::Completed(score) => Ending::Completed(score.clamp(0.0, 1.0)),
            ending => ending,
        };
        Self { ending, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(share: u16, arm: Arm, ending: Ending) -> Observation {
        let share = Share::try_from(share).unwrap();
        let draw = Draw {
            share,
            arm,
            canary: 1,
        };
        Observation { draw, ending }
    }

    fn evidence() -> Evidence {
        Evidence::new(ErrorRate::default())
    }

    #[test]
    fn four_traps_of_a_canary_of_a_tenth_beside_none_of_stable_are_enough() {
        let mut evidence = evidence();
        for _ in 0..500 {
            assert_eq!(
                evidence.observe(seen(1000, Arm::Stable, Ending::Completed(0.8))),
                None
            );
        }
        for _ in 0..3 {
            assert_eq!(
                evidence.observe(seen(1000, Arm::Canary, Ending::Trapped)),
                None
            );
        }
        let verdict = evidence.observe(seen(1000, Arm::Canary, Ending::Trapped));
        let verdict = verdict.expect("four are enough");
        assert_eq!(verdict.test, Test::Traps);
        assert_eq!((verdict.canary.trapped, verdict.stable.ended), (4, 500));
        assert_eq!(
            evidence.observe(seen(1000, Arm::Canary, Ending::Trapped)),
            None,
            "a verdict is answered once"
        );
        assert_eq!(evidence.verdict(), Some(&verdict), "and it stands");
    }

    #[test]
    fn each_test_looks_at_its_own_endings() {
        for (ending, test) in [
            (Ending::Failed, Test::Failures),
            (Ending::DeadlineMissed, Test::Failures),
            (Ending::DeadlineMissed, Test::Deadlines),
            (Ending::Trapped, Test::Traps),
            (Ending::Trapped, Test::Failures),
            (Ending::Cancelled, Test::Cancellations),
            (Ending::Completed(0.4), Test::Scores),
            (Ending::Failed, Test::Scores),
            (Ending::Cancelled, Test::Scores),
        ] {
            let mut evidence = evidence();
            evidence.observe(seen(1000, Arm::Canary, ending));
            assert!(evidence.finding(test).evidence > 1.0, "{ending:?} {test:?}");
        }
        let mut evidence = evidence();
        evidence.observe(seen(1000, Arm::Canary, Ending::Failed));
        for test in [
            Test::Traps,
            Test::Deadlines,
            Test::Cancellations,
            Test::TrapsAlone,
        ] {
            assert_eq!(evidence.finding(test).evidence, 1.0, "{test:?}");
        }
        let mut evidence = super::tests::evidence();
        evidence.observe(seen(1000, Arm::Canary, Ending::Cancelled));
        assert_eq!(evidence.finding(Test::Failures).evidence, 1.0);
    }

    #[test]
    fn a_deliberation_that_could_not_run_on_both_says_nothing_of_their_difference() {
        let mut evidence = evidence();
        for ending in [Ending::Trapped, Ending::Failed, Ending::Completed(0.0)] {
            evidence.observe(seen(0, Arm::Stable, ending));
            evidence.observe(seen(0, Arm::Canary, ending));
            evidence.observe(seen(10_000, Arm::Stable, ending));
        }
        assert_eq!(evidence, super::tests::evidence());
        for _ in 0..1000 {
            evidence.observe(seen(10_000, Arm::Canary, Ending::Failed));
        }
        assert_eq!(evidence.verdict(), None);
        assert_eq!(evidence.finding(Test::Failures).evidence, 1.0);
        let trap = seen(10_000, Arm::Canary, Ending::Trapped);
        let verdict = (0..9).find_map(|_| evidence.observe(trap));
        let verdict = verdict.expect("traps are judged even alone");
        assert_eq!(verdict.test, Test::TrapsAlone);
    }

    #[test]
    fn scores_that_are_no_numbers_never_make_evidence_that_is_none() {
        for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0] {
            let mut evidence = evidence();
            for step in 0..1000 {
                let arm = if step % 3 == 0 {
                    Arm::Canary
                } else {
                    Arm::Stable
                };
                evidence.observe(seen(3333, arm, Ending::Completed(score)));
            }
            assert_eq!(evidence.verdict(), None, "{score}");
            let finding = evidence.finding(Test::Scores);
            assert!(finding.evidence.is_finite() && finding.evidence > 0.0);
            let mean = finding.canary.score_mean().expect("it completed");
            assert!((0.0..=1.0).contains(&mean), "{mean}");
        }
    }

    #[test]
    fn evidence_reads_back_from_json_and_goes_on_as_if_it_had_not_stopped() {
        let mut evidence = evidence();
        let endings = [
            Ending::Completed(0.1 + 0.2),
            Ending::Trapped,
            Ending::DeadlineMissed,
            Ending::Failed,
            Ending::Cancelled,
        ];
        for step in 0..200_u16 {
            let arm = if step % 7 == 0 {
                Arm::Canary
            } else {
                Arm::Stable
            };
            let ending = endings[usize::from(step % 5)];
            evidence.observe(seen(step * 50, arm, ending));
            let json = serde_json::to_string(&evidence).unwrap();
            assert!(json.len() < 4096, "{} bytes", json.len());
            let read: Evidence = serde_json::from_str(&json).unwrap();
            assert_eq!(read, evidence);
            evidence = read;
        }
    }

    #[test]
    fn a_million_deliberations_leave_numbers() {
        let mut evidence = evidence();
        for step in 0..1_000_000_u32 {
            let arm = if step % 10 == 0 {
                Arm::Canary
            } else {
                Arm::Stable
            };
            let ending = match step % 100 {
                37 => Ending::Trapped,
                51 | 60 => Ending::Failed,
                80 | 83 => Ending::DeadlineMissed,
                90 => Ending::Cancelled,
                _ => Ending::Completed(f64::from(step % 13) / 13.0),
            };
            evidence.observe(seen(1000, arm, ending));
        }
        for test in Test::ALL {
            let finding = evidence.finding(test);
            assert!(finding.evidence.is_finite() && finding.evidence > 0.0);
        }
        let all = evidence.finding(Test::Scores);
        assert_eq!(all.canary.ended + all.stable.ended, 1_000_000);
    }

    #[test]
    fn an_error_rate_is_between_a_millionth_and_a_half() {
        for rate in [f64::NAN, 0.0, -0.1, 0.51, 1.0, f64::INFINITY] {
            assert!(ErrorRate::try_from(rate).is_err(), "{rate}");
        }
        assert_eq!(ErrorRate::default().capital_needed(), 600.0);
        let rate: ErrorRate = serde_json::from_str("0.05").unwrap();
        assert_eq!(rate.capital_needed(), 120.0);
        assert!(serde_json::from_str::<ErrorRate>("0").is_err());
    }
}
