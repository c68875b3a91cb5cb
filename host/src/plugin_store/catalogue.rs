//! Which plugins a client can name, and which component a name stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use conclave_core::ids::Digest;
use conclave_core::plugin::{Error, Kind, Plugin, PluginChoice, near_names};
use semver::Version;

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The host's own binary.
    BuiltIn,
    /// A file of the operator's directory of plugins.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// A plugin that can be named.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub plugin: Arc<Plugin>,
    /// Where it comes from.
    pub origin: Origin,
    /// The contract version that it is served as.
    pub contract: &'static str,
    /// Bytes of the component.
    pub bytes: u64,
}

/// Two files hold different components that are the same plugin in the same version.
#[derive(Debug, thiserror::Error)]
#[error(
    "{first} and {second} are both the {kind} `{name}` {version}, but differ; keep one, or raise a version"
)]
pub struct Ambiguous {
    kind: Kind,
    name: String,
    version: String,
    first: Origin,
    second: Origin,
}

/// Plugins by kind, name and version.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    names: BTreeMap<(KindKey, String), BTreeMap<Version, Listed>>,
}

/// [`Kind`] in an order.
type KindKey = bool;

fn key(kind: Kind) -> KindKey {
    kind == Kind::Scorer
}

impl Catalogue {
    /// Lists a plugin. One of a file wins over a built-in one of the same version.
    pub(super) fn add(&mut self, listed: Listed) -> Result<(), Ambiguous> {
        let reference = &listed.plugin.reference;
        let version = Version::parse(&reference.version);
        let version = version.expect("a plugin is only built from a checked descriptor");
        let name = (key(listed.plugin.kind), reference.name.clone());
        let versions = self.names.entry(name).or_default();
        if let Some(present) = versions.get(&version) {
            let same = present.plugin.reference.digest == reference.digest;
            match (&present.origin, &listed.origin) {
                (Origin::File(_), Origin::BuiltIn) => return Ok(()),
                (Origin::File(_), Origin::File(_)) if !same => {
                    return Err(Ambiguous {
                        kind: listed.plugin.kind,
                        name: reference.name.clone(),
                        version: reference.version.clone(),
                        first: present.origin.clone(),
                        second: listed.origin,
                    });
                }
                _ => {}
            }
        }
        versions.insert(version, listed);
        Ok(())
    }

    pub(super) fn find(&self, kind: Kind, choice: &PluginChoice) -> Result<Arc<Plugin>, Error> {
        let versions = self.names.get(&(key(kind), choice.name.clone()));
        let mut found = versions.into_iter().flatten().filter(|(_, listed)| {
            let reference = &listed.plugin.reference;
            let version = choice.version.as_ref();
            version.is_none_or(|version| *version == reference.version)
                && choice
                    .digest
                    .is_none_or(|digest| digest == reference.digest)
        });
        // Versions stand in their order: the last is the highest.
        let (_, listed) = found
            .next_back()
            .ok_or_else(|| self.not_found(kind, choice))?;
        Ok(Arc::clone(&listed.plugin))
    }

    /// The error names what comes near: of an unknown name the names, of an unknown version the
    /// versions that there are.
    fn not_found(&self, kind: Kind, choice: &PluginChoice) -> Error {
        let near = match self.names.get(&(key(kind), choice.name.clone())) {
            Some(versions) => versions
                .values()
                .map(|listed| listed.plugin.reference.to_string())
                .collect(),
            None => near_names(&choice.name, self.names(kind)),
        };
        Error::NotFound {
            kind,
            choice: choice.to_string(),
            near,
        }
    }

    fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let of_kind = self.names.keys().filter(move |(of, _)| *of == key(kind));
        of_kind.map(|(_, name)| name.as_str())
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        self.names
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    pub(super) fn digests(&self) -> BTreeSet<Digest> {
        let listed = self.names.values().flat_map(BTreeMap::values);
        listed
            .map(|listed| listed.plugin.reference.digest)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::params::ParamsSchema;
    use conclave_core::plugin::{Descriptor, PluginRef};

    use super::*;

    fn listed(name: &str, version: &str, bytes: &str, origin: Origin) -> Listed {
        let descriptor = Descriptor {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: "One.".to_owned(),
            params_schema: "{}".to_owned(),
        };
        let plugin = Plugin {
            reference: PluginRef {
                name: name.to_owned(),
                version: version.to_owned(),
                digest: Digest::of(bytes.as_bytes()),
            },
            kind: Kind::Strategy,
            params: ParamsSchema::parse("{}").unwrap(),
            descriptor,
        };
        Listed {
            plugin: Arc::new(plugin),
            origin,
            contract: "0.1",
            bytes: bytes.len() as u64,
        }
    }

    fn file(name: &str) -> Origin {
        Origin::File(name.into())
    }

    fn found(catalogue: &Catalogue, choice: &PluginChoice) -> Result<String, String> {
        let plugin = catalogue.find(Kind::Strategy, choice);
        plugin
            .map(|plugin| plugin.reference.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_stands_for_its_highest_version_and_a_version_for_itself() {
        let mut catalogue = Catalogue::default();
        for version in ["1.9.0", "1.10.0", "1.10.0-rc.1"] {
            catalogue
                .add(listed("vote", version, version, file("vote.wasm")))
                .unwrap();
        }
        let mut choice = PluginChoice::named("vote");
        assert_eq!(found(&catalogue, &choice).unwrap(), "vote@1.10.0");
        choice.version = Some("1.9.0".to_owned());
        assert_eq!(found(&catalogue, &choice).unwrap(), "vote@1.9.0");
        choice.version = None;
        choice.digest = Some(Digest::of(b"1.10.0-rc.1"));
        assert_eq!(found(&catalogue, &choice).unwrap(), "vote@1.10.0-rc.1");
        choice.version = Some("2.0.0".to_owned());
        choice.digest = None;
        assert_eq!(
            found(&catalogue, &choice).unwrap_err(),
            "no strategy `vote@2.0.0` is loaded; did you mean `vote@1.9.0`, `vote@1.10.0-rc.1` or `vote@1.10.0`?"
        );
        assert_eq!(
            found(&catalogue, &PluginChoice::named("vot")).unwrap_err(),
            "no strategy `vot` is loaded; did you mean `vote`?"
        );
        assert!(
            catalogue
                .find(Kind::Scorer, &PluginChoice::named("vote"))
                .is_err()
        );
    }

    #[test]
    fn the_operators_plugin_wins_over_the_built_in_one() {
        for built_in_first in [true, false] {
            let mut catalogue = Catalogue::default();
            let mut both = [
                listed("vote", "1.0.0", "a", Origin::BuiltIn),
                listed("vote", "1.0.0", "b", file("vote.wasm")),
            ];
            if !built_in_first {
                both.reverse();
            }
            for listed in both {
                catalogue.add(listed).unwrap();
            }
            assert_eq!(catalogue.digests(), BTreeSet::from([Digest::of(b"b")]));
        }
    }

    #[test]
    fn two_files_of_one_version_that_differ_are_an_error() {
        let mut catalogue = Catalogue::default();
        catalogue
            .add(listed("vote", "1.0.0", "a", file("a.wasm")))
            .unwrap();
        catalogue
            .add(listed("vote", "1.0.0", "a", file("copy.wasm")))
            .unwrap();
        let error = catalogue
            .add(listed("vote", "1.0.0", "b", file("b.wasm")))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`copy.wasm` and `b.wasm` are both the strategy `vote` 1.0.0, but differ; keep one, or raise a version"
        );
    }
}
