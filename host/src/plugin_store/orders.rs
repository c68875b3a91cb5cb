//! What operators want of names, and what is told of it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use conclave_core::chain::Chain;
use conclave_core::channel::{Channels, PluginName, Refused};
use conclave_core::ids::Digest;
use conclave_core::plugin::{Kind, Listed};
use conclave_core::registry::{
    Action, Arrival, By, Change, Error, HistoryQuery, Named, Published, Registry, Wish,
};

use super::table::{Entry, Table};
use super::{OwnedStep, PluginStore};

#[async_trait]
impl Registry for PluginStore {
    async fn publish(&self, arrival: Arrival) -> Result<Published, Error> {
        self.take(arrival).await
    }

    async fn check(&self, arrival: Arrival) -> Result<Published, Error> {
        self.examine(arrival).await
    }

    async fn order(&self, kind: Kind, wish: Wish, by: By) -> Result<Named, Error> {
        let mut ready = BTreeSet::new();
        loop {
            let changing = self.changing.lock().await;
            let Decided {
                entry,
                before,
                action,
                about,
            } = self.decided(kind, &wish, &by)?;
            let pointed = [entry.channels.stable, canary_digest(&entry.channels)];
            let mut pointed = pointed.into_iter().flatten();
            if let Some(digest) = pointed.find(|digest| !ready.contains(digest)) {
                // It may have to be compiled: other changes, a rollback among them, do not wait for that.
                drop(changing);
                self.readied(digest, &wish).await?;
                ready.insert(digest);
                continue;
            }
            let name = PluginName::new(kind, wish.name());
            let change = self.change_of(&name, &entry, action, about, &before, by);
            let step = OwnedStep {
                name: name.clone(),
                added: None,
                removed: None,
                changes: vec![change],
            };
            let channels = entry.channels.clone();
            self.commit(step, entry).await?;
            let evidence = self.evidence(&name);
            return Ok(Named {
                name,
                channels,
                evidence,
            });
        }
    }

    async fn remove(&self, digest: Digest, by: By) -> Result<Listed, Error> {
        let _changing = self.changing.lock().await;
        let table = self.table.load_full();
        let (name, listed) = table.find(&digest).ok_or(Error::NoSuchDigest(digest))?;
        let (name, listed) = (name.clone(), listed.clone());
        let mut entry = table.get(&name).cloned().unwrap_or_default();
        let refuse = |refused| Error::Order {
            name: name.clone(),
            refused,
        };
        check_revision(&entry.channels, &by).map_err(refuse)?;
        if let [_] = entry.components[..] {
            return Err(refuse(Refused::OnlyOne(digest)));
        }
        let before = entry.channels.clone();
        entry.channels = before.without(&digest).map_err(refuse)?;
        let change = self.change_of(&name, &entry, Action::Removed, digest, &before, by);
        entry.components.retain(|it| digest_of(it) != digest);
        let left = table.with(name.clone(), entry.clone());
        if let Some(named) = self.rules.named.iter().find(|named| {
            let resolves = |table: &Table| table.resolve(named.kind, &named.choice).is_ok();
            resolves(&table) && !resolves(&left)
        }) {
            return Err(Error::Named {
                plugin: listed.plugin.reference.to_string(),
                setting: named.key.clone(),
            });
        }
        let step = OwnedStep {
            name: name.clone(),
            added: None,
            removed: Some(digest),
            changes: vec![change],
        };
        self.commit(step, entry).await?;
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.insert(digest, Instant::now());
        Ok(listed)
    }

    async fn names(&self) -> Vec<Named> {
        let table = self.table.load();
        let named = table.names().map(|(name, entry)| Named {
            name: name.clone(),
            channels: entry.channels.clone(),
            evidence: self.evidence(name),
        });
        named.collect()
    }

    async fn history(&self, query: HistoryQuery) -> Result<Vec<Change>, Error> {
        let database = Arc::clone(&self.database);
        let told = tokio::task::spawn_blocking(move || {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.history(&query)
        });
        let told = told.await.expect("the registry's file does not panic");
        told.map_err(|error| Error::Unavailable(error.into()))
    }
}

/// What an order leads to.
struct Decided {
    entry: Entry,
    before: Channels,
    action: Action,
    about: Digest,
}

