//! What names an artifact, and which repositories the operator allows.

use std::fmt;
use std::str::FromStr;

use conclave_core::ids::Digest;
use conclave_core::registry::FetchError;

use super::authority::{Authority, InvalidAuthority};

/// `REGISTRY/REPOSITORY@sha256:DIGEST`, or with a tag, which nothing is fetched by.
#[derive(Debug)]
pub(super) struct Reference {
    registry: Authority,
    parsed: oci_client::Reference,
    digest: Option<Digest>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let wrong = |reason: &str| FetchError::Reference(format!("`{text}` {reason}"));
        let form = "it must be `REGISTRY/REPOSITORY@sha256:DIGEST`";
        let parsed: oci_client::Reference = text
            .parse()
            .map_err(|error| wrong(&format!("is wrong ({error}); {form}")))?;
        let registry = parsed.registry();
        // Without one it would be that of Docker, which nobody wrote.
        if !text.starts_with(&format!("{registry}/")) {
            return Err(wrong(&format!("names no registry; {form}")));
        }
        let registry = registry.parse().map_err(|error: InvalidAuthority| {
            wrong(&format!("names no registry, which {error}"))
        })?;
        let digest = match parsed.digest().map(str::parse::<Digest>) {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(_)) => return Err(wrong("has a digest that is no sha256")),
        };
        Ok(Self {
            registry,
            parsed,
            digest,
        })
    }

    /// The registry, as it is named.
    pub(super) fn registry(&self) -> &Authority {
        &self.registry
    }

    /// The repository within the registry.
    pub(super) fn path(&self) -> &str {
        self.parsed.repository()
    }

    /// `REGISTRY/REPOSITORY`.
    pub(super) fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path())
    }

    /// What the manifest is asked for by.
    pub(super) fn version(&self) -> &str {
        let tag = self.parsed.tag().unwrap_or("latest");
        self.parsed.digest().unwrap_or(tag)
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

/// Repositories that components may be fetched from: `REGISTRY` for all of a registry, or
/// `REGISTRY/PATH` for the one at this path and those below it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repositories {
    registry: Authority,
    path: Option<String>,
}

/// A text that names no repositories.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "must be a registry, or one with a path: `registry.example/team`; patterns are not supported"
)]
pub struct InvalidRepositories;

impl Repositories {
    /// The registry that they are in.
    #[must_use]
    pub fn registry(&self) -> &Authority {
        &self.registry
    }

    pub(super) fn contain(&self, reference: &Reference) -> bool {
        let below = |path: &String| {
            let rest = reference.path().strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.registry == *reference.registry() && self.path.as_ref().is_none_or(below)
    }
}

impl FromStr for Repositories {
    type Err = InvalidRepositories;

    fn from_str(text: &str) -> Result<Self, InvalidRepositories> {
        let (registry, path) = match text.split_once('/') {
            Some((registry, path)) => (registry, Some(path)),
            None => (text, None),
        };
        let is_part = |part: &str| {
            let plain =
                |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"._-".contains(&it);
            !part.is_empty() && part.bytes().all(plain)
        };
        if !path.is_none_or(|path| path.split('/').all(is_part)) {
            return Err(InvalidRepositories);
        }
        Ok(Self {
            registry: registry.parse().map_err(|_| InvalidRepositories)?,
            path: path.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for Repositories {
    type Error = InvalidRepositories;

    fn try_from(text: String) -> Result<Self, InvalidRepositories> {
        text.parse()
    }
}

impl From<Repositories> for String {
    fn from(repositories: Repositories) -> Self {
        repositories.to_string()
    }
}

impl fmt::Display for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registry)?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_reference_names_registry_repository_and_digest() {
        let reference = Reference::parse(&format!("r.example:5000/a/b:1.0@{DIGEST}")).unwrap();
        assert_eq!(reference.repository(), "r.example:5000/a/b");
        assert_eq!(reference.version(), DIGEST);
        assert_eq!(reference.digest(), DIGEST.parse().ok());
        let tag = Reference::parse("r.example/a:1.0").unwrap();
        assert_eq!((tag.version(), tag.digest()), ("1.0", None));
    }

    #[test]
    fn what_is_wrong_with_a_reference_is_told() {
        for (text, reason) in [
            ("", "is wrong"),
            ("r.example/A@sha256:00", "is wrong"),
            ("vote", "names no registry"),
            ("team/vote:1.0", "names no registry"),
            ("r.example/../v2/x@sha256:00", "is wrong"),
            ("https://r.example/a", "is wrong"),
            ("r.example/a@sha512:00", "is wrong"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let sha512 = format!("r.example/a@sha512:{}", "0".repeat(128));
        let error = Reference::parse(&sha512).unwrap_err().to_string();
        assert!(error.contains("is no sha256"), "{error}");
    }

    #[test]
    fn a_path_allows_itself_and_what_is_below() {
        let repositories: Repositories = "r.example/team".parse().unwrap();
        let contains = |text: &str| {
            let reference = Reference::parse(&format!("{text}@{DIGEST}")).unwrap();
            repositories.contain(&reference)
        };
        assert!(contains("r.example/team") && contains("r.example/team/vote"));
        assert!(!contains("r.example/teams") && !contains("r.example/x/team"));
        assert!(!contains("s.example/team") && !contains("r.example:5000/team"));
        for text in [
            "r.example/*",
            "r.example/",
            "R.example",
            "r.example//a",
            "r.example/a/",
        ] {
            assert!(text.parse::<Repositories>().is_err(), "{text}");
        }
    }
}
