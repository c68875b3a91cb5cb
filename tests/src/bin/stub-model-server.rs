//! The stub model server in a process of its own: `stub-model-server [--host IP] [--port PORT]`, by
//! default on a free port of the loopback address. It prints `{"listening": "http://…"}` when it is
//! ready.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use conclave_tests::stub_server::StubServer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> anyhow::Result<()> {
    let address = address(std::env::args().skip(1))?;
    // Each connection takes a file, and a benchmark opens thousands.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    // One thread serves some ten thousand requests a second, and leaves the others to the system
    // under test.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = StubServer::bind(address).await?;
        let ready = serde_json::json!({ "listening": server.url() });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{ready}")?;
        out.flush()?;
        drop(out);
        server.serve().await;
        Ok(())
    })
}

/// The address that the arguments name; they are called as vLLM's are.
fn address(mut args: impl Iterator<Item = String>) -> anyhow::Result<SocketAddr> {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    while let Some(name) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("`{name}` needs a value"))?;
        let wrong = || format!("`{name} {value}` is not understood");
        match name.as_str() {
            "--host" => address.set_ip(value.parse().with_context(wrong)?),
            "--port" => address.set_port(value.parse().with_context(wrong)?),
            _ => bail!("`{name}` is unknown: stub-model-server [--host IP] [--port PORT]"),
        }
    }
    Ok(address)
}
