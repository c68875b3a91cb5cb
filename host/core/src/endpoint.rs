//! Where models are served, and which of those places a client may name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::{Origin, Url};

/// The base URL of a model server, http or https, without userinfo, query or fragment, and without
/// a trailing `/v1`: adapters append `/v1/…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(Arc<Url>);

/// A text that is no endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It does not parse.
    #[error("`{0}` is not a URL: {1}")]
    NotAUrl(String, url::ParseError),
    /// Another scheme than http or https, or no host.
    #[error("`{0}` must be an http or https URL with a host")]
    NotHttp(String),
    /// It carries what an endpoint must not have.
    #[error("the URL must have no {0}")]
    Superfluous(&'static str),
}

impl Endpoint {
    /// Parses a base URL.
    ///
    /// # Errors
    /// When the text is no http(s) URL with a host, or has userinfo, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let mut url = Url::parse(text.trim())
            .map_err(|error| InvalidEndpoint::NotAUrl(text.to_owned(), error))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidEndpoint::NotHttp(text.to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidEndpoint::Superfluous("user or password"));
        }
        if url.query().is_some() {
            return Err(InvalidEndpoint::Superfluous("query"));
        }
        if url.fragment().is_some() {
            return Err(InvalidEndpoint::Superfluous("fragment"));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        url.set_path(&path);
        Ok(Self(Arc::new(url)))
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin()
    }

    /// The parsed base URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The URL of a path below the base, for example `v1/chat/completions`.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let mut url = Url::clone(&self.0);
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;

    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        Self::parse(&text)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

/// The origins (scheme, host, port; exact) that requests may name. Nothing listed: nothing allowed.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(BTreeSet<String>);

impl AllowedOrigins {
    /// The origins of these endpoints.
    pub fn new<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let origin = |endpoint: &Endpoint| endpoint.origin().ascii_serialization();
        Self(endpoints.into_iter().map(origin).collect())
    }

    /// Whether a request may name this endpoint.
    #[must_use]
    pub fn permits(&self, endpoint: &Endpoint) -> bool {
        self.0.contains(&endpoint.origin().ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_is_never_doubled() {
        for text in [
            "http://h:8000",
            "http://h:8000/",
            "http://h:8000/v1",
            "http://h:8000/v1/",
        ] {
            let url = Endpoint::parse(text).unwrap().join("v1/chat/completions");
            assert_eq!(url.as_str(), "http://h:8000/v1/chat/completions", "{text}");
        }
        let below = Endpoint::parse("https://h/models/v1").unwrap();
        assert_eq!(
            below.join("v1/models").as_str(),
            "https://h/models/v1/models"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "h:8000",
            "file:///etc/passwd",
            "http://",
            "http://u:p@h",
            "http://h?x=1",
            "http://h#f",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let allowed = AllowedOrigins::new(&[Endpoint::parse("http://vllm:8000").unwrap()]);
        let permits = |text| allowed.permits(&Endpoint::parse(text).unwrap());
        assert!(permits("http://vllm:8000/v1") && permits("http://VLLM:8000"));
        assert!(!permits("https://vllm:8000"));
        assert!(!permits("http://vllm:8001"));
        assert!(!permits("http://vllm.example:8000"));
        assert!(!AllowedOrigins::default().permits(&Endpoint::parse("http://vllm:8000").unwrap()));
    }
}
