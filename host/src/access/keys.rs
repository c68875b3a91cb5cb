//! The keys with which an issuer signs its tokens: a JWKS (RFC 7517), of a file or a URL.

use conclave_core::chain::Chain;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::watched::Watched;

/// How long a fetch may take; a caller waits for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two fetches while there are no keys at all, so that nobody can be let in.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(1);
/// A set of a hundred keys has 100 kB.
const BYTES_MAX: usize = 1 << 20;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read `{}`, the value of `access.jwt.jwks_file`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no key set.
    #[error("it is no JSON Web Key Set")]
    NotAKeySet(#[source] serde_json::Error),
    /// It has no key that could be used.
    #[error(
        "the JSON Web Key Set has no public key for signatures of RSA, P-256, P-384 or Ed25519"
    )]
    NoKey,
    /// The client cannot be made.
    #[error("the HTTP client of `access.jwt.jwks_url` cannot be made")]
    Client(#[source] reqwest::Error),
    /// The URL does not answer.
    #[error("the keys cannot be fetched")]
    Fetch(#[source] reqwest::Error),
    /// It answers with too much.
    #[error("the answer has more than {BYTES_MAX} bytes")]
    TooLarge,
}

/// Public keys.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a set, without the keys that no token here can be signed with.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(Error::NotAKeySet)?;
        let keys: Vec<_> = set.keys.into_iter().filter_map(Key::of).collect();
        match keys.is_empty() {
            true => Err(Error::NoKey),
            false => Ok(Self(keys)),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// The key of this name. A token that names none is of the only key that there is.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| {
            key.key.family().algorithms().contains(&algorithm)
                && key.algorithm.is_none_or(|own| own == algorithm)
                && (id.is_none() || key.id.as_deref() == id)
        });
        let first = fitting.next()?;
        match (id, fitting.next()) {
            (None, Some(_)) => None,
            _ => Some(&first.key),
        }
    }
}

impl Key {
    fn of(json: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let signs = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        // A secret that signs and checks has no place in what an issuer publishes.
        let is_public = !key.family().algorithms().contains(&Algorithm::HS256);
        let algorithm = match jwk.common.key_algorithm {
            Some(algorithm) => Some(Algorithm::try_from(algorithm).ok()?),
            None => None,
        };
        (signs && is_public).then_some(Self {
            id: jwk.common.key_id,
            algorithm,
            key,
        })
    }
}

/// Where the keys are.
#[derive(Debug)]
pub(super) enum Source {
    File(Watched<KeySet>),
    Url(Box<Remote>),
}

impl Source {
    pub(super) fn file(path: PathBuf) -> Result<Self, Error> {
        let read = path.clone();
        let watched = Watched::load("access.jwt.jwks_file", vec![path], move || {
            KeySet::read(&read)
        });
        watched.map(Self::File)
    }

    /// The keys, among them one that `fits` if the issuer has it.
    pub(super) async fn keys(&self, fits: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        match self {
            Self::File(watched) => Some(watched.current().await),
            Self::Url(remote) => remote.keys(fits).await,
        }
    }
}

