//! The requests of one fetch: who asks, where to it may be sent, and how much is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_core::ids::Digest;
use conclave_core::registry::FetchError;
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};

use super::artifact::Artifact;
use super::authority::Authority;
use super::challenge::{Challenge, Token};
use super::reference::Reference;
use super::settings::{Credentials, Settings};

/// A manifest lists one layer.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// A registry sends to its storage, which may have a front of its own.
const REDIRECTS_MAX: usize = 3;

/// What kept a registry from answering.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("it sent further more than {REDIRECTS_MAX} times, or nowhere")]
    Redirects,
    #[error("it sent more bytes of {0} than it may")]
    Endless(&'static str),
    #[error("it sent a token that cannot be used")]
    Token,
    #[error("it sent {what} with the digest sha256:{actual}, and not sha256:{expected}")]
    Damaged {
        what: &'static str,
        actual: Digest,
        expected: Digest,
    },
}

/// Why nothing came, with the registry.
#[derive(Debug, thiserror::Error)]
#[error("the registry {registry} is in trouble")]
struct InTrouble {
    registry: Authority,
    source: Trouble,
}

/// A manifest as it came.
pub(super) struct Manifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

/// The requests for one reference.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    settings: &'a Settings,
    reference: &'a Reference,
    /// Who asks, as the registry wants to be told. It is sent to the registry alone.
    authorization: Option<HeaderValue>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        client: &'a Client,
        settings: &'a Settings,
        reference: &'a Reference,
    ) -> Self {
        Self {
            client,
            settings,
            reference,
            authorization: None,
        }
    }

    /// The manifest that the reference names.
    pub(super) async fn manifest(&mut self) -> Result<Manifest, FetchError> {
        let url = self.url("manifests", self.reference.version())?;
        let accept = format!("{OCI_IMAGE_MEDIA_TYPE}, {OCI_IMAGE_INDEX_MEDIA_TYPE}");
        let answer = self.get(url, &accept).await?;
        let bytes = self.body(answer, "a manifest", MANIFEST_BYTES_MAX).await?;
        let digest = Digest::of(&bytes);
        Ok(Manifest { bytes, digest })
    }

    /// The component of an artifact.
    pub(super) async fn blob(&mut self, artifact: &Artifact) -> Result<Vec<u8>, FetchError> {
        let url = self.url("blobs", &format!("sha256:{}", artifact.digest))?;
        let answer = self.get(url, "*/*").await?;
        let bytes = self.body(answer, "a component", artifact.bytes).await?;
        let actual = Digest::of(&bytes);
        if actual != artifact.digest {
            return Err(self.trouble(Trouble::Damaged {
                what: "a component",
                actual,
                expected: artifact.digest,
            }));
        }
        Ok(bytes)
    }

    pub(super) fn trouble(&self, source: Trouble) -> FetchError {
        FetchError::Unavailable(Box::new(InTrouble {
            registry: self.reference.registry().clone(),
            source,
        }))
    }

    fn url(&self, kind: &str, version: &str) -> Result<Url, FetchError> {
        let registry = self.reference.registry();
        let scheme = self.settings.scheme(registry);
        let path = self.reference.path();
        let url = Url::parse(&format!("{scheme}://{registry}/v2/{path}/{kind}/{version}"));
        url.map_err(|error| FetchError::Reference(format!("leads nowhere: {error}")))
    }

    /// Asks, tells who asks if the registry wants to know, and maps what is no success.
    async fn get(&mut self, url: Url, accept: &str) -> Result<Response, FetchError> {
        let mut answer = self.follow(url.clone(), accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let header = answer.headers().get(WWW_AUTHENTICATE);
            let header = header.and_then(|header| header.to_str().ok());
            if let Some(challenge) = header.and_then(Challenge::parse) {
                self.authorization = self.answer_to(challenge).await?;
                answer = self.follow(url, accept).await?;
            }
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.not_allowed()),
            StatusCode::NOT_FOUND => {
                let (name, version) = (self.reference.repository(), self.reference.version());
                let separator = if version.contains(':') { '@' } else { ':' };
                Err(FetchError::NotFound(format!("{name}{separator}{version}")))
            }
            status => Err(self.trouble(Trouble::Status(status))),
        }
    }

    /// Asks, and goes where the registry sends, as far as that is allowed.
    async fn follow(&self, mut url: Url, accept: &str) -> Result<Response, FetchError> {
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
            let registry = self.reference.registry();
            let is_registrys =
                registry.is_of(&url) && url.scheme() == self.settings.scheme(registry);
            if let Some(authorization) = self.authorization.as_ref().filter(|_| is_registrys) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let answer = request
                .send()
                .await
                .map_err(|error| self.unreachable(error))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or_else(|| self.trouble(Trouble::Redirects))?;
            self.permit(&url)?;
        }
        Err(self.trouble(Trouble::Redirects))
    }

    /// Whether the registry may send the host there.
    fn permit(&self, url: &Url) -> Result<(), FetchError> {
        let registry = self.reference.registry();
        let settings = self.settings;
        let mut known = settings.hosts_also.iter().chain([registry]);
        let host = url.host_str().unwrap_or_default();
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let Some(known) = known.find(|known| known.is_of(url)) else {
            return Err(FetchError::NotAllowed(format!(
                "the registry {registry} sends to {host}{port}, which is not allowed; if that is right, \
                 add `{host}{port}` to `plugins.oci.hosts_also`, and restart the host"
            )));
        };
        if url.scheme() != settings.scheme(known) {
            let scheme = url.scheme();
            return Err(FetchError::NotAllowed(format!(
                "the registry {registry} sends to {host}{port} over {scheme}, which is not allowed"
            )));
        }
        Ok(())
    }

    /// The header that answers a challenge; `None` if the host has nothing to say.
    async fn answer_to(&self, challenge: Challenge) -> Result<Option<HeaderValue>, FetchError> {
        let credentials = self.settings.credentials(self.reference.registry());
        match challenge {
            Challenge::Basic => Ok(credentials.map(basic)),
            Challenge::Bearer { mut realm, service } => {
                self.permit(&realm)?;
                let scope = format!("repository:{}:pull", self.reference.path());
                realm.query_pairs_mut().append_pair("scope", &scope);
                if let Some(service) = &service {
                    realm.query_pairs_mut().append_pair("service", service);
                }
                let mut request = self.client.get(realm);
                if let Some(credentials) = credentials {
                    request = request.header(AUTHORIZATION, basic(credentials));
                }
                let answer = request
                    .send()
                    .await
                    .map_err(|error| self.unreachable(error))?;
                match answer.status() {
                    StatusCode::OK => {}
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        return Err(self.not_allowed());
                    }
                    status => return Err(self.trouble(Trouble::Status(status))),
                }
                let body = self.body(answer, "a token", TOKEN_BYTES_MAX).await?;
                let token: Option<Token> = serde_json::from_slice(&body).ok();
                let token = token.and_then(Token::into_text);
                let header = token.and_then(|token| sensitive(&format!("Bearer {token}")));
                let header = header.ok_or_else(|| self.trouble(Trouble::Token))?;
                Ok(Some(header))
            }
        }
    }

    async fn body(
        &self,
        mut answer: Response,
        what: &'static str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|error| self.unreachable(error))?
        {
            if (body.len() + piece.len()) as u64 > bytes_max {
                return Err(self.trouble(Trouble::Endless(what)));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn unreachable(&self, error: reqwest::Error) -> FetchError {
        // The address of a storage holds what lets anybody read there.
        self.trouble(Trouble::Unreachable(error.without_url()))
    }

    fn not_allowed(&self) -> FetchError {
        let (registry, name) = (self.reference.registry(), self.reference.repository());
        FetchError::NotAllowed(match self.settings.credentials(registry) {
            None => format!(
                "the registry {registry} does not let just anybody read `{name}`; give it a `username` \
                 and a `password_file` in `[[plugins.oci.credentials]]`, and restart the host"
            ),
            Some(Credentials { username, .. }) => format!(
                "the registry {registry} does not let `{username}` read `{name}`; check the password \
                 in `[[plugins.oci.credentials]]`, and the user's rights there"
            ),
        })
    }
}

fn basic(credentials: &Credentials) -> HeaderValue {
    let Credentials {
        username, password, ..
    } = credentials;
    let pair = format!("{username}:{}", password.reveal());
    let encoded = STANDARD.encode(pair);
    sensitive(&format!("Basic {encoded}")).expect("base64 fits into a header")
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}
