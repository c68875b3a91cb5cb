//! What an operator decides about one cluster.

use std::fmt;
use std::time::Duration;

use conclave_core::retry::Retry;
use reqwest::Certificate;

use super::address::Address;

/// How one cluster's dashboard is called. Every wait and every number of tries has a bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the dashboard is.
    pub address: Address,
    /// What it wants to be shown, if anything.
    pub token: Option<Token>,
    /// The roots that its certificate is trusted by, instead of the system's.
    pub roots: Option<Roots>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one try may take in all, connection and answer included.
    pub timeout: Duration,
    /// How long to wait before another try.
    pub retry: Retry,
    /// How often a call is tried at most.
    pub tries_max: u32,
}

impl Settings {
    /// Those of a cluster of which nothing but the address is known.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            token: None,
            roots: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            // Whoever asks will ask again: three retries over some seconds bridge a dropped connection,
            // not a head that restarts.
            retry: Retry {
                base: Duration::from_millis(200),
                cap: Duration::from_secs(2),
            },
            tries_max: 4,
        }
    }
}

/// The secret of a cluster with token authentication; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token as the operator wrote it.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The secret, for the one header that it is for.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Certificates of authorities, at least one.
#[derive(Clone, Debug)]
pub struct Roots(Vec<Certificate>);

impl Roots {
    /// Reads PEM; none where there is no certificate in it.
    #[must_use]
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let roots = Certificate::from_pem_bundle(pem).ok()?;
        (!roots.is_empty()).then_some(Self(roots))
    }

    /// Each of them.
    pub(super) fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.0.iter().cloned()
    }
}

/// Settings that the adapter cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The token does not fit into a header.
    #[error("the token for {0} must be visible ASCII characters without spaces or line breaks")]
    TokenNotAHeader(Address),
    /// The HTTP client does not start.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_token() {
        let settings = Settings {
            token: Some(Token::new("s3cret")),
            ..Settings::new("http://h:8265".parse().unwrap())
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("8265") && !shown.contains("s3cret"));
    }
}
