//! What every name stands for, as requests see it: one immutable table, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conclave_core::channel::{Arm, Asking, Channels, PluginName};
use conclave_core::ids::Digest;
use conclave_core::plugin::{Assigned, Error, Kind, Listed, PluginChoice, Source, near_names};
use semver::Version;

/// A name: its components, and its channels.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// In the order of their arrival.
    pub(super) components: Vec<Listed>,
    pub(super) channels: Channels,
}

/// All names.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    names: BTreeMap<PluginName, Entry>,
}

/// The version that a component calls itself.
pub(super) fn version(listed: &Listed) -> Version {
    let version = Version::parse(&listed.plugin.reference.version);
    version.expect("a plugin is only built from a checked descriptor")
}

impl Entry {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Listed> {
        let mut components = self.components.iter();
        components.find(|listed| listed.plugin.reference.digest == *digest)
    }

    /// The components of a version: one that an operator brought, else the one in the box, the
    /// latest build first.
    fn of_version(&self, version: &str) -> Option<&Listed> {
        let fits = |listed: &&Listed| listed.plugin.reference.version == version;
        let brought = |listed: &&Listed| listed.source != Source::BuiltIn;
        let mut fitting = self.components.iter().filter(fits);
        let brought = fitting.clone().find(brought);
        brought.or_else(|| fitting.next_back())
    }

    /// The component that a choice names exactly; `None` also for a bare name.
    pub(super) fn exactly(&self, choice: &PluginChoice) -> Option<&Listed> {
        let fits = |listed: &&Listed| {
            let version = choice.version.as_ref();
            version.is_none_or(|version| *version == listed.plugin.reference.version)
        };
        if let Some(digest) = &choice.digest {
            return self.get(digest).filter(fits);
        }
        let version = choice.version.as_deref()?;
        match Arm::named(version) {
            Some(arm) => self.get(&self.channels.digest(arm)?),
            None => self.of_version(version),
        }
    }

    /// The component of a version that the operator brought, if it is another one than this.
    pub(super) fn taken(&self, version: &str, digest: &Digest) -> Option<Digest> {
        let mut brought = self.components.iter().filter(|listed| {
            let reference = &listed.plugin.reference;
            listed.source != Source::BuiltIn
                && reference.version == version
                && reference.digest != *digest
        });
        brought.next().map(|listed| listed.plugin.reference.digest)
    }
}

fn is_bare(choice: &PluginChoice) -> bool {
    choice.version.is_none() && choice.digest.is_none()
}

impl Table {
    pub(super) fn get(&self, name: &PluginName) -> Option<&Entry> {
        self.names.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&PluginName, &Entry)> {
        self.names.iter()
    }

    /// The table with another entry for a name; one without components is no entry.
    pub(super) fn with(&self, name: PluginName, entry: Entry) -> Self {
        let mut names = self.names.clone();
        if entry.components.is_empty() {
            names.remove(&name);
        } else {
            names.insert(name, entry);
        }
        Self { names }
    }

    /// Where a component is.
    pub(super) fn find(&self, digest: &Digest) -> Option<(&PluginName, &Listed)> {
        let mut names = self.names.iter();
        names.find_map(|(name, entry)| Some((name, entry.get(digest)?)))
    }

    /// What a choice stands for; a bare name for its stable component.
    pub(super) fn resolve(&self, kind: Kind, choice: &PluginChoice) -> Result<&Listed, Error> {
        let name = PluginName::new(kind, choice.name.as_str());
        let found = self
            .names
            .get(&name)
            .and_then(|entry| match is_bare(choice) {
                true => entry.get(&entry.channels.stable?),
                false => entry.exactly(choice),
            });
        found.ok_or_else(|| self.not_found(kind, choice))
    }

    /// What one deliberation gets.
    pub(super) fn assign(
        &self,
        kind: Kind,
        choice: &PluginChoice,
        asking: &Asking<'_>,
    ) -> Result<Assigned, Error> {
        if is_bare(choice) {
            let name = PluginName::new(kind, choice.name.as_str());
            let drawn = self.names.get(&name).and_then(|entry| {
                let (digest, draw) = entry.channels.assign(&name, asking)?;
                let plugin = Arc::clone(&entry.get(&digest)?.plugin);
                Some(Assigned { plugin, draw })
            });
            return drawn.ok_or_else(|| self.not_found(kind, choice));
        }
        let plugin = Arc::clone(&self.resolve(kind, choice)?.plugin);
        Ok(Assigned { plugin, draw: None })
    }

    /// The error names what comes near: of an unknown name the names, of an unknown version the
    /// versions that there are.
    pub(super) fn not_found(&self, kind: Kind, choice: &PluginChoice) -> Error {
        let name = PluginName::new(kind, choice.name.as_str());
        let near = match self.names.get(&name) {
            Some(entry) => {
                let mut sorted: Vec<_> = entry.components.iter().collect();
                sorted.sort_by_key(|listed| version(listed));
                let near = sorted.iter().map(|it| it.plugin.reference.to_string());
                near.collect()
            }
            None => {
                let of_kind = self.names.keys().filter(|name| name.kind == kind);
                near_names(&choice.name, of_kind.map(|name| name.name.as_str()))
            }
        };
        Error::NotFound {
            kind,
            choice: choice.to_string(),
            near,
        }
    }

    /// Every component, by kind, name and version.
    pub(super) fn list(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        for entry in self.names.values() {
            let mut components = entry.components.clone();
            components.sort_by_key(version);
            all.extend(components);
        }
        all
    }

    pub(super) fn digests(&self) -> BTreeSet<Digest> {
        let listed = self.names.values().flat_map(|entry| &entry.components);
        listed
            .map(|listed| listed.plugin.reference.digest)
            .collect()
    }

    /// The components that serve, or are tried.
    pub(super) fn pointed(&self) -> BTreeSet<Digest> {
        let channels = self.names.values().map(|entry| &entry.channels);
        let arms = channels
            .flat_map(|channels| [Arm::Stable, Arm::Canary].map(|arm| channels.digest(arm)));
        arms.flatten().collect()
    }
}
