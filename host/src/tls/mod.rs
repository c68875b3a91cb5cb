//! The connections of both servers: bounded in number, and encrypted where a certificate is configured.
//!
//! Certificates are read again when their files change; connections that are open keep theirs.

mod incoming;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, VerifierBuilderError, WebPkiClientVerifier};

use crate::watched::Watched;

pub use self::incoming::{Connection, Incoming};

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's certificate and those between it and a root, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// The roots of client certificates, as PEM. When they are set, gRPC clients must have one; HTTP
    /// clients may, since the probes of an orchestrator have none.
    pub client_ca: Option<PathBuf>,
}

/// What cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or has no such part.
    #[error("`{}`, the value of `{key}`, has no {what} in PEM form", path.display())]
    Pem {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it must have.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A root is no certificate.
    #[error("`{}`, the value of `tls.client_ca`, has a certificate that cannot be read", .0.display())]
    Root(PathBuf, #[source] rustls::Error),
    /// The roots cannot be used.
    #[error("client certificates cannot be checked by `tls.client_ca`")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key cannot be used together.
    #[error("`tls.certificate` and `tls.key` cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, whose clients must show a certificate where there is a root for them.
    Grpc,
    /// HTTP/1.1, whose clients may.
    Http,
}

/// Certificates as they are now.
#[derive(Clone, Debug)]
pub struct Tls(Watched<Configs>);

#[derive(Debug)]
struct Configs {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files, here and whenever they change.
    ///
    /// # Errors
    /// When they cannot be used. Once they could be, a change for the worse is told in the log, and
    /// what was read before stays.
    pub fn load(settings: Settings) -> Result<Self, Error> {
        let mut paths = vec![settings.certificate.clone(), settings.key.clone()];
        paths.extend(settings.client_ca.clone());
        let configs = Watched::load("the certificates of `tls`", paths, move || {
            configs(&settings)
        });
        configs.map(Self)
    }

    async fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let configs = self.0.current().await;
        Arc::clone(match protocol {
            Protocol::Grpc => &configs.grpc,
            Protocol::Http => &configs.http,
        })
    }
}

fn configs(settings: &Settings) -> Result<Configs, Error> {
    let chain = certificates("tls.certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|source| Error::Pem {
        key: "tls.key",
        path: settings.key.clone(),
        what: "private key",
        source,
    })?;
    let roots = settings.client_ca.as_deref().map(roots).transpose()?;
    let config = |protocol| config(protocol, chain.clone(), key.clone_key(), roots.clone());
    Ok(Configs {
        grpc: config(Protocol::Grpc)?,
        http: config(Protocol::Http)?,
    })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem {
        key,
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(failed)?;
    match read.is_empty() {
        true => Err(failed(rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(read),
    }
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for root in certificates("tls.client_ca", path)? {
        let added = store.add(root);
        added.map_err(|error| Error::Root(path.to_owned(), error))?;
    }
    Ok(Arc::new(store))
}

fn config(
    protocol: Protocol,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<Arc<RootCertStore>>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match protocol {
                Protocol::Grpc => verifier,
                Protocol::Http => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Pair)?;
    config.alpn_protocols = vec![match protocol {
        Protocol::Grpc => b"h2".to_vec(),
        Protocol::Http => b"http/1.1".to_vec(),
    }];
    Ok(Arc::new(config))
}

/// A client certificate that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The URIs and DNS names of its subject, in this order. The common name is none of them
    /// (RFC 9525, section 2).
    pub names: Vec<String>,
}

impl Certificate {
    fn of(der: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = webpki::EndEntityCert::try_from(der) else {
            return Self::default();
        };
        let names = parsed.valid_uri_names().chain(parsed.valid_dns_names());
        Self {
            names: names.map(str::to_owned).collect(),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The certificate that it showed, if it did.
    pub certificate: Option<Arc<Certificate>>,
}

#[cfg(test)]
mod tests;
