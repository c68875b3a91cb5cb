//! Bets on which version an event befalls, and on how often.

use serde::{Deserialize, Serialize};

use crate::channel::{Arm, Draw};

use super::capital::Capital;

/// Relative risks of the canary that are bet on. The small ones find a small rise in many events, the
/// large ones a new fault in few, also where the canary's share is small.
const RISKS: [f64; 6] = [1.5, 2.0, 4.0, 8.0, 16.0, 64.0];

/// How often a version may trap that nothing can be compared with.
pub(super) const RATE_TOLERATED: f64 = 0.01;
/// How often it does if it is bad.
const RATE_BAD: f64 = 0.1;

/// Bets that the next event of a kind is the canary's.
///
/// The hypothesis: given all events before, and that there is one now, it is the canary's with
/// probability `w`, the draw's, at most. So it is when the canary's rate is no greater than stable's
/// at any time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RelativeRisk(Capital);

impl RelativeRisk {
    pub(super) fn new() -> Self {
        Self(Capital::new(RISKS.len()))
    }

    /// An event befell a deliberation of this draw, whose share is neither nothing nor all.
    ///
    /// The factor is the likelihood of its arm at a relative risk `r` by that at 1:
    /// `r / (r w + 1 − w)` for the canary, `1 / (r w + 1 − w)` for stable.
    pub(super) fn note(&mut self, draw: Draw) {
        let share = draw.share.probability();
        self.0.bet(RISKS.map(|risk| {
            let likelihood = match draw.arm {
                Arm::Canary => risk,
                Arm::Stable => 1.0,
            };
            likelihood / (1.0 + (risk - 1.0) * share)
        }));
    }

    pub(super) fn capital(&self) -> f64 {
        self.0.value()
    }
}

/// Wald's test of a fixed rate.
///
/// The hypothesis: given all before, a deliberation traps with probability [`RATE_TOLERATED`] at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FixedRate(Capital);

impl FixedRate {
    pub(super) fn new() -> Self {
        Self(Capital::new(1))
    }

    /// A deliberation trapped, or ended in another way.
    pub(super) fn note(&mut self, trapped: bool) {
        self.0.bet([if trapped {
            RATE_BAD / RATE_TOLERATED
        } else {
            (1.0 - RATE_BAD) / (1.0 - RATE_TOLERATED)
        }]);
    }

    pub(super) fn capital(&self) -> f64 {
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Share;

    fn draw(share: u16, arm: Arm) -> Draw {
        let share = Share::try_from(share).unwrap();
        let canary = 1;
        Draw { share, arm, canary }
    }

    /// By hand, at a share of one half: 1.5/1.25, 2/1.5, 4/2.5, 8/4.5, 16/8.5, 64/32.5 for the canary.
    #[test]
    fn one_event_of_the_canary_multiplies_by_its_likelihood_ratio() {
        let ratios = [1.2, 2.0 / 1.5, 1.6, 8.0 / 4.5, 16.0 / 8.5, 64.0 / 32.5];
        let mean = ratios.iter().sum::<f64>() / 6.0;
        let mut bets = RelativeRisk::new();
        bets.note(draw(5000, Arm::Canary));
        assert!((bets.capital() - (0.5 + 0.5 * mean)).abs() < 1e-12);

        let ratios = [1.25, 1.5, 2.5, 4.5, 8.5, 32.5].map(|divisor: f64| 1.0 / divisor);
        let mean = ratios.iter().sum::<f64>() / 6.0;
        let mut bets = RelativeRisk::new();
        bets.note(draw(5000, Arm::Stable));
        assert!((bets.capital() - (0.5 + 0.5 * mean)).abs() < 1e-12);
    }

    /// By hand: a trap multiplies by 10, anything else by 0.9 / 0.99.
    #[test]
    fn a_fixed_rate_is_tested_by_walds_ratio() {
        let mut bets = FixedRate::new();
        bets.note(true);
        assert!((bets.capital() - (0.5 + 0.5 * 10.0)).abs() < 1e-12);
        bets.note(false);
        let stake = (5.0 + 1.0 / 6.0) * (0.9 / 0.99);
        assert!((bets.capital() - (1.0 / 3.0 + stake)).abs() < 1e-12);
    }

    /// The expectation over all that can happen to a fixed number of events, by enumeration: the share
    /// may depend on what came before.
    #[test]
    fn under_the_hypothesis_the_expectation_is_one_whatever_the_shares() {
        fn expectation(bets: &RelativeRisk, depth: u16, canaries: u16) -> f64 {
            if depth == 0 {
                return bets.capital();
            }
            let share = 1 + (depth * 1237 + canaries * 3571) % 9999;
            [Arm::Canary, Arm::Stable]
                .map(|arm| {
                    let mut bets = bets.clone();
                    bets.note(draw(share, arm));
                    let (w, canaries) = match arm {
                        Arm::Canary => (f64::from(share) / 1e4, canaries + 1),
                        Arm::Stable => (1.0 - f64::from(share) / 1e4, canaries),
                    };
                    w * expectation(&bets, depth - 1, canaries)
                })
                .iter()
                .sum()
        }
        for depth in 1..=12 {
            let expectation = expectation(&RelativeRisk::new(), depth, 0);
            assert!((expectation - 1.0).abs() < 1e-9, "{depth}: {expectation}");
        }
    }

    #[test]
    fn at_the_tolerated_rate_the_expectation_is_one_and_below_it_less() {
        fn expectation(bets: &FixedRate, depth: u32, rate: f64) -> f64 {
            if depth == 0 {
                return bets.capital();
            }
            [(true, rate), (false, 1.0 - rate)]
                .map(|(trapped, probability)| {
                    let mut bets = bets.clone();
                    bets.note(trapped);
                    probability * expectation(&bets, depth - 1, rate)
                })
                .iter()
                .sum()
        }
        let at = expectation(&FixedRate::new(), 12, RATE_TOLERATED);
        assert!((at - 1.0).abs() < 1e-9, "{at}");
        assert!(expectation(&FixedRate::new(), 12, RATE_TOLERATED / 2.0) < 1.0);
    }
}
