//! What was seen of each version, and how it reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::events::RATE_TOLERATED;
use super::{Ending, Test};

/// Deliberations on one version that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub ended: u64,
    /// Those that failed: the next two among them.
    pub failed: u64,
    /// Those that trapped.
    pub trapped: u64,
    /// Those that missed their deadline.
    pub deadlines_missed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// The sum of the scores of the others' winners.
    pub score_sum: f64,
}

impl Counts {
    pub(super) fn note(&mut self, ending: Ending) {
        self.ended += 1;
        self.score_sum += ending.worth();
        match ending {
            Ending::Completed(_) => return,
            Ending::Cancelled => {
                self.cancelled += 1;
                return;
            }
            Ending::Trapped => self.trapped += 1,
            Ending::DeadlineMissed => self.deadlines_missed += 1,
            Ending::Failed => {}
        }
        self.failed += 1;
    }

    /// The mean of the winners' scores, 0 to 1, where a deliberation without an answer counts as 0;
    /// `None` without any deliberation.
    #[must_use]
    pub fn score_mean(&self) -> Option<f64> {
        (self.ended > 0).then(|| self.score_sum / self.ended as f64)
    }
}

/// How far one test is. Its `Display` is a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which test.
    pub test: Test,
    /// Its evidence that the canary is worse: an e-value, from 1, more than 0.
    pub evidence: f64,
    /// At this much the canary is found worse.
    pub evidence_needed: f64,
    /// The deliberations on the canary that the test looks at.
    pub canary: Counts,
    /// Those on stable; none for [`Test::TrapsAlone`].
    pub stable: Counts,
}

impl Finding {
    /// Whether the canary is found worse.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.evidence >= self.evidence_needed
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (canary, stable) = (&self.canary, &self.stable);
        if canary.ended == 0 {
            return f.write_str("no deliberation has ended on the canary yet");
        }
        let rates = |f: &mut fmt::Formatter<'_>, what, of: fn(&Counts) -> u64| {
            let (on_canary, on_stable) = (of(canary), of(stable));
            write!(
                f,
                "{on_canary} of {} deliberations on the canary {what}, beside {on_stable} of {} on stable",
                canary.ended, stable.ended
            )
        };
        match self.test {
            Test::Traps => rates(f, "trapped", |counts| counts.trapped)?,
            Test::Failures => rates(f, "failed", |counts| counts.failed)?,
            Test::Deadlines => rates(f, "missed their deadline", |counts| counts.deadlines_missed)?,
            Test::Cancellations => rates(f, "were cancelled", |counts| counts.cancelled)?,
            Test::TrapsAlone => write!(
                f,
                "{} of {} deliberations that only run on the canary trapped, {} % are tolerated",
                canary.trapped,
                canary.ended,
                RATE_TOLERATED * 100.0
            )?,
            Test::Scores => {
                f.write_str("the mean score is ")?;
                write_mean(f, canary)?;
                f.write_str(" deliberations on the canary, beside ")?;
                write_mean(f, stable)?;
                write!(
                    f,
                    " on stable (no answer counts as 0; on the canary {} failed, {} by a trap, {} were cancelled)",
                    canary.failed, canary.trapped, canary.cancelled
                )?;
            }
        }
        f.write_str("; evidence ")?;
        if self.evidence < 1e6 {
            write!(f, "{:.1}", self.evidence)?;
        } else {
            write!(f, "{:.1e}", self.evidence)?;
        }
        write!(f, " of the {:.0} needed", self.evidence_needed)
    }
}

fn write_mean(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    match counts.score_mean() {
        Some(mean) => write!(f, "{mean:.3} over {}", counts.ended),
        None => f.write_str("unknown over 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_canary_on_which_nothing_has_ended() {
        let finding = Finding {
            test: Test::Scores,
            canary: Counts::default(),
            stable: Counts::default(),
            evidence: 1.0,
            evidence_needed: 600.0,
        };
        assert_eq!(
            finding.to_string(),
            "no deliberation has ended on the canary yet"
        );
    }

    #[test]
    fn a_finding_reads_as_a_sentence_about_its_own_test() {
        let mut canary = Counts::default();
        let mut stable = Counts::default();
        let endings = [
            Ending::Trapped,
            Ending::DeadlineMissed,
            Ending::Failed,
            Ending::Cancelled,
            Ending::Cancelled,
            Ending::Cancelled,
        ];
        endings.into_iter().for_each(|it| canary.note(it));
        [0.5, 0.25]
            .into_iter()
            .for_each(|score| canary.note(Ending::Completed(score)));
        (0..2150).for_each(|_| stable.note(Ending::Completed(0.75)));
        let texts = Test::ALL.map(|test| {
            let finding = Finding {
                test,
                evidence: if test == Test::Scores { 2.5e7 } else { 0.44 },
                evidence_needed: 600.0,
                canary,
                stable,
            };
            format!("{finding}\n")
        });
        let expected = "\
1 of 8 deliberations on the canary trapped, beside 0 of 2150 on stable; evidence 0.4 of the 600 needed
1 of 8 deliberations that only run on the canary trapped, 1 % are tolerated; evidence 0.4 of the 600 needed
1 of 8 deliberations on the canary missed their deadline, beside 0 of 2150 on stable; evidence 0.4 of the 600 needed
3 of 8 deliberations on the canary failed, beside 0 of 2150 on stable; evidence 0.4 of the 600 needed
3 of 8 deliberations on the canary were cancelled, beside 0 of 2150 on stable; evidence 0.4 of the 600 needed
the mean score is 0.094 over 8 deliberations on the canary, beside 0.750 over 2150 on stable (no answer counts as 0; on the canary 3 failed, 1 by a trap, 3 were cancelled); evidence 2.5e7 of the 600 needed
";
        assert_eq!(texts.concat(), expected);
        assert_eq!(Counts::default().score_mean(), None);
    }
}
