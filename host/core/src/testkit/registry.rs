//! A registry in memory, whose components are texts: `KIND NAME VERSION`, and whatever follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::channel::{Channels, Order, PluginName};
use crate::ids::Digest;
use crate::live::lock;
use crate::params::ParamsSchema;
use crate::plugin::{
    self, Catalogue, Descriptor, Kind, Listed, Plugin, PluginChoice, PluginRef, near_names,
};
use crate::registry::{
    Action, Arrival, By, Change, Error, HistoryQuery, Named, Published, Registry, Wish,
};

/// What a component's text is when other components are taken meanwhile.
pub const BUSY: &str = "busy";

/// Takes texts for components. A text of another form is refused, for each of its words.
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    listed: Vec<Listed>,
    names: BTreeMap<PluginName, Channels>,
    history: Vec<Change>,
}

fn name_of(listed: &Listed) -> PluginName {
    PluginName::new(listed.plugin.kind, &listed.plugin.reference.name)
}

fn parse(arrival: &Arrival) -> Result<Listed, Error> {
    let text = String::from_utf8_lossy(&arrival.bytes);
    let words: Vec<_> = text.split_whitespace().collect();
    let (kind, name, version) = match words.as_slice() {
        [BUSY, ..] => return Err(Error::Busy(8)),
        ["strategy", name, version, ..] => (Kind::Strategy, *name, *version),
        ["scorer", name, version, ..] => (Kind::Scorer, *name, *version),
        words => {
            let reason = |word: &&str| format!("`{word}` is not allowed here");
            return Err(Error::Refused(words.iter().map(reason).collect()));
        }
    };
    let descriptor = Descriptor {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: "A text.".to_owned(),
        params_schema: "{}".to_owned(),
    };
    let plugin = Plugin {
        reference: PluginRef {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: Digest::of(&arrival.bytes),
        },
        kind,
        params: ParamsSchema::parse("{}").expect("it is a schema"),
        descriptor,
    };
    Ok(Listed {
        plugin: Arc::new(plugin),
        contract: "0.1".to_owned(),
        source: arrival.source.clone(),
        bytes: arrival.bytes.len() as u64,
        added_at_ms: 1_000,
        added_by: arrival.by.clone(),
        signed_by: arrival.signature.as_ref().map(|_| "key-1".to_owned()),
    })
}

impl State {
    fn published(&self, listed: Listed) -> Result<Published, Error> {
        let name = name_of(&listed);
        let reference = &listed.plugin.reference;
        let same = self
            .listed
            .iter()
            .find(|one| name_of(one) == name && one.plugin.reference.version == reference.version);
        if let Some(same) = same
            && same.plugin.reference.digest != reference.digest
        {
            return Err(Error::VersionTaken {
                name,
                version: reference.version.clone(),
                taken: same.plugin.reference.digest,
            });
        }
        let stable = self.names.get(&name).and_then(|channels| channels.stable);
        Ok(Published {
            known: same.is_some(),
            serves: stable.is_none_or(|stable| stable == reference.digest),
            listed: same.cloned().unwrap_or(listed),
            warnings: Vec::new(),
        })
    }

    fn note(&mut self, listed: &Listed, action: Action, by: &By, before: Option<Digest>) {
        let name = name_of(listed);
        let channels = self.names.get(&name).cloned().unwrap_or_default();
        self.history.push(Change {
            number: self.history.len() as u64 + 1,
            at_ms: 1_000,
            by: by.who.clone(),
            action,
            digest: listed.plugin.reference.digest,
            version: listed.plugin.reference.version.clone(),
            stable_before: before,
            stable_after: channels.stable,
            share: channels.canary.map(|canary| canary.share),
            reason: by.reason.clone(),
            name,
        });
    }

    fn find(&self, kind: Kind, choice: &PluginChoice) -> Result<Listed, Error> {
        let of_kind = || {
            self.listed
                .iter()
                .filter(move |one| one.plugin.kind == kind)
        };
        let found = of_kind().rfind(|one| {
            let reference = &one.plugin.reference;
            let version = choice.version.as_ref();
            let digest = choice.digest.as_ref();
            reference.name == choice.name
                && version.is_none_or(|version| *version == reference.version)
                && digest.is_none_or(|digest| *digest == reference.digest)
        });
        found.cloned().ok_or_else(|| {
            let names = of_kind().map(|one| one.plugin.reference.name.as_str());
            let near = near_names(&choice.name, names);
            let choice = choice.to_string();
            plugin::Error::NotFound { kind, choice, near }.into()
        })
    }

