//! One canary that is tried, from its first deliberation to the verdict.

use serde::{Deserialize, Serialize};

use crate::channel::{Draw, PluginName};
use crate::entry::Accepted;
use crate::outcome::{CauseKind, Verdict};
use crate::plugin::Kind;

use super::evidence::Population;
use super::line::{Line, Place};
use super::{Ending, ErrorRate, Evidence, Finding, Observation};

/// What is known of one canary, and what of it waits for its turn. Survives a restart as JSON, mostly of
/// a few kibibytes, of two mebibytes at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    plugin: PluginName,
    canary: u64,
    evidence: Evidence,
    /// Those that could run on either version, and those that only could on the canary, do not wait
    /// for each other.
    either: Line,
    alone: Line,
}

impl Trial {
    /// A trial of the canary of this name that began at this revision
    /// ([`Canary::since`](crate::channel::Canary::since)).
    #[must_use]
    pub fn new(plugin: PluginName, canary: u64, error_rate: ErrorRate) -> Self {
        Self {
            plugin,
            canary,
            evidence: Evidence::new(error_rate),
            either: Line::default(),
            alone: Line::default(),
        }
    }

    /// Whose canary it is.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// Which canary it is: the revision at which it began.
    #[must_use]
    pub fn canary(&self) -> u64 {
        self.canary
    }

    /// What is known.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// How a deliberation came to its version, if this trial is about it.
    fn draw_of(&self, accepted: &Accepted) -> Option<Draw> {
        let (plugin, draw) = match self.plugin.kind {
            Kind::Strategy => (&accepted.strategy, accepted.strategy_draw?),
            Kind::Scorer => (&accepted.scorer, accepted.scorer_draw?),
        };
        (plugin.name == self.plugin.name && draw.canary == self.canary).then_some(draw)
    }

    fn line_of(&mut self, draw: Draw) -> Option<&mut Line> {
        match Population::of(draw) {
            Population::Either => Some(&mut self.either),
            Population::CanaryAlone => Some(&mut self.alone),
            Population::StableAlone => None,
        }
    }

    /// A deliberation was accepted.
    pub(super) fn accepted(&mut self, accepted: &Accepted) {
        let Some(draw) = self.draw_of(accepted) else {
            return;
        };
        if let Some(line) = self.line_of(draw) {
            line.enter(place(accepted), accepted.deadline_ms());
        }
    }

    /// A deliberation has ended, so many milliseconds after it was accepted. Answers the verdict that
    /// the canary is worse, once.
    pub(super) fn finished(
        &mut self,
        accepted: &Accepted,
        at_ms: u64,
        verdict: &Verdict,
    ) -> Option<Finding> {
        let draw = self.draw_of(accepted)?;
        let ending = ending(verdict, self.plugin.kind);
        let observation = ending.map(|ending| Observation { draw, ending });
        let now_ms = accepted.accepted_at_ms.saturating_add(at_ms);
        let line = self.line_of(draw)?;
        let turn = line.leave(place(accepted), observation, now_ms);
        let mut found = observation.and_then(|it| self.evidence.observe_now(it));
        for observation in turn {
            let in_turn = self.evidence.observe_in_turn(observation);
            found = found.or(in_turn);
        }
        found
    }
}

fn place(accepted: &Accepted) -> Place {
    (accepted.accepted_at_ms, accepted.id.clone())
}

/// How a deliberation ended for the plugin of this kind; nothing when that is not known.
///
/// A trap of the other plugin counts as another failure: this one may have led it there.
fn ending(verdict: &Verdict, kind: Kind) -> Option<Ending> {
    let cause = match verdict {
        Verdict::Completed(outcome) => {
            return Some(Ending::Completed(outcome.winner().score.value));
        }
        Verdict::Cancelled(_) => return Some(Ending::Cancelled),
        Verdict::Failed(cause) => cause,
    };
    match cause.kind {
        CauseKind::JournalCorrupt => None,
        CauseKind::DeadlineExceeded => Some(Ending::DeadlineMissed),
        CauseKind::PluginTrapped
        | CauseKind::PluginLimitExceeded
        | CauseKind::PluginInvalid
        | CauseKind::NondeterministicPlugin
            if cause.by == Some(kind) =>
        {
            Some(Ending::Trapped)
        }
        CauseKind::PluginTrapped
        | CauseKind::PluginLimitExceeded
        | CauseKind::PluginInvalid
        | CauseKind::NondeterministicPlugin
        | CauseKind::PluginUnavailable
        | CauseKind::StrategyFailed
        | CauseKind::AllAgentsFailed => Some(Ending::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    #[test]
    fn a_trap_is_held_against_the_plugin_that_trapped() {
        let failed = |kind, by: Option<Kind>| {
            let cause = Cause::new(kind, "it went wrong");
            Verdict::Failed(match by {
                Some(by) => cause.by(by),
                None => cause,
            })
        };
        let trapped = failed(CauseKind::PluginTrapped, Some(Kind::Scorer));
        assert_eq!(ending(&trapped, Kind::Scorer), Some(Ending::Trapped));
        assert_eq!(ending(&trapped, Kind::Strategy), Some(Ending::Failed));
        let nobody = failed(CauseKind::PluginTrapped, None);
        assert_eq!(ending(&nobody, Kind::Strategy), Some(Ending::Failed));
        for (kind, expected) in [
            (CauseKind::PluginLimitExceeded, Some(Ending::Trapped)),
            (CauseKind::PluginInvalid, Some(Ending::Trapped)),
            (CauseKind::NondeterministicPlugin, Some(Ending::Trapped)),
            (CauseKind::StrategyFailed, Some(Ending::Failed)),
            (CauseKind::AllAgentsFailed, Some(Ending::Failed)),
            (CauseKind::PluginUnavailable, Some(Ending::Failed)),
            (CauseKind::DeadlineExceeded, Some(Ending::DeadlineMissed)),
            (CauseKind::JournalCorrupt, None),
        ] {
            let verdict = failed(kind, Some(Kind::Strategy));
            assert_eq!(ending(&verdict, Kind::Strategy), expected, "{kind:?}");
        }
        let cancelled = Verdict::Cancelled("no longer needed".to_owned());
        assert_eq!(ending(&cancelled, Kind::Strategy), Some(Ending::Cancelled));
    }
}
