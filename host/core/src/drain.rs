//! Shows which deliberations still run on which component.

use std::collections::BTreeMap;

use crate::entry::{Accepted, Entry};
use crate::ids::{DeliberationId, Digest};
use crate::live::Live;
use crate::plugin::{Kind, PluginRef};

/// A component, and the deliberations of this host that run on it or are queued for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which kind of plugin it is.
    pub kind: Kind,
    /// What they are pinned to, whether it is listed still or not.
    pub plugin: PluginRef,
    /// Which ones, the oldest first.
    pub deliberations: Vec<DeliberationId>,
}

/// The deliberations of this host that run on each component, or are queued for it, by id: it stays
/// until the last of them has ended.
#[must_use]
pub fn held(live: &Live) -> BTreeMap<Digest, Vec<DeliberationId>> {
    let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in uses(live, |_| true) {
        let ids = held.entry(one.plugin.digest).or_default();
        ids.extend(one.deliberations);
    }
    held
}

/// The components that the deliberations run on that are `wanted`, by kind, name and digest.
#[must_use]
pub fn uses(live: &Live, wanted: impl Fn(&Accepted) -> bool) -> Vec<Use> {
    let mut uses: BTreeMap<(Kind, String, Digest), Use> = BTreeMap::new();
    for (id, handle) in live.all() {
        let Entry::Accepted(accepted) = &handle.accepted().entry else {
            continue;
        };
        if !wanted(accepted) {
            continue;
        }
        for (kind, plugin) in [
            (Kind::Strategy, &accepted.strategy),
            (Kind::Scorer, &accepted.scorer),
        ] {
            let key = (kind, plugin.name.clone(), plugin.digest);
            let one = uses.entry(key).or_insert_with(|| Use {
                kind,
                plugin: plugin.clone(),
                deliberations: Vec::new(),
            });
            one.deliberations.push(id.clone());
        }
    }
    uses.into_values().collect()
}
