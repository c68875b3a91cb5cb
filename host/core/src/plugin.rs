//! Plugins: what names one, what it says of itself, and the port that finds it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::channel::{Asking, Draw};
use crate::ids::{Digest, NotADigest};
use crate::params::ParamsSchema;

/// The two kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Decides which generations to run.
    Strategy,
    /// Grades candidates.
    Scorer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strategy => "strategy",
            Self::Scorer => "scorer",
        })
    }
}

/// How a client names a plugin: by name, and if it wants exactly one, by version, channel or digest too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginChoice {
    /// The plugin's name.
    pub name: String,
    /// An exact version, or the name of a channel (`stable`, `canary`), which no version can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// An exact digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl PluginChoice {
    /// Whatever the channels of this name say.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            digest: None,
        }
    }
}

/// Takes `NAME`, `NAME@VERSION`, `NAME@CHANNEL` or `NAME@sha256:DIGEST`.
impl FromStr for PluginChoice {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let text = text.trim();
        let Some((name, which)) = text.split_once('@') else {
            return Ok(Self::named(text));
        };
        let mut choice = Self::named(name);
        if which.starts_with("sha256:") {
            choice.digest = Some(which.parse()?);
        } else {
            choice.version = Some(which.to_owned());
        }
        Ok(choice)
    }
}

impl fmt::Display for PluginChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, "@{version}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, " (sha256:{})", digest.short())?;
        }
        Ok(())
    }
}

/// The one component that a deliberation runs on, until its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRef {
    /// The name that it was found by.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its bytes.
    pub digest: Digest,
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Lower-case words with hyphens.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema (draft 2020-12, as JSON text) of its params.
    pub params_schema: String,
}

/// A plugin that was checked and can be run.
#[derive(Debug)]
pub struct Plugin {
    /// What pins it.
    pub reference: PluginRef,
    /// Which kind it is.
    pub kind: Kind,
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// Its params schema, compiled.
    pub params: ParamsSchema,
}

/// The plugin that a deliberation got.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// Which.
    pub plugin: Arc<Plugin>,
    /// How it came to it, if a canary could have been drawn.
    pub draw: Option<Draw>,
}

/// Finds plugins.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// The plugin that a choice stands for now: a bare name for its stable component. The answer may
    /// change when an operator swaps plugins.
    async fn resolve(&self, kind: Kind, choice: &PluginChoice) -> Result<Arc<Plugin>, Error>;

    /// The plugin for one deliberation, which asks once and pins the digest: of a bare name the stable
    /// component, or by its share the canary.
    async fn assign(
        &self,
        kind: Kind,
        choice: &PluginChoice,
        asking: &Asking<'_>,
    ) -> Result<Assigned, Error>;
}

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The host's own binary.
    BuiltIn,
    /// A file of the operator's directory; its name without the directory.
    File(String),
    /// A caller who uploaded it.
    Upload,
    /// A registry; the reference with the digest of its manifest.
    Oci(String),
}

/// A plugin that can be named.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub plugin: Arc<Plugin>,
    /// The version of the contract that it is served as, for example `0.1`.
    pub contract: String,
    /// Where it comes from.
    pub source: Source,
    /// Bytes of the component.
    pub bytes: u64,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub added_at_ms: u64,
    /// Who brought it; empty for the host itself.
    pub added_by: String,
    /// The id of the key that signed it, if one did.
    pub signed_by: Option<String>,
}

/// Tells which plugins there are.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Every plugin that can be named, by kind, name and version.
    async fn listed(&self) -> Vec<Listed>;
}

/// Why no plugin was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No plugin of this kind has the name, version or digest.
    #[error("no {kind} `{choice}` is loaded{}", suggestion(.near))]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// As the client named it.
        choice: String,
        /// Names that come close, best first; all names when none does.
        near: Vec<String>,
    },
}

fn suggestion(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", quoted_list(names)),
    }
}

fn quoted_list(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [head @ .., last] if !head.is_empty() => format!("{} or {last}", head.join(", ")),
        quoted => quoted.join(""),
    }
}

/// Those of `known` that are nearest to `wanted` by edit distance, best first, at most three; all of
/// them (sorted) when none is near.
pub fn near_names<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .collect();
    names.sort_unstable();
    let close = |(distance, name): &(usize, &str)| *distance <= 1 + name.len() / 3;
    let near: Vec<_> = names.iter().filter(|pair| close(pair)).take(3).collect();
    if near.is_empty() {
        let mut all: Vec<_> = names.iter().map(|(_, name)| (*name).to_owned()).collect();
        all.sort_unstable();
        return all;
    }
    near.into_iter()
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_near_ones() {
        let known = ["sample-vote", "critique-revise"];
        let error = |wanted: &str| {
            Error::NotFound {
                kind: Kind::Strategy,
                choice: wanted.to_owned(),
                near: near_names(wanted, known),
            }
            .to_string()
        };
        assert_eq!(
            error("sampel-vote"),
            "no strategy `sampel-vote` is loaded; did you mean `sample-vote`?"
        );
        assert_eq!(
            error("x"),
            "no strategy `x` is loaded; did you mean `critique-revise` or `sample-vote`?"
        );
    }
}
