//! Bets that what the canary answers is worth less.

use serde::{Deserialize, Serialize};

use crate::channel::{Arm, Draw};

use super::capital::Capital;

/// Parts of the capital that are at risk in one bet. The small ones find a small drop in many scores,
/// the large ones a large drop in few.
const PARTS: [f64; 4] = [0.1, 0.3, 0.6, 0.9];

/// The mean follows the worth of about so many deliberations, so that it keeps up when tasks change.
const MEAN_OVER: u64 = 256;

/// A betting martingale on the difference of two bounded means.
///
/// The hypothesis: given all before, the expected worth `y` of the next deliberation is no less on the
/// canary than on stable ([`Ending`](super::Ending): the score of the winner, 0 without an answer).
/// Then `(A − w) (m − y)` is at most 0 in expectation, where `A` is 1 on the canary and 0 on stable,
/// `w` the probability of the canary, and `m` any number that is known before: the draw knows nothing
/// of what either version would make of the task, so the expectation is `w (1 − w)` times stable's
/// expected worth less the canary's. A bet multiplies the stake by `1 + λ (A − w) (m − y) / b`, where
/// `b` bounds the rest, so that it never turns negative. `m` is the mean of the worths before: the
/// nearer to `y`, the less noise.
///
/// The expectation of `A` is `w` over all deliberations that are drawn, not over those with an answer:
/// every one must be noted, however it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ScoreBets {
    capital: Capital,
    mean: f64,
    count: u64,
}

impl ScoreBets {
    pub(super) fn new() -> Self {
        Self {
            capital: Capital::new(PARTS.len()),
            mean: 0.5,
            count: 0,
        }
    }

    /// A deliberation of this draw, whose share is neither nothing nor all, ended, and was worth this
    /// much, 0 to 1.
    pub(super) fn note(&mut self, draw: Draw, worth: f64) {
        let share = draw.share.probability();
        let deviation = match draw.arm {
            Arm::Canary => 1.0 - share,
            Arm::Stable => -share,
        };
        let bound = share.max(1.0 - share) * self.mean.max(1.0 - self.mean);
        let gain = deviation * (self.mean - worth) / bound;
        self.capital.bet(PARTS.map(|part| 1.0 + part * gain));
        self.count += 1;
        // The first guess of the mean counts as one deliberation.
        let weight = (self.count + 1).min(MEAN_OVER) as f64;
        self.mean += (worth - self.mean) / weight;
    }

    pub(super) fn capital(&self) -> f64 {
        self.capital.value()
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

    /// By hand: share 0.2, mean 0.5, so the bound is 0.8 · 0.5; a 0 on the canary gains all of it, and
    /// the stakes of 1/8 grow by 1.1, 1.3, 1.6 and 1.9. Then the mean is 0.25, and a 1 on stable gains
    /// 0.2 · 0.75 by 0.8 · 0.75, a quarter.
    #[test]
    fn a_bet_wins_when_the_canary_scores_less_than_the_mean_or_stable_more() {
        let mut bets = ScoreBets::new();
        bets.note(draw(2000, Arm::Canary), 0.0);
        assert!((bets.capital() - (0.5 + 5.9 / 8.0)).abs() < 1e-12);
        assert!((bets.mean - 0.25).abs() < 1e-12);

        bets.note(draw(2000, Arm::Stable), 1.0);
        let stakes = [1.1, 1.3, 1.6, 1.9].map(|factor| factor / 8.0 + 1.0 / 24.0);
        let grown = PARTS.map(|part| 1.0 + part * 0.25);
        let stakes: f64 = stakes.iter().zip(grown).map(|(a, b)| a * b).sum();
        assert!((bets.capital() - (1.0 / 3.0 + stakes)).abs() < 1e-12);
    }

    /// Over all assignments of a fixed row of scores to the two versions.
    #[test]
    fn under_the_hypothesis_the_expectation_is_one_whatever_the_scores() {
        fn expectation(bets: &ScoreBets, scores: &[f64], canaries: u16) -> f64 {
            let Some((score, rest)) = scores.split_first() else {
                return bets.capital();
            };
            let share = 1 + (canaries * 2711 + rest.len() as u16 * 941) % 9999;
            let w = f64::from(share) / 1e4;
            [(Arm::Canary, w), (Arm::Stable, 1.0 - w)]
                .map(|(arm, probability)| {
                    let mut bets = bets.clone();
                    bets.note(draw(share, arm), *score);
                    let canaries = canaries + u16::from(arm == Arm::Canary);
                    probability * expectation(&bets, rest, canaries)
                })
                .iter()
                .sum()
        }
        let scores = [0.0, 1.0, 1.0, 0.3, 0.9, 0.0, 0.0, 0.55, 1.0, 0.1, 1.0];
        let expectation = expectation(&ScoreBets::new(), &scores, 0);
        assert!((expectation - 1.0).abs() < 1e-9, "{expectation}");
    }

    /// Over all assignments, where the canary's score is this much greater than stable's would be.
    #[test]
    fn a_canary_that_scores_more_makes_it_less_than_one() {
        fn expectation(bets: &ScoreBets, scores: &[f64], greater: f64) -> f64 {
            let Some((score, rest)) = scores.split_first() else {
                return bets.capital();
            };
            [
                (Arm::Canary, 0.25, score + greater),
                (Arm::Stable, 0.75, *score),
            ]
            .map(|(arm, probability, score)| {
                let mut bets = bets.clone();
                bets.note(draw(2500, arm), score);
                probability * expectation(&bets, rest, greater)
            })
            .iter()
            .sum()
        }
        let scores = [0.0, 0.9, 0.8, 0.3, 0.9, 0.0, 0.2, 0.55, 0.7, 0.1];
        let expected = [0.0, 0.01, 0.1].map(|it| expectation(&ScoreBets::new(), &scores, it));
        assert!((expected[0] - 1.0).abs() < 1e-9, "{expected:?}");
        assert!(expected.is_sorted_by(|a, b| a > b), "{expected:?}");
    }

    #[test]
    fn no_bet_loses_more_than_its_part() {
        for share in [1, 5000, 9999] {
            for arm in [Arm::Canary, Arm::Stable] {
                let mut bets = ScoreBets::new();
                for step in 0..10_000 {
                    bets.note(draw(share, arm), f64::from(step % 2));
                    assert!(bets.capital() > 0.0 && bets.capital().is_finite());
                    assert!((0.0..=1.0).contains(&bets.mean));
                }
            }
        }
    }
}
