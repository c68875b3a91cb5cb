//! The model server and the host, each in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use conclave_tests::binary::{built, shared_dir};
use conclave_tests::client::Client;
use conclave_tests::host::{Host, Setup, bare_command};
use conclave_tests::plugins::Plugins;

use crate::bare::Bare;
use crate::load::{self, Calls, GENERATIONS, Load};
use crate::numbers::Measured;
use crate::usage::Usage;

/// The directory of all data, beside the binaries and so on the disk: a temporary directory may be in
/// memory.
pub(crate) const DATA: &str = "bench";

/// Deliberations before anything is measured, so that caches, pools and code are warm.
const WARM_UP: usize = 200;

/// Both, running.
#[derive(Debug)]
pub(crate) struct Processes {
    stub: Stub,
    bare: Bare,
    host: Host,
    /// Where the journal is.
    _setup: Setup,
}

impl Processes {
    /// Starts them, the host with these settings beside the defaults.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_with(&[], settings).await
    }

    /// As [`Processes::start`], the host with these arguments of `conclave serve` too.
    pub(crate) async fn start_with(
        args: &[&str],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let stub = Stub::start()?;
        let mut setup = Setup::below(&shared_dir(DATA)?)?
            .arg("--endpoint")
            .arg(&stub.url);
        for (key, value) in settings {
            setup = setup.set(key, value);
        }
        for arg in args {
            setup = setup.arg(*arg);
        }
        let host = setup.start().await?;
        Ok(Self {
            bare: Bare::of(&stub.url)?,
            stub,
            host,
            _setup: setup,
        })
    }

    /// Clients of the host, each with a connection of its own.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.host.client().await?);
        }
        Ok(clients)
    }

    /// A connection of an operator.
    pub(crate) async fn plugins(&self) -> anyhow::Result<Plugins> {
        Plugins::connect(self.host.grpc_addr()).await
    }

    /// Where the host serves gRPC.
    pub(crate) fn grpc_url(&self) -> String {
        format!("http://{}", self.host.grpc_addr())
    }

    /// The host's process.
    pub(crate) fn host_pid(&self) -> u32 {
        self.host.pid()
    }

    /// The model server.
    pub(crate) fn stub(&self) -> &Bare {
        &self.bare
    }

    /// Puts a load on the host that is not measured.
    pub(crate) async fn warm_up(&self) -> anyhow::Result<()> {
        let load = Load {
            clients: 16,
            count: WARM_UP,
            generations: GENERATIONS,
        };
        self.deliberate(load).await?;
        Ok(())
    }

    /// Puts a load of deliberations on the host.
    pub(crate) async fn deliberate(&self, load: Load) -> anyhow::Result<Measured> {
        let clients = self.clients(load.clients).await?;
        self.measured(load::deliberations(load, clients)).await
    }

    /// Puts as many calls on the model server as the deliberations of a load make.
    pub(crate) async fn ask_bare(&self, load: Load) -> anyhow::Result<Measured> {
        self.measured(load::bare(load, self.bare.clone())).await
    }

    /// Puts a load of calls on the host that it refuses by their form, before it looks at anything.
    pub(crate) async fn refuse(&self, load: Load) -> anyhow::Result<Measured> {
        let clients = self.clients(load.clients).await?;
        self.measured(load::refusals(load, clients)).await
    }

    async fn measured(
        &self,
        calls: impl Future<Output = anyhow::Result<Calls>>,
    ) -> anyhow::Result<Measured> {
        let pids = [self.host.pid(), self.stub.process.id(), std::process::id()];
        let [host, stub, client] = pids.map(Usage::of);
        let started = Instant::now();
        let calls = calls.await?;
        let took = started.elapsed();
        let [host_after, stub_after, client_after] = pids.map(Usage::of);
        Ok(Measured {
            submits: calls.submits,
            wholes: calls.wholes,
            took,
            host: host_after? - host?,
            stub: stub_after? - stub?,
            client: client_after? - client?,
        })
    }
}

/// The model server, ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Stub {
    process: Child,
    pub(crate) url: String,
}

impl Stub {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let process = bare_command(&built("stub-model-server")?)
            .stdout(Stdio::piped())
            .spawn()
            .context("the stub cannot be started")?;
        let mut stub = Self {
            process,
            url: String::new(),
        };
        let mut line = String::new();
        let out = stub.process.stdout.take().context("its output is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        let ready: serde_json::Value =
            serde_json::from_str(&line).context("the stub is not ready")?;
        let url = ready["listening"].as_str();
        url.context("the stub tells no address")?
            .clone_into(&mut stub.url);
        Ok(stub)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
