//! The plugins in the box.

use std::collections::BTreeSet;
use std::sync::Arc;

use conclave_core::channel::{Order, PluginName};
use conclave_core::ids::Digest;
use conclave_core::plugin::{Listed, Source};
use conclave_core::registry::{self, Action, Arrival, By, Change, Registry as _};

use super::table::Entry;
use super::{Error, OwnedStep, PluginStore};

/// Name and bytes of each plugin in the box.
pub(super) const BUILT_IN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// The component of a plugin in the box.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static [u8]> {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes)
}

impl PluginStore {
    /// Loads the plugins in the box. Each serves its name until an operator chooses another component.
    ///
    /// # Errors
    /// When one cannot be kept.
    pub async fn load_built_in(&self) -> Result<(), Error> {
        let in_box: BTreeSet<_> = BUILT_IN
            .iter()
            .map(|(_, bytes)| Digest::of(bytes))
            .collect();
        for (origin, bytes) in BUILT_IN {
            let failed = |source| Error::Plugin {
                origin: format!("`{origin}` of the host itself"),
                source,
            };
            let published = self.publish(Arrival {
                bytes: Arc::from(*bytes),
                signature: None,
                source: Source::BuiltIn,
                by: String::new(),
            });
            let listed = published.await.map_err(failed)?.listed;
            self.follow(&listed).await.map_err(failed)?;
            self.drop_older(&listed, &in_box).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Points the name at the host's own build, unless an operator has chosen.
    async fn follow(&self, listed: &Listed) -> Result<(), registry::Error> {
        let _changing = self.changing.lock().await;
        let reference = &listed.plugin.reference;
        let name = PluginName::new(listed.plugin.kind, reference.name.as_str());
        let mut entry = self.table.load().get(&name).cloned().unwrap_or_default();
        if entry.channels.chosen {
            return Ok(());
        }
        let before = entry.channels.stable;
        let Ok(channels) = entry.channels.after(Order::Follow(reference.digest)) else {
            return Ok(());
        };
        entry.channels = channels;
        let step = OwnedStep {
            name: name.clone(),
            added: None,
            removed: None,
            changes: vec![Change {
                number: 0,
                at_ms: self.clock.unix_ms(),
                by: String::new(),
                name,
                action: Action::Promoted,
                digest: reference.digest,
                version: reference.version.clone(),
                stable_before: before,
                stable_after: Some(reference.digest),
                share: None,
                reason: "the host's own build has it".to_owned(),
            }],
        };
        self.commit(step, entry).await
    }

    /// Removes what was in the box of earlier builds, but for what serves, is tried, or would be gone
    /// back to.
    async fn drop_older(
        &self,
        listed: &Listed,
        in_box: &BTreeSet<Digest>,
    ) -> Result<(), registry::Error> {
        let name = PluginName::new(listed.plugin.kind, listed.plugin.reference.name.as_str());
        let entry = self.table.load().get(&name).cloned().unwrap_or_default();
        for older in older(&entry, in_box) {
            let by = By {
                reason: "was in the box of an earlier build".to_owned(),
                ..By::default()
            };
            self.remove(older, by).await?;
        }
        Ok(())
    }
}

fn older(entry: &Entry, in_box: &BTreeSet<Digest>) -> Vec<Digest> {
    let channels = &entry.channels;
    let canary = channels.canary.as_ref().map(|canary| canary.digest);
    let needed = [channels.stable, canary, channels.before.last().copied()];
    let components = entry.components.iter();
    let digests = components.filter(|listed| listed.source == Source::BuiltIn);
    let digests = digests.map(|listed| listed.plugin.reference.digest);
    digests
        .filter(|digest| !in_box.contains(digest) && !needed.contains(&Some(*digest)))
        .collect()
}
