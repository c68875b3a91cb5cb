//! What a gambler has who bets against a hypothesis, a little on every alternative and at every time.

use serde::{Deserialize, Serialize};

/// Beyond this a stake grows no more, so that it stays a number.
const STAKE_MAX: f64 = 1e100;

/// A capital that starts at 1 and is an e-process: under the hypothesis its expectation is at most 1
/// at every time, and the probability that it ever reaches `c` is at most `1 / c`.
///
/// It is spread over the alternatives, and over the times at which one may begin to hold: before bet
/// `s`, counted from 1, `1 / (s (s + 1))` of it leaves the reserve, in equal parts for the
/// alternatives. These parts add up to 1, so the reserve is never empty. Without this a version that
/// behaved for a long time would have lost the capital by which it is caught when it changes; the
/// price is a factor of 2 at the start. That is a mixture over change points (Shiryaev, "On Optimum
/// Methods in Quickest Detection Problems", 1963); each part is a martingale, hence so is their sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Capital {
    /// Bets that were made.
    bets: u64,
    /// What is on each alternative, 0 or more.
    stakes: Vec<f64>,
}

impl Capital {
    /// A capital of 1, for so many alternatives.
    pub(super) fn new(alternatives: usize) -> Self {
        Self {
            bets: 0,
            stakes: vec![0.0; alternatives],
        }
    }

    /// Makes one bet. `factors`, one for each alternative, are what each multiplies a stake by: 0 or
    /// more, and under the hypothesis 1 at most in expectation, given all bets before.
    pub(super) fn bet(&mut self, factors: impl IntoIterator<Item = f64>) {
        self.bets += 1;
        let bet = self.bets as f64;
        let released = 1.0 / (bet * (bet + 1.0)) / self.stakes.len() as f64;
        for (stake, factor) in self.stakes.iter_mut().zip(factors) {
            *stake = ((*stake + released) * factor).min(STAKE_MAX);
        }
    }

    /// The capital: more than 0, finite.
    pub(super) fn value(&self) -> f64 {
        let reserve = 1.0 / (self.bets as f64 + 1.0);
        reserve + self.stakes.iter().sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capital_starts_at_one_and_fair_bets_that_change_nothing_keep_it() {
        let mut capital = Capital::new(3);
        assert_eq!(capital.value(), 1.0);
        for _ in 0..1000 {
            capital.bet([1.0, 1.0, 1.0]);
        }
        assert!((capital.value() - 1.0).abs() < 1e-12);
    }

    /// By hand: 1/2 is bet first; then 1/6 joins it, 1/3 rests.
    #[test]
    fn a_bet_multiplies_what_has_left_the_reserve() {
        let mut capital = Capital::new(2);
        capital.bet([3.0, 0.0]);
        assert!((capital.value() - (0.5 + 0.25 * 3.0)).abs() < 1e-12);
        capital.bet([2.0, 4.0]);
        let (first, second) = ((0.75 + 1.0 / 12.0) * 2.0, 1.0 / 12.0 * 4.0);
        assert!((capital.value() - (1.0 / 3.0 + first + second)).abs() < 1e-12);
    }

    #[test]
    fn a_capital_stays_a_positive_number_whatever_happens() {
        for factor in [0.0, 0.5, 1.0, 1e6] {
            let mut capital = Capital::new(1);
            for _ in 0..1_000_000 {
                capital.bet([factor]);
            }
            assert!(capital.value().is_finite() && capital.value() > 0.0);
        }
    }

    #[test]
    fn a_long_loss_does_not_hide_a_later_win() {
        let mut capital = Capital::new(1);
        (0..10_000).for_each(|_| capital.bet([0.5]));
        assert!(capital.value() < 0.01);
        (0..40).for_each(|_| capital.bet([2.0]));
        assert!(capital.value() > 500.0);
    }
}