impl PluginStore {
    /// What an order leads to, as things are now.
    fn decided(&self, kind: Kind, wish: &Wish, by: &By) -> Result<Decided, Error> {
        let name = PluginName::new(kind, wish.name());
        let table = self.table.load_full();
        let entry = table.get(&name).cloned();
        let mut entry = entry.ok_or_else(|| table.not_found(kind, &choice_of(wish)))?;
        let refuse = |refused| Error::Order {
            name: name.clone(),
            refused,
        };
        check_revision(&entry.channels, by).map_err(refuse)?;
        let (action, digest) = match wish {
            Wish::Promote(choice) => {
                let bare = choice.version.is_none() && choice.digest.is_none();
                let chosen = entry.exactly(choice).map(digest_of);
                if !bare && chosen.is_none() {
                    return Err(table.not_found(kind, choice).into());
                }
                (Action::Promoted, chosen)
            }
            Wish::Canary { choice, .. } => {
                let bare = choice.version.is_none() && choice.digest.is_none();
                let chosen = match bare {
                    true => Some(latest(&entry).map_err(refuse)?),
                    false => entry.exactly(choice),
                };
                let chosen = chosen.map(digest_of);
                if chosen.is_none() {
                    return Err(table.not_found(kind, choice).into());
                }
                (Action::Canary, chosen)
            }
            Wish::Rollback(_) => (Action::RolledBack, None),
        };
        let before = entry.channels.clone();
        let order = wish.clone().order(digest);
        let order = order.expect("a canary has a digest by now");
        entry.channels = before.after(order).map_err(refuse)?;
        let about = subject(action, &before, &entry.channels);
        if action != Action::RolledBack {
            let trusted = entry.get(&about).map_or(Ok(()), |it| self.trusted(it));
            trusted.map_err(|reason| Error::Refused(vec![reason]))?;
        }
        Ok(Decided {
            entry,
            before,
            action,
            about,
        })
    }

    /// Has a component compiled that an order points to. A rollback does not depend on it: whatever is
    /// wrong with what was stable before, the order is to leave what is stable now.
    async fn readied(&self, digest: Digest, wish: &Wish) -> Result<(), Error> {
        match (self.ready(digest).await, wish) {
            (Err(error), Wish::Rollback(name)) => {
                tracing::error!(
                    plugin = name, %digest, error = %Chain(&error),
                    "a plugin that a rollback leads to cannot be made ready; its first deliberations \
                     wait for it"
                );
                Ok(())
            }
            (ready, _) => ready,
        }
    }

    fn change_of(
        &self,
        name: &PluginName,
        entry: &Entry,
        action: Action,
        digest: Digest,
        before: &Channels,
        by: By,
    ) -> Change {
        let about = entry.get(&digest);
        Change {
            number: 0,
            at_ms: self.clock.unix_ms(),
            by: by.who,
            name: name.clone(),
            action,
            digest,
            version: about.map_or_else(String::new, |it| it.plugin.reference.version.clone()),
            stable_before: before.stable,
            stable_after: entry.channels.stable,
            share: entry.channels.canary.as_ref().map(|canary| canary.share),
            reason: by.reason,
        }
    }
}

fn choice_of(wish: &Wish) -> conclave_core::plugin::PluginChoice {
    match wish {
        Wish::Promote(choice) | Wish::Canary { choice, .. } => choice.clone(),
        Wish::Rollback(name) => conclave_core::plugin::PluginChoice::named(name),
    }
}

fn digest_of(listed: &Listed) -> Digest {
    listed.plugin.reference.digest
}

fn canary_digest(channels: &Channels) -> Option<Digest> {
    channels.canary.as_ref().map(|canary| canary.digest)
}

/// The component that arrived last and does not serve.
fn latest(entry: &Entry) -> Result<&Listed, Refused> {
    let stable = entry.channels.stable;
    let mut latest = entry.components.iter().rev();
    let latest = latest.find(|listed| Some(digest_of(listed)) != stable);
    latest.ok_or(match stable {
        Some(stable) => Refused::NothingElse(stable),
        None => Refused::NoCanary,
    })
}

/// The component that a change is about: after a rollback the one that serves no more.
fn subject(action: Action, before: &Channels, after: &Channels) -> Digest {
    let digest = match action {
        Action::RolledBack => canary_digest(before).or(before.stable),
        Action::Canary => canary_digest(after),
        _ => after.stable,
    };
    digest.expect("a name has a stable component, and a canary after it was ordered")
}

fn check_revision(channels: &Channels, by: &By) -> Result<(), Refused> {
    match by.revision {
        Some(expected) if expected != channels.revision => Err(Refused::Changed {
            expected,
            actual: channels.revision,
        }),
        _ => Ok(()),
    }
}
