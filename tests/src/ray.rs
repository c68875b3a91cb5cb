//! The head of a Ray cluster as a process: started on free ports, stopped, and started again on them.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use conclave::ray::{Ray, Settings};
use conclave_core::cluster::Cluster as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::cache;
use crate::host::bare_command;
use crate::patience::within;
use crate::processes::Tree;

/// Names the interpreter of an environment with Ray.
const GIVEN: &str = "CONCLAVE_TEST_RAY";

/// How long a head may take to end once it is told to; its processes end one after another.
const END: Duration = Duration::from_secs(60);

/// The ports of one head. Of those that are not given Ray takes fixed ones, which another head may have.
const PORTS: [&str; 7] = [
    "--dashboard-port",
    "--port",
    "--ray-client-server-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--metrics-export-port",
    "--runtime-env-agent-port",
];

/// Where a head is; outlives it.
#[derive(Clone, Debug)]
pub struct RayPlace {
    python: PathBuf,
    /// In the order of [`PORTS`].
    ports: Vec<u16>,
    dir: Arc<TempDir>,
    args: Vec<String>,
    variables: Vec<(String, String)>,
}

/// A running head with one node, of two CPUs and no GPU. Dropping it ends it.
#[derive(Debug)]
pub struct RayHead {
    place: RayPlace,
    process: Child,
}

impl RayPlace {
    /// Free ports and an empty directory. A head takes ten seconds to start and a gigabyte of memory.
    ///
    /// # Errors
    /// When there is no Ray.
    pub fn new() -> anyhow::Result<Self> {
        Self::of(python()?)
    }

    /// As [`RayPlace::new`], with the Ray of this interpreter.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(python: PathBuf) -> anyhow::Result<Self> {
        let program = python.with_file_name("ray");
        ensure!(
            program.is_file(),
            "there is no Ray beside `{}`: name an interpreter that has it in `{GIVEN}`",
            python.display()
        );
        // All at once, so that no two are the same.
        let free: Result<Vec<_>, _> = PORTS
            .iter()
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect();
        let ports: Result<Vec<_>, _> = free?.iter().map(TcpListener::local_addr).collect();
        Ok(Self {
            python,
            ports: ports?.iter().map(SocketAddr::port).collect(),
            // Sockets are below it, whose paths may have 107 bytes.
            dir: Arc::new(tempfile::Builder::new().prefix("ray-").tempdir()?),
            args: Vec::new(),
            variables: Vec::new(),
        })
    }

    /// With an argument of `ray start`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The interpreter that runs it.
    #[must_use]
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// The dashboard's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// Starts a head, and waits until its dashboard tells of its node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self) -> anyhow::Result<RayHead> {
        let log = std::fs::File::create(self.dir.path().join("start.log"))?;
        let mut command = self.command();
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            // What is left of it, whatever becomes of the first process, can be ended too.
            .process_group(0);
        let mut head = RayHead {
            place: self.clone(),
            process: command.spawn().context("ray cannot be started")?,
        };
        within("a Ray head", head.answers()).await??;
        Ok(head)
    }

    fn command(&self) -> Command {
        let mut command = bare_command(&self.python.with_file_name("ray"));
        command
            .args(["start", "--head", "--block", "--disable-usage-stats"])
            // 127.0.0.1 would be replaced by the machine's outward address.
            .args(["--node-ip-address", "127.0.0.2"])
            .args(["--dashboard-host", "127.0.0.1"])
            .args(["--num-cpus", "2", "--object-store-memory", "100000000"])
            .args(["--min-worker-port", "0", "--max-worker-port", "0"])
            .arg("--temp-dir")
            .arg(self.dir.path());
        for (name, port) in PORTS.into_iter().zip(&self.ports) {
            command.arg(name).arg(port.to_string());
        }
        command.args(&self.args);
        command
            // Where the user happens to have a token, Ray would ask for it.
            .env("RAY_AUTH_MODE", "disabled")
            // Else a head whose jobs run takes half a minute to end.
            .env("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("start.log")).unwrap_or_default()
    }
}

/// The interpreter that is given, or that of the environment in the user's cache.
fn python() -> anyhow::Result<PathBuf> {
    match std::env::var_os(GIVEN) {
        Some(given) => Ok(PathBuf::from(given)),
        None => Ok(cache::dir()?.join("ray-2.60/bin/python")),
    }
}

impl RayHead {
    /// A head at a place of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn new() -> anyhow::Result<Self> {
        RayPlace::new()?.start().await
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &RayPlace {
        &self.place
    }

    /// The dashboard's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// What its dashboard is called by, without a token.
    ///
    /// # Errors
    /// When there is no such client.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::new(self.url().parse()?))
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let settings = Settings {
            tries_max: 1,
            ..self.settings()?
        };
        let wants_token = self.place.variables.iter();
        let wants_token = wants_token
            .clone()
            .any(|(name, value)| name == "RAY_AUTH_MODE" && value == "token");
        let cluster = Ray::new(settings)?;
        loop {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "ray has ended: {}", self.place.log());
            match cluster.nodes().await {
                Ok(nodes) if nodes.iter().any(|node| node.alive) => return Ok(()),
                Err(conclave_core::cluster::Error::Denied { .. }) if wants_token => return Ok(()),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Ends it by SIGTERM, which `ray start` passes on to all its processes; it can be started again on its
    /// ports, and knows nothing of its jobs then.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<RayPlace> {
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || self.end()).await??;
        Ok(place)
    }

    /// Kills it with all that it has started, its jobs too, as a machine does that loses its power; it can
    /// be started again as after [`RayHead::stop`].
    ///
    /// # Errors
    /// When it was gone already.
    pub fn kill(mut self) -> anyhow::Result<RayPlace> {
        ensure!(self.process.try_wait()?.is_none(), "the head has ended");
        Tree::kill_all(self.process.id());
        self.process.wait()?;
        Ok(self.place.clone())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_child(&self.process);
        let tree = Tree::below(self.process.id());
        kill_process(pid, Signal::TERM)?;
        let told = Instant::now();
        while self.process.try_wait()?.is_none() {
            if told.elapsed() > END {
                kill_process_group(pid, Signal::KILL)?;
                self.process.wait()?;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // A job's own processes may live a little longer, and would keep its ports.
        tree.kill();
        Ok(())
    }
}

impl Drop for RayHead {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.end();
    }
}