/// Keys behind a URL, fetched when they are needed first, when they are old, and when a token names one
/// that is not among them.
#[derive(Debug)]
pub(super) struct Remote {
    url: Url,
    client: reqwest::Client,
    /// The least time between two fetches, whatever tokens name.
    refresh: Duration,
    /// After this the keys are fetched again.
    age_max: Duration,
    current: RwLock<Option<Fetched>>,
    /// When a fetch was last tried. Held while one is.
    tried: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

impl Remote {
    pub(super) fn new(url: Url, refresh: Duration, age_max: Duration) -> Result<Self, Error> {
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_TIMEOUT);
        if url.scheme() == "http" {
            // Reading the system's certificates takes a while, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            client: builder.build().map_err(Error::Client)?,
            url,
            refresh,
            age_max,
            current: RwLock::default(),
            tried: Mutex::default(),
        })
    }

    async fn keys(&self, fits: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        let current = self.current();
        let known = current.as_ref().is_some_and(|fetched| fits(&fetched.keys));
        let fresh = |fetched: &Fetched| fetched.at.elapsed() < self.age_max;
        if known && current.as_ref().is_some_and(fresh) {
            return current.map(|fetched| fetched.keys);
        }
        let tried = match known {
            // Old keys serve while somebody else fetches new ones.
            true => self.tried.try_lock().ok(),
            false => Some(self.tried.lock().await),
        };
        if let Some(mut tried) = tried {
            // Somebody else may have fetched them meanwhile.
            let waited = self.current();
            let helped = waited
                .as_ref()
                .is_some_and(|it| fits(&it.keys) && fresh(it));
            let pause = match waited {
                Some(_) => self.refresh,
                None => self.refresh.min(PAUSE_WITHOUT_KEYS),
            };
            let rests = tried.is_some_and(|at| at.elapsed() < pause);
            if !helped && !rests {
                self.fetch_and_keep().await;
                // From its end: those who waited for it do not each begin another.
                *tried = Some(Instant::now());
            }
        }
        self.current().map(|fetched| fetched.keys)
    }

    fn current(&self) -> Option<Fetched> {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch_and_keep(&self) {
        match self.fetch().await {
            Ok(keys) => {
                let fetched = Fetched {
                    keys: Arc::new(keys),
                    at: Instant::now(),
                };
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Some(fetched);
            }
            Err(error) => tracing::warn!(
                url = %self.url,
                error = %Chain(&error),
                "the keys of the tokens' issuer cannot be fetched; those that were fetched before stay"
            ),
        }
    }

    async fn fetch(&self) -> Result<KeySet, Error> {
        let answer = self.client.get(self.url.clone()).send().await;
        let mut answer = answer
            .and_then(reqwest::Response::error_for_status)
            .map_err(Error::Fetch)?;
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(Error::Fetch)? {
            if text.len() + piece.len() > BYTES_MAX {
                return Err(Error::TooLarge);
            }
            text.extend_from_slice(&piece);
        }
        KeySet::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA_E: &str = "AQAB";

    fn set(keys: &str) -> Result<KeySet, Error> {
        KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes())
    }

    #[test]
    fn a_key_is_found_by_its_name_and_its_algorithm() {
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = format!(r#"{{"kty":"RSA","n":"{modulus}","e":"{RSA_E}","kid":"r"}}"#);
        let only =
            format!(r#"{{"kty":"RSA","n":"{modulus}","e":"{RSA_E}","kid":"p","alg":"PS256"}}"#);
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"e"}"#;
        let keys = set(&format!("{rsa},{only},{ed}")).unwrap();
        let found = |id, algorithm| keys.find(id, algorithm).is_some();
        assert!(found(Some("r"), Algorithm::RS512) && found(Some("r"), Algorithm::PS256));
        assert!(found(Some("p"), Algorithm::PS256) && !found(Some("p"), Algorithm::RS256));
        assert!(found(Some("e"), Algorithm::EdDSA) && !found(Some("e"), Algorithm::RS256));
        assert!(!found(Some("x"), Algorithm::RS256));
        for symmetric in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(!found(Some("r"), symmetric) && !found(None, symmetric));
        }
        assert!(found(None, Algorithm::EdDSA), "it is the only one");
        assert!(!found(None, Algorithm::PS256), "there are two");
    }

    #[test]
    fn keys_that_cannot_sign_tokens_are_left_out() {
        for useless in [
            r#"{"kty":"oct","k":"c2VjcmV0","kid":"a"}"#,
            r#"{"kty":"EC","crv":"P-999","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"}"#,
            r#"{"kty":"RSA"}"#,
            "1",
            "",
        ] {
            assert!(matches!(set(useless), Err(Error::NoKey)), "{useless}");
        }
        assert!(matches!(KeySet::parse(b"no"), Err(Error::NotAKeySet(_))));
    }
}