    fn order(&mut self, kind: Kind, wish: Wish, by: &By) -> Result<Named, Error> {
        let name = PluginName::new(kind, wish.name());
        let channels = self.names.get(&name).cloned().unwrap_or_default();
        let refused = |refused| Error::Order {
            name: name.clone(),
            refused,
        };
        if let Some(expected) = by.revision.filter(|it| *it != channels.revision) {
            let actual = channels.revision;
            return Err(refused(crate::channel::Refused::Changed {
                expected,
                actual,
            }));
        }
        let (action, listed) = match &wish {
            Wish::Promote(choice) if choice.version.is_none() && choice.digest.is_none() => {
                let canary = channels.canary.as_ref().map(|canary| canary.digest);
                let all = self.listed.iter();
                let mut found = all.filter(|one| Some(one.plugin.reference.digest) == canary);
                (Action::Promoted, found.next_back().cloned())
            }
            Wish::Promote(choice) => (Action::Promoted, Some(self.find(kind, choice)?)),
            Wish::Canary { choice, .. } => (Action::Canary, Some(self.find(kind, choice)?)),
            Wish::Rollback(name) => {
                let found = self.find(kind, &PluginChoice::named(name))?;
                (Action::RolledBack, Some(found))
            }
        };
        let digest = listed.as_ref().map(|one| one.plugin.reference.digest);
        let order = wish.order(digest).unwrap_or(Order::Rollback);
        let after = channels.after(order).map_err(refused)?;
        self.names.insert(name.clone(), after.clone());
        if let Some(listed) = listed {
            self.note(&listed, action, by, channels.stable);
        }
        Ok(named(name, after))
    }
}

fn named(name: PluginName, channels: Channels) -> Named {
    let canary = channels.canary.is_some();
    Named {
        name,
        channels,
        evidence: canary.then(|| "nothing was seen yet".to_owned()),
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn publish(&self, arrival: Arrival) -> Result<Published, Error> {
        let listed = parse(&arrival)?;
        let mut state = lock(&self.0);
        let published = state.published(listed)?;
        if published.known {
            return Ok(published);
        }
        let listed = published.listed.clone();
        let channels = state.names.entry(name_of(&listed)).or_default();
        if channels.stable.is_none() {
            channels.stable = Some(listed.plugin.reference.digest);
        }
        state.listed.push(listed.clone());
        let by = By {
            who: arrival.by,
            ..By::default()
        };
        state.note(&listed, Action::Added, &by, None);
        Ok(published)
    }

    async fn check(&self, arrival: Arrival) -> Result<Published, Error> {
        lock(&self.0).published(parse(&arrival)?)
    }

    async fn order(&self, kind: Kind, wish: Wish, by: By) -> Result<Named, Error> {
        lock(&self.0).order(kind, wish, &by)
    }

    async fn remove(&self, digest: Digest, by: By) -> Result<Listed, Error> {
        let mut state = lock(&self.0);
        let mut all = state.listed.iter();
        let found = all.position(|one| one.plugin.reference.digest == digest);
        let at = found.ok_or(Error::NoSuchDigest(digest))?;
        let name = name_of(&state.listed[at]);
        let channels = state.names.get(&name).cloned().unwrap_or_default();
        let after = channels.without(&digest);
        let after = after.map_err(|refused| Error::Order {
            name: name.clone(),
            refused,
        })?;
        state.names.insert(name, after);
        let listed = state.listed.remove(at);
        state.note(&listed, Action::Removed, &by, channels.stable);
        Ok(listed)
    }

    async fn names(&self) -> Vec<Named> {
        let names = lock(&self.0).names.clone().into_iter();
        names.map(|(name, it)| named(name, it)).collect()
    }

    async fn history(&self, query: HistoryQuery) -> Result<Vec<Change>, Error> {
        let history = lock(&self.0).history.clone().into_iter().rev();
        let wanted = history.filter(|change| {
            let name = query.name.as_ref();
            name.is_none_or(|name| *name == change.name)
                && query.before.is_none_or(|before| change.number < before)
        });
        Ok(wanted.take(query.limit).collect())
    }
}

#[async_trait]
impl Catalogue for MemoryRegistry {
    async fn listed(&self) -> Vec<Listed> {
        lock(&self.0).listed.clone()
    }
}
