//! Shows which deliberations still run on which component.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::ids::{DeliberationId, Digest};
use crate::live::Live;

/// The deliberations of this host that run on each component, or are queued for it, by id: it stays
/// until the last of them has ended.
#[must_use]
pub fn held(live: &Live) -> BTreeMap<Digest, Vec<DeliberationId>> {
    let mut held: BTreeMap<Digest, Vec<DeliberationId>> = BTreeMap::new();
    for (id, handle) in live.all() {
        let Entry::Accepted(accepted) = &handle.accepted().entry else {
            continue;
        };
        for digest in [accepted.strategy.digest, accepted.scorer.digest] {
            held.entry(digest).or_default().push(id.clone());
        }
    }
    for ids in held.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    held
}
