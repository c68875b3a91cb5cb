//! A host that serves components of a test.

use std::fs;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::client::Client;
use crate::host::{Host, Setup};
use crate::stub_server::StubServer;

/// A host, its model server, and a client.
#[derive(Debug)]
pub struct Serving {
    /// Connected to the host.
    pub client: Client,
    /// What the host asks.
    pub stub: StubServer,
    _host: Host,
    _plugins: TempDir,
}

impl Serving {
    /// Serves components, each as a file of this name in the operator's directory.
    ///
    /// # Errors
    /// When the host does not start.
    pub async fn of(components: &[(&str, &[u8])]) -> anyhow::Result<Self> {
        let plugins = tempfile::tempdir()?;
        for (name, bytes) in components {
            fs::write(plugins.path().join(format!("{name}.wasm")), bytes)?;
        }
        let stub = StubServer::start().await?;
        let dir = plugins.path().to_str().context("the path is text")?;
        let setup = Setup::asking(&stub)?.arg("--plugins").arg(dir);
        // A Python component takes 14 s of an idle machine, which tests do not leave.
        let setup = setup.set("plugins.limits.compile_ms_max", "170000");
        let host = setup.start().await?;
        Ok(Self {
            client: host.client().await?,
            stub,
            _host: host,
            _plugins: plugins,
        })
    }
}
