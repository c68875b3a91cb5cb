//! An OCI registry as a process: Debian's `docker-registry` on a free port, with storage of its own.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use anyhow::Context as _;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tempfile::TempDir;

use crate::host::bare_command;
use crate::log::Log;
use crate::patience::within;
use crate::python::Venv;

/// The one user of a registry that asks.
pub const USER: &str = "conclave";

/// The user's password.
pub const PASSWORD: &str = "secret";

/// The bcrypt hash of [`PASSWORD`].
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// A running registry. Dropping it kills it.
#[derive(Debug)]
pub struct OciRegistry {
    addr: String,
    process: Child,
    asks: bool,
    _place: TempDir,
}

impl OciRegistry {
    /// An empty registry that lets anybody read and write.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn open() -> anyhow::Result<Self> {
        Self::start(false).await
    }

    /// An empty registry that lets in [`USER`] alone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn closed() -> anyhow::Result<Self> {
        Self::start(true).await
    }

    async fn start(asks: bool) -> anyhow::Result<Self> {
        let place = tempfile::Builder::new().prefix("registry-").tempdir()?;
        let path = |name: &str| place.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{formatter: json}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            path("storage")
        );
        if asks {
            std::fs::write(path("users"), format!("{USER}:{HASH}\n"))?;
            let users = path("users");
            config += &format!("auth: {{htpasswd: {{realm: Registry, path: '{users}'}}}}\n");
        }
        std::fs::write(path("config.yml"), config)?;
        let venv = tokio::task::spawn_blocking(Venv::ready).await??;
        let mut process = bare_command(&venv.program("docker-registry"))
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("`make test` puts docker-registry beside the tools of the tests")?;
        let stderr = process.stderr.take().context("its log is piped")?;
        let log = Log::of(stderr);
        let listening = |line: &String| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split('"').next()?.to_owned())
        };
        let addr = log.find("the address of a registry", |log| {
            let found = log.lines.iter().find_map(listening);
            found.map(Some).or(log.ended.then_some(None))
        });
        let addr = addr.await?;
        Ok(Self {
            addr: addr.with_context(|| format!("the registry ended: {}", log.text()))?,
            process,
            asks,
            _place: place,
        })
    }

    /// Its host and port.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Pushes a component under a name and a tag, with the signature if there is one. Returns the
    /// reference by digest.
    ///
    /// # Errors
    /// When it cannot be pushed.
    pub async fn push(
        &self,
        name: &str,
        component: &[u8],
        annotations: BTreeMap<String, String>,
    ) -> anyhow::Result<String> {
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        })?;
        let reference: Reference = format!("{}/{name}", self.addr).parse()?;
        let auth = match self.asks {
            true => RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned()),
            false => RegistryAuth::Anonymous,
        };
        let layer = ImageLayer::new(component.to_vec(), "application/wasm".to_owned(), None);
        let described = r#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#;
        let media_type = "application/vnd.wasm.config.v0+json".to_owned();
        let config = Config::new(described, media_type, None);
        let layers = [layer];
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            ..OciImageManifest::build(&layers, &config, Some(annotations))
        };
        let pushed = client.push(&reference, &layers, config, &auth, Some(manifest));
        within("a push", pushed).await??;
        let digest = client.fetch_manifest_digest(&reference, &auth).await?;
        let repository = reference.repository();
        Ok(format!("{}/{repository}@{digest}", self.addr))
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
