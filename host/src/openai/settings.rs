//! What an operator decides about calls to model servers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use conclave_core::endpoint::Endpoint;

/// How the adapter may call model servers. Every wait and every size has a bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose origins may be called: the default endpoint and those that requests may name. An entry
    /// permits its own private or loopback address; a link-local, metadata, multicast or unspecified
    /// address is permitted only where an entry is that very address.
    pub allowed: Vec<Endpoint>,
    /// Whether servers that the host runs or knows by itself are called by https.
    pub own_https: bool,
    /// The key of each origin that asks for one; it is sent there and nowhere else.
    pub api_keys: Vec<(Endpoint, ApiKey)>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a server may be silent before the first byte of its answer: a loaded engine queues
    /// requests, so this is far longer than `idle_timeout`.
    pub first_byte_timeout: Duration,
    /// How long a server may be silent between two pieces of its answer.
    pub idle_timeout: Duration,
    /// How large an answer may be, as bytes on the wire; a streamed token takes about 250 of them.
    pub answer_bytes_max: usize,
    /// How much of an error's body is read.
    pub error_bytes_max: usize,
    /// How many idle connections to one origin are kept.
    pub idle_connections_max: usize,
    /// How long an idle connection is kept: shorter than servers do, so that a connection is rarely
    /// dead when it is used again.
    pub pool_idle_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            own_https: false,
            api_keys: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            answer_bytes_max: 8 * 1024 * 1024,
            error_bytes_max: 64 * 1024,
            idle_connections_max: 256,
            // uvicorn and with it vLLM closes after 5 s, llama-server after 5 s, Go servers after minutes.
            pool_idle_timeout: Duration::from_secs(4),
        }
    }
}

impl Settings {
    /// The key of each origin that asks for one: scheme, host and port, as the URL standard writes them.
    #[must_use]
    pub fn keys_by_origin(&self) -> BTreeMap<String, ApiKey> {
        let keys = self.api_keys.iter();
        let keys = keys.map(|(of, key)| (of.origin().ascii_serialization(), key.clone()));
        keys.collect()
    }
}

/// A secret that a model server asks for; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key as the operator wrote it.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The secret, for the one header that it is for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// Settings that the adapter cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// Nothing would ever send the key.
    #[error("there is an API key for {0}, which is not an allowed endpoint")]
    KeyOfNobody(Endpoint),
    /// The key does not fit into a header.
    #[error("the API key for {0} must be visible ASCII characters without spaces or line breaks")]
    KeyNotAHeader(Endpoint),
    /// The HTTP client does not start.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_keys() {
        let settings = Settings {
            api_keys: vec![(
                Endpoint::parse("http://h").unwrap(),
                ApiKey::new("sk-secret"),
            )],
            ..Settings::default()
        };
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("http") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
