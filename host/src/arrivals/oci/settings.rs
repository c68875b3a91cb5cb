//! What an operator decides about registries.

use std::fmt;
use std::time::Duration;

use super::authority::Authority;
use super::reference::Repositories;

/// How components may be fetched. Every wait and every size has a bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From where; nothing listed, nothing allowed. An entry permits its registry's own private or
    /// loopback address; a name never leads to a link-local or metadata address.
    pub allowed: Vec<Repositories>,
    /// Registries of this machine that speak plain HTTP.
    pub insecure: Vec<Authority>,
    /// Other hosts that a registry may send to: for tokens, or for what it stores.
    pub hosts_also: Vec<Authority>,
    /// Who the host is, for each registry that asks.
    pub credentials: Vec<Credentials>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long all of a component may take.
    pub timeout: Duration,
    /// How large a component may be.
    pub bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            insecure: Vec::new(),
            hosts_also: Vec::new(),
            credentials: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            // 32 MiB over a line of 5 Mbit/s, with something to spare.
            timeout: Duration::from_secs(60),
            bytes_max: 32 << 20,
        }
    }
}

impl Settings {
    /// Whether any host is reached over TLS.
    pub(super) fn needs_certificates(&self) -> bool {
        let registries = self.allowed.iter().map(Repositories::registry);
        let mut hosts = registries.chain(&self.hosts_also);
        hosts.any(|host| !self.insecure.contains(host))
    }

    /// The scheme of a registry.
    pub(super) fn scheme(&self, registry: &Authority) -> &'static str {
        if self.insecure.contains(registry) {
            "http"
        } else {
            "https"
        }
    }

    /// Who the host is there.
    pub(super) fn credentials(&self, registry: &Authority) -> Option<&Credentials> {
        self.credentials.iter().find(|it| it.registry == *registry)
    }
}

/// Who the host is at a registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Where.
    pub registry: Authority,
    /// The user's name.
    pub username: String,
    /// The user's password or access token.
    pub password: Password,
}

/// A secret that a registry asks for; `Debug` does not show it.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes a password as the operator wrote it.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The secret, for the one header that it is for.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// The HTTP client does not start.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client of registries cannot be built")]
pub struct InvalidSettings(#[source] pub(super) reqwest::Error);
