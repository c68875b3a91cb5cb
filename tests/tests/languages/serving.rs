//! A host with plugins of the test.

use std::fs;

use conclave_tests::client::Client;
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;
use tempfile::TempDir;

/// A host, its model server, and a client.
pub(crate) struct Serving {
    pub(crate) client: Client,
    pub(crate) stub: StubServer,
    _host: Host,
    _plugins: TempDir,
}

impl Serving {
    /// Serves components by file name.
    pub(crate) async fn of(components: &[(&str, &[u8])]) -> Self {
        let plugins = tempfile::tempdir().expect("there is a place for files");
        for (name, bytes) in components {
            let file = plugins.path().join(format!("{name}.wasm"));
            fs::write(file, bytes).expect("the directory is writable");
        }
        let stub = StubServer::start().await.expect("a port is free");
        let setup = Setup::asking(&stub).expect("there is a place for data");
        let setup = setup
            .arg("--plugins")
            .arg(plugins.path().to_str().expect("the path is text"));
        let host = setup.start().await.expect("the host starts");
        let client = host.client().await.expect("it serves");
        Self {
            client,
            stub,
            _host: host,
            _plugins: plugins,
        }
    }
}
