//! How a component becomes a plugin of this host, wherever it comes from.

use std::sync::Arc;

use conclave_core::channel::{Order, PluginName};
use conclave_core::ids::Digest;
use conclave_core::plugin::{Listed, Source};
use conclave_core::registry::{Action, Arrival, Change, Error, Published};

use crate::signature::{self, Admitted, Statement};
use crate::wasm::Checked;

use super::table::Entry;
use super::{ARRIVING_MAX, OwnedStep, PluginStore, not_ready};

impl PluginStore {
    /// Checks a component, keeps its bytes, and lists it.
    pub(super) async fn take(&self, arrival: Arrival) -> Result<Published, Error> {
        let place = self.arriving.try_acquire();
        let _place = place.map_err(|_| Error::Busy(ARRIVING_MAX))?;
        let digest = Digest::of(&arrival.bytes);
        if let Some(published) = self.known(digest, &arrival).await? {
            return Ok(published);
        }
        let (name, listed, warnings) = self.checked(&arrival).await?;
        let _changing = self.changing.lock().await;
        // The same bytes may have arrived twice at once.
        if let Some(published) = self.known(digest, &arrival).await? {
            return Ok(published);
        }
        let listing = self.list_it(name, listed, &arrival).await;
        if listing.is_err() {
            self.engine.forget(&digest);
        }
        listing.map(|published| Published {
            warnings,
            ..published
        })
    }

    /// What [`PluginStore::take`] would answer now.
    pub(super) async fn examine(&self, arrival: Arrival) -> Result<Published, Error> {
        let place = self.arriving.try_acquire();
        let _place = place.map_err(|_| Error::Busy(ARRIVING_MAX))?;
        let digest = Digest::of(&arrival.bytes);
        if let Some(published) = self.known(digest, &arrival).await? {
            return Ok(published);
        }
        let (name, listed, warnings) = self.checked(&arrival).await?;
        self.engine.forget(&digest);
        let entry = self.table.load().get(&name).cloned().unwrap_or_default();
        check_version(&name, &listed, &entry)?;
        Ok(Published {
            serves: entry.channels.stable.is_none(),
            listed,
            known: false,
            warnings,
        })
    }

    /// What a component is, if it may be a plugin, and what is to be said of it.
    async fn checked(&self, arrival: &Arrival) -> Result<(PluginName, Listed, Vec<String>), Error> {
        let checked = self.engine.check(Arc::clone(&arrival.bytes)).await;
        let checked = checked.map_err(not_ready)?;
        let admitted = self.admitted(&checked, arrival);
        let admitted = admitted.map_err(|error| {
            self.engine.forget(&checked.plugin.reference.digest);
            Error::Refused(vec![error.to_string()])
        })?;
        let (signed_by, warnings) = match admitted {
            Admitted::Unasked => (None, Vec::new()),
            Admitted::Signed(key) => (Some(key.to_string()), Vec::new()),
            Admitted::Doubted(error) => {
                let plugin = &checked.plugin.reference;
                tracing::warn!(
                    %plugin, digest = %plugin.digest, by = arrival.by, %error,
                    "a plugin is taken although nobody signed it who is trusted"
                );
                (None, vec![error.to_string()])
            }
        };
        let name = PluginName::new(checked.plugin.kind, checked.plugin.reference.name.as_str());
        let listed = Listed {
            plugin: Arc::new(checked.plugin),
            contract: checked.contract.to_owned(),
            source: arrival.source.clone(),
            bytes: u64::try_from(arrival.bytes.len()).unwrap_or(u64::MAX),
            added_at_ms: self.clock.unix_ms(),
            added_by: arrival.by.clone(),
            signed_by,
        };
        Ok((name, listed, warnings))
    }

    /// Whether the operator's rule of signatures lets it in. What is in the box needs none.
    fn admitted(&self, checked: &Checked, arrival: &Arrival) -> Result<Admitted, signature::Error> {
        if arrival.source == Source::BuiltIn {
            return Ok(Admitted::Unasked);
        }
        let policy = &self.rules.signatures;
        policy.admit(&Statement::of(checked), arrival.signature.as_deref())
    }

    /// What is to be said when the bytes are there already; their file is mended if it has to be.
    async fn known(&self, digest: Digest, arrival: &Arrival) -> Result<Option<Published>, Error> {
        let table = self.table.load_full();
        let Some((name, listed)) = table.find(&digest) else {
            return Ok(None);
        };
        self.keep_bytes(&arrival.bytes).await?;
        let stable = table.get(name).and_then(|entry| entry.channels.stable);
        Ok(Some(Published {
            listed: listed.clone(),
            known: true,
            serves: stable == Some(digest),
            warnings: Vec::new(),
        }))
    }

    async fn list_it(
        &self,
        name: PluginName,
        listed: Listed,
        arrival: &Arrival,
    ) -> Result<Published, Error> {
        let digest = listed.plugin.reference.digest;
        let mut entry = self.table.load().get(&name).cloned().unwrap_or_default();
        check_version(&name, &listed, &entry)?;
        self.keep_bytes(&arrival.bytes).await?;
        entry.components.push(listed.clone());
        let mut changes = vec![self.change(&name, &listed, Action::Added, &entry, arrival)];
        let serves = entry.channels.stable.is_none();
        if serves {
            let order = match arrival.source {
                Source::BuiltIn => Order::Follow(digest),
                _ => Order::Promote(Some(digest)),
            };
            let channels = entry.channels.after(order);
            entry.channels = channels.expect("a name without a stable component takes its first");
            let promoted = self.change(&name, &listed, Action::Promoted, &entry, arrival);
            changes.push(Change {
                reason: "the first of its name".to_owned(),
                stable_before: None,
                ..promoted
            });
        }
        let step = OwnedStep {
            name,
            added: Some(listed.clone()),
            removed: None,
            changes,
        };
        self.commit(step, entry).await?;
        Ok(Published {
            listed,
            known: false,
            serves,
            warnings: Vec::new(),
        })
    }

    fn change(
        &self,
        name: &PluginName,
        listed: &Listed,
        action: Action,
        entry: &Entry,
        arrival: &Arrival,
    ) -> Change {
        Change {
            number: 0,
            at_ms: self.clock.unix_ms(),
            by: arrival.by.clone(),
            name: name.clone(),
            action,
            digest: listed.plugin.reference.digest,
            version: listed.plugin.reference.version.clone(),
            stable_before: entry.channels.stable,
            stable_after: entry.channels.stable,
            share: entry.channels.canary.as_ref().map(|canary| canary.share),
            reason: String::new(),
        }
    }

    async fn keep_bytes(&self, bytes: &Arc<[u8]>) -> Result<(), Error> {
        let (files, bytes) = (Arc::clone(&self.files), Arc::clone(bytes));
        let kept = tokio::task::spawn_blocking(move || files.add(&bytes)).await;
        let kept = kept.expect("writing a file does not panic");
        kept.map(drop)
            .map_err(|error| Error::Unavailable(error.into()))
    }
}

/// A version that an operator brought stands for the same bytes for ever.
fn check_version(name: &PluginName, listed: &Listed, entry: &Entry) -> Result<(), Error> {
    let reference = &listed.plugin.reference;
    let taken = entry.taken(&reference.version, &reference.digest);
    match taken.filter(|_| listed.source != Source::BuiltIn) {
        None => Ok(()),
        Some(taken) => Err(Error::VersionTaken {
            name: name.clone(),
            version: reference.version.clone(),
            taken,
        }),
    }
}
