//! Components from OCI registries, by digest: an artifact in the CNCF's Wasm OCI layout
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>), with one component.
//!
//! The library `oci-client` has the types; the requests are made here, because its own follow
//! redirects anywhere, send credentials to whatever address a registry names, resolve names without a
//! filter, and read manifests of any size.

mod artifact;
mod authority;
mod challenge;
mod exchange;
mod reference;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::registry::{Fetch, FetchError, Fetched};
use reqwest::{Client, redirect, retry};

use self::artifact::Artifact;
pub use self::artifact::SIGNATURE_ANNOTATION;
pub use self::authority::{Authority, InvalidAuthority};
use self::exchange::{Exchange, Trouble};
use self::reference::Reference;
pub use self::reference::{InvalidRepositories, Repositories};
pub use self::settings::{Credentials, InvalidSettings, Password, Settings};
use crate::openai::FilteringResolver;

/// Fetches components from the registries that the operator allows.
///
/// It bounds its time and every size, sends credentials to their registry only, and goes to no other
/// host than those that are listed.
#[derive(Debug)]
pub struct Oci {
    client: Client,
    settings: Settings,
}

impl Oci {
    /// Prepares the client; nothing is sent yet. The first one of a process also makes ring the
    /// process's cryptography, unless another was installed before.
    ///
    /// # Errors
    /// When a registry with TLS is allowed, and the system has no certificates to trust.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .dns_resolver(FilteringResolver)
            .connect_timeout(settings.connect_timeout);
        if !settings.needs_certificates() {
            // Reading the system's certificates takes a while, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            client: builder.build().map_err(InvalidSettings)?,
            settings,
        })
    }

    async fn fetched(&self, text: &str) -> Result<Fetched, FetchError> {
        let reference = Reference::parse(text)?;
        let name = reference.repository();
        if !self
            .settings
            .allowed
            .iter()
            .any(|it| it.contain(&reference))
        {
            return Err(FetchError::NotAllowed(format!(
                "`{name}` is not allowed; add it to `plugins.oci.allowed`, and restart the host"
            )));
        }
        let mut exchange = Exchange::new(&self.client, &self.settings, &reference);
        let Some(digest) = reference.digest() else {
            let now = exchange.manifest().await;
            let remedy = match now {
                Ok(manifest) => {
                    format!("import `{name}@sha256:{}`, what it is now", manifest.digest)
                }
                Err(error) => format!("name a digest; what it is now cannot be told: {error}"),
            };
            return Err(FetchError::Reference(format!(
                "`{text}` is a tag, which may be another component tomorrow; {remedy}"
            )));
        };
        let manifest = exchange.manifest().await?;
        if manifest.digest != digest {
            return Err(exchange.trouble(Trouble::Damaged {
                what: "a manifest",
                actual: manifest.digest,
                expected: digest,
            }));
        }
        let artifact = Artifact::parse(&manifest.bytes)
            .map_err(|reason| FetchError::Reference(format!("`{text}` {reason}")))?;
        if artifact.bytes > self.settings.bytes_max {
            let bytes_max = self.settings.bytes_max;
            return Err(FetchError::TooLarge { bytes_max });
        }
        let bytes = exchange.blob(&artifact).await?;
        Ok(Fetched {
            bytes: Arc::from(bytes),
            signature: artifact.signature,
            reference: format!("{name}@sha256:{digest}"),
        })
    }
}

#[async_trait]
impl Fetch for Oci {
    async fn fetch(&self, reference: &str) -> Result<Fetched, FetchError> {
        let timeout = self.settings.timeout;
        let fetched = tokio::time::timeout(timeout, self.fetched(reference)).await;
        fetched.unwrap_or_else(|_| {
            Err(FetchError::Unavailable(
                format!("it took longer than {} s", timeout.as_secs()).into(),
            ))
        })
    }
}
