//! What the check found out about a component that it accepted: a restart need not run it again.

use conclave_core::ids::Digest;
use conclave_core::plugin::{Descriptor, Kind};
use serde::{Deserialize, Serialize};

use super::limits::PluginLimits;
use super::v0_1;
use super::world::World;

/// Raise it when the check becomes stricter: what was accepted before is then checked again when it
/// arrives again. What a registry lists already stays listed.
const RULES: u32 = 3;

/// That a component was accepted, by which rules, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    rules: Digest,
    kind: Kind,
    contract: String,
    pub(super) descriptor: Descriptor,
}

impl Verdict {
    pub(super) fn accepted(limits: &PluginLimits, world: World, descriptor: Descriptor) -> Self {
        Self {
            rules: rules(limits),
            kind: world.kind,
            contract: world.contract.to_owned(),
            descriptor,
        }
    }

    /// Whether the check would find the same today.
    pub(super) fn holds(&self, limits: &PluginLimits) -> bool {
        self.rules == rules(limits) && self.world().is_some()
    }

    /// What the component is, if its contract is still served.
    pub(super) fn world(&self) -> Option<World> {
        (self.contract == v0_1::VERSION).then_some(World {
            kind: self.kind,
            contract: v0_1::VERSION,
        })
    }
}

/// Stands for everything that a verdict depends on beside the component.
fn rules(limits: &PluginLimits) -> Digest {
    let rules = (RULES, env!("CARGO_PKG_VERSION"), limits);
    let rules = serde_json::to_vec(&rules).expect("limits are JSON");
    Digest::of(&rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_the_limits_and_contracts_that_it_was_made_by() {
        let limits = PluginLimits::default();
        let world = World {
            kind: Kind::Scorer,
            contract: v0_1::VERSION,
        };
        let descriptor = Descriptor {
            name: "vote".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "Votes.".to_owned(),
            params_schema: "{}".to_owned(),
        };
        let verdict = Verdict::accepted(&limits, world, descriptor);
        let json = serde_json::to_string(&verdict).unwrap();
        let verdict: Verdict = serde_json::from_str(&json).unwrap();
        assert!(verdict.holds(&limits));
        assert_eq!(verdict.world(), Some(world));
        let less = PluginLimits {
            calls_max: 7,
            ..limits.clone()
        };
        assert!(!verdict.holds(&less));
        let other = Verdict {
            contract: "0.0".to_owned(),
            ..verdict
        };
        assert!(!other.holds(&limits));
    }
}
