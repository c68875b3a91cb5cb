//! The servers that may be called, with what is known about each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use conclave_core::inference::Error;
use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::addresses::forbidden;
use super::settings::{ApiKey, InvalidSettings};

/// One origin that may be called.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The `Authorization` header, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
    /// When a connection was last left open and idle.
    idle_since: Mutex<Option<Instant>>,
}

impl Server {
    /// Notes that an answer was read to its end, so that its connection went back to the pool.
    pub(super) fn connection_kept(&self) {
        *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the pool may hold a connection, of which the server may have tired meanwhile.
    pub(super) fn may_have_idle_connections(&self, pool_idle_timeout: Duration) -> bool {
        let idle_since = *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The pool drops what is too old when it looks, which is a moment later than here.
        idle_since
            .is_some_and(|since| since.elapsed() <= pool_idle_timeout + Duration::from_secs(1))
    }
}

/// Every origin that may be called: scheme, host and port, as the URL standard normalises them, so
/// that `http://0x7f.1` is `http://127.0.0.1`.
#[derive(Debug)]
pub(super) struct Servers {
    allowed: HashMap<String, Arc<Server>>,
    /// Those that the host chose, and that may come and go.
    own: Mutex<HashMap<String, Arc<Server>>>,
}

/// Own servers that are remembered: replicas of models, on the nodes of clusters.
const OWN_MAX: usize = 4_096;

impl Servers {
    pub(super) fn new(
        allowed: &[Endpoint],
        api_keys: &[(Endpoint, ApiKey)],
    ) -> Result<Self, InvalidSettings> {
        let origins = allowed
            .iter()
            .map(|endpoint| (origin(endpoint), Server::default()));
        let mut servers: HashMap<String, Server> = origins.collect();
        for (endpoint, key) in api_keys {
            let Some(server) = servers.get_mut(&origin(endpoint)) else {
                return Err(InvalidSettings::KeyOfNobody(endpoint.clone()));
            };
            server.authorization = Some(authorization(endpoint, key)?);
        }
        let allowed = servers.into_iter();
        Ok(Self {
            allowed: allowed.map(|(of, server)| (of, Arc::new(server))).collect(),
            own: Mutex::default(),
        })
    }

    /// The server of an endpoint; `None` when its origin is not listed. An address as the host needs no
    /// further check: a listed one is what the operator wrote.
    pub(super) fn get(&self, endpoint: &Endpoint) -> Option<Arc<Server>> {
        self.allowed.get(&origin(endpoint)).cloned()
    }
}

/// The rule that a server breaks whose origin is not listed.
pub(super) fn broken_rule(endpoint: &Endpoint) -> String {
    let origin = origin(endpoint);
    match literal(endpoint.url()).and_then(forbidden) {
        Some(kind) => format!("it is {kind}, and {origin} is not an allowed endpoint"),
        None => format!("{origin} is not an allowed endpoint"),
    }
}

/// Why a generation is not sent to a server whose origin is not listed.
pub(crate) fn not_allowed(endpoint: &Endpoint) -> Error {
    Error::NotAllowed {
        endpoint: endpoint.clone(),
        reason: broken_rule(endpoint),
    }
}

impl Servers {
    /// The server of an endpoint that the host chose by itself: no client could have named it.
    pub(super) fn own(&self, endpoint: &Endpoint) -> Arc<Server> {
        let origin = origin(endpoint);
        if let Some(server) = self.allowed.get(&origin) {
            return Arc::clone(server);
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_MAX && !own.contains_key(&origin) {
            own.clear();
        }
        Arc::clone(own.entry(origin).or_default())
    }
}

fn origin(endpoint: &Endpoint) -> String {
    endpoint.origin().ascii_serialization()
}

fn authorization(endpoint: &Endpoint, key: &ApiKey) -> Result<HeaderValue, InvalidSettings> {
    let key = key.reveal();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidSettings::KeyNotAHeader(endpoint.clone()));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {key}"))
        .map_err(|_| InvalidSettings::KeyNotAHeader(endpoint.clone()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// The address, where the URL's host is one.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap()
    }

    fn servers(allowed: &[&str]) -> Servers {
        let allowed: Vec<_> = allowed.iter().map(|text| endpoint(text)).collect();
        Servers::new(&allowed, &[]).unwrap()
    }

    #[test]
    fn an_address_is_one_origin_in_all_its_spellings() {
        let servers = servers(&["http://127.0.0.1:8000", "http://169.254.7.7"]);
        for text in [
            "http://127.0.0.1:8000/v1",
            "http://0x7f.1:8000",
            "http://2130706433:8000",
            "http://169.254.7.7:80",
        ] {
            assert!(servers.get(&endpoint(text)).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_listed_is_refused_with_the_rule() {
        let servers = servers(&["http://127.0.0.1:8000", "http://vllm:8000"]);
        let table = [
            (
                "http://127.0.0.1:8001",
                "http://127.0.0.1:8001 is not an allowed endpoint",
            ),
            (
                "http://vllm.:8000",
                "http://vllm.:8000 is not an allowed endpoint",
            ),
            (
                "http://0xa9fea9fe/",
                "it is a link-local address, and http://169.254.169.254 is not an allowed endpoint",
            ),
            (
                "http://[::ffff:169.254.169.254]",
                "it is a link-local address, and http://[::ffff:a9fe:a9fe] is not an allowed endpoint",
            ),
            (
                "http://[::ffff:127.0.0.1]:8000",
                "http://[::ffff:7f00:1]:8000 is not an allowed endpoint",
            ),
        ];
        for (text, expected) in table {
            let endpoint = endpoint(text);
            assert!(servers.get(&endpoint).is_none(), "{text}");
            assert_eq!(broken_rule(&endpoint), expected);
        }
    }

    #[test]
    fn a_key_needs_an_endpoint_and_fits_into_a_header() {
        let vllm = endpoint("http://vllm:8000");
        let new = |of: &str, key: &str| {
            Servers::new(
                std::slice::from_ref(&vllm),
                &[(endpoint(of), ApiKey::new(key))],
            )
        };
        let servers = new("http://vllm:8000/v1", "sk-1").unwrap();
        let header = servers.get(&vllm).unwrap().authorization.clone().unwrap();
        assert!(header.is_sensitive() && header == "Bearer sk-1");
        assert!(!format!("{servers:?}").contains("sk-1"));
        assert!(matches!(
            new("http://other", "sk-1"),
            Err(InvalidSettings::KeyOfNobody(_))
        ));
        for key in ["", "a b", "a\r\nx: y", "ключ"] {
            assert!(
                matches!(
                    new("http://vllm:8000", key),
                    Err(InvalidSettings::KeyNotAHeader(_))
                ),
                "{key}"
            );
        }
    }
}
