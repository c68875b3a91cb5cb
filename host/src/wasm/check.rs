//! Decides whether a component may be a plugin here, and says why not.

use std::fmt;
use std::sync::Arc;

use conclave_core::ids::Digest;
use conclave_core::params::{InvalidSchema, ParamsSchema};
use conclave_core::plugin::{Descriptor, Plugin, PluginRef};
use semver::Version;

use super::component::Prepared;
use super::engine::Engine;
use super::instance::ended;

/// A component that may be a plugin. It is compiled, and ready to run.
#[derive(Debug)]
pub struct Checked {
    /// What it is.
    pub plugin: Plugin,
    /// The contract version that it is served as, for example `0.1`.
    pub contract: &'static str,
}

/// Every reason that was found why a component cannot be a plugin. What stands first may have kept
/// later checks from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Each names what is wrong and the rule; never empty.
    pub reasons: Vec<String>,
}

impl Refusal {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            reasons: vec![reason.into()],
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))
    }
}

impl std::error::Error for Refusal {}

impl Engine {
    /// Checks a component: that it is one, is of a world that is served, imports only what is linked,
    /// fits the limits, compiles, and describes itself by the rules.
    ///
    /// # Errors
    /// All reasons that were found.
    pub async fn check(&self, bytes: impl Into<Arc<[u8]>>) -> Result<Checked, Refusal> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let prepared = self.prepare(digest, bytes).await?;
        let checked = self.describe(&prepared, digest).await;
        if checked.is_err() {
            self.forget(&digest);
        }
        checked
    }

    async fn describe(&self, prepared: &Arc<Prepared>, digest: Digest) -> Result<Checked, Refusal> {
        let mut store = self.store(&format!("sha256:{}", digest.short()), None);
        let meter = store.data().meter();
        let called = Arc::clone(prepared);
        let call = async move { called.describe(&mut store).await };
        let described = self.background.run(meter, call).await;
        let descriptor = described.map_err(|error| {
            Refusal::because(format!(
                "`describe` failed: {}",
                ended(&error, &self.limits)
            ))
        })?;
        let params = check_descriptor(&descriptor)?;
        let plugin = Plugin {
            reference: PluginRef {
                name: descriptor.name.clone(),
                version: descriptor.version.clone(),
                digest,
            },
            kind: prepared.kind(),
            descriptor,
            params,
        };
        Ok(Checked {
            plugin,
            contract: prepared.world.contract,
        })
    }
}

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

fn check_descriptor(descriptor: &Descriptor) -> Result<ParamsSchema, Refusal> {
    let mut reasons = Vec::new();
    if !is_name(&descriptor.name) {
        reasons.push(format!(
            "describes itself with the name `{}`, a name has 1 to {NAME_CHARS_MAX} characters: \
             lower-case words of letters and digits, with hyphens between them",
            descriptor.name.escape_debug()
        ));
    }
    if let Err(error) = Version::parse(&descriptor.version) {
        reasons.push(format!(
            "describes itself with the version `{}`, a version is semantic like `1.2.0`: {error}",
            descriptor.version.escape_debug()
        ));
    }
    if descriptor.summary.trim().is_empty() {
        reasons
            .push("describes itself with an empty summary, a summary is one sentence".to_owned());
    }
    match ParamsSchema::parse(&descriptor.params_schema) {
        Ok(params) if reasons.is_empty() => return Ok(params),
        Ok(_) => {}
        Err(InvalidSchema::NotJson(error)) => {
            reasons.push(format!(
                "describes params by a params-schema that is not JSON: {error}"
            ));
        }
        Err(error) => reasons.push(format!("describes its params wrongly: {error}")),
    }
    Err(Refusal { reasons })
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_of_a_descriptor_is_listed() {
        let refusal = check_descriptor(&Descriptor {
            name: "Sample_Vote".into(),
            version: "1".into(),
            summary: " ".into(),
            params_schema: "{".into(),
        });
        insta::assert_snapshot!(refusal.unwrap_err().reasons.join("\n"), @"
        describes itself with the name `Sample_Vote`, a name has 1 to 64 characters: lower-case words of letters and digits, with hyphens between them
        describes itself with the version `1`, a version is semantic like `1.2.0`: unexpected end of input while parsing major version number
        describes itself with an empty summary, a summary is one sentence
        describes params by a params-schema that is not JSON: EOF while parsing an object at line 1 column 1
        ");
        let refusal = check_descriptor(&Descriptor {
            name: "vote".into(),
            version: "1.0.0".into(),
            summary: "Votes.".into(),
            params_schema: r#"{"type": "no such type"}"#.into(),
        });
        assert_eq!(refusal.unwrap_err().reasons.len(), 1);
    }

    #[test]
    fn names_are_lower_case_words_with_hyphens() {
        for name in ["vote", "sample-vote", "a1-b2", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a--b", "A", "1a", "a b", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
