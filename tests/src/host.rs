//! A host as a process: started on free ports, killed, stopped, and started again on its data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::binary;
use crate::client::Client;
use crate::log::{Lines, Log};
use crate::patience::within;
use crate::stub_server::StubServer;

/// How a host is started: its settings, and the data directory that outlives it.
#[derive(Clone, Debug)]
pub struct Setup {
    args: Vec<String>,
    grpc_addr: Option<String>,
    variables: Vec<(String, String)>,
    data: Arc<TempDir>,
}

impl Setup {
    /// A host with an empty data directory and no model server.
    ///
    /// # Errors
    /// When there is no place for the data.
    pub fn bare() -> anyhow::Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// As [`Setup::bare`], with the data directory in this one: a benchmark wants it on a disk.
    ///
    /// # Errors
    /// As [`Setup::bare`].
    pub fn below(dir: &Path) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("conclave-")
            .tempdir_in(dir)?;
        // Components are compiled once for all tests, and not once for each host.
        let compiled = binary::shared_dir("compiled")?;
        std::os::unix::fs::symlink(&compiled, data.path().join("compiled"))?;
        let setup = Self {
            args: Vec::new(),
            grpc_addr: Some("127.0.0.1:0".to_owned()),
            variables: Vec::new(),
            data: Arc::new(data),
        };
        // Retries do not wait for long, and a signal to stop is obeyed at once.
        Ok(setup
            .set("inference.retry_base_ms", "1")
            .set("inference.retry_cap_ms", "10")
            .set("server.shutdown_grace_seconds", "0"))
    }

    /// A host that asks this model server.
    ///
    /// # Errors
    /// As [`Setup::bare`].
    pub fn asking(stub: &StubServer) -> anyhow::Result<Self> {
        Ok(Self::bare()?.arg("--endpoint").arg(stub.url()))
    }

    /// A setting, by its key in the configuration.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.arg("--set").arg(format!("{key}={value}"))
    }

    /// An argument of `conclave serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The address that gRPC listens on; `None` leaves it to variables and files.
    #[must_use]
    pub fn grpc_addr(mut self, addr: Option<&str>) -> Self {
        self.grpc_addr = addr.map(str::to_owned);
        self
    }

    /// A variable of the host's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the host keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Starts a host, and waits until it serves.
    ///
    /// # Errors
    /// When it does not; the error has its log.
    pub async fn start(&self) -> anyhow::Result<Host> {
        let mut process = self
            .command()?
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the host cannot be started")?;
        let stderr = process.stderr.take().context("the host's log is piped")?;
        let mut host = Host {
            setup: self.clone(),
            process: Some(process),
            log: Log::of(stderr),
            grpc_addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            http_addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let ready = host.log.find("the host's line `ready`", ready_line).await?;
        let Some((grpc_addr, http_addr)) = ready else {
            bail!("the host ended before it was ready:\n{}", host.log.text());
        };
        (host.grpc_addr, host.http_addr) = (grpc_addr, http_addr);
        Ok(host)
    }

    /// Starts a host that is expected to give up by itself: how it ended, and its log.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn start_in_vain(&self) -> anyhow::Result<(ExitStatus, String)> {
        let mut command = self.command()?;
        let ended = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
        let ended = within("the end of a host that cannot start", ended).await???;
        Ok((
            ended.status,
            String::from_utf8_lossy(&ended.stderr).into_owned(),
        ))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = bare_command(&binary::conclave()?);
        command.arg("serve").args(["--http-addr", "127.0.0.1:0"]);
        if let Some(addr) = &self.grpc_addr {
            command.arg("--grpc-addr").arg(addr);
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables);
        command.arg("--data-dir").arg(self.data_dir());
        command.args(["--set", "log.format=json"]).args(&self.args);
        Ok(command)
    }
}

/// A command without the variables that would configure a host or a client by accident.
#[must_use]
pub fn bare_command(program: &Path) -> Command {
    const KEPT: [&str; 8] = [
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "LLVM_PROFILE_FILE",
        "PATH",
        "RUST_BACKTRACE",
        "TMPDIR",
        "XDG_CACHE_HOME",
    ];
    let mut command = Command::new(program);
    command.env_clear();
    let kept = KEPT
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.envs(kept).stdin(Stdio::null());
    command
}

/// The addresses in the line `ready`; nothing when the log ended without it.
fn ready_line(log: &Lines) -> Option<Option<(SocketAddr, SocketAddr)>> {
    let addresses = log.lines.iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| line.get(name)?.as_str()?.parse().ok();
        (line.get("message")? == "ready").then_some((address("grpc_addr")?, address("http_addr")?))
    });
    match addresses {
        Some(addresses) => Some(Some(addresses)),
        None => log.ended.then_some(None),
    }
}

/// A running host. Dropping it kills it; when its test fails, its log is printed.
#[derive(Debug)]
pub struct Host {
    setup: Setup,
    process: Option<Child>,
    log: Log,
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
}

impl Host {
    /// A host with the default settings of [`Setup`] that asks this model server.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn asking(stub: &StubServer) -> anyhow::Result<Self> {
        Setup::asking(stub)?.start().await
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.grpc_addr).await
    }

    /// Where gRPC listens.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where the health pages are.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir().to_owned()
    }

    /// A page of its HTTP address, in the form that is accepted: the content type, and the text.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub async fn page(&self, path: &str, accept: &str) -> anyhow::Result<(String, String)> {
        let mut stream = tokio::net::TcpStream::connect(self.http_addr).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: host\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        within("a page of the host", read).await??;
        let (head, body) = answer.split_once("\r\n\r\n").context("it has a head")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{path} was answered with: {answer}");
        }
        let content_type = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        Ok((content_type.unwrap_or_default().to_owned(), body.to_owned()))
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until it logs a line that contains all of these, and gives the line.
    ///
    /// # Errors
    /// When it does not.
    pub async fn logged(&self, parts: &[&str]) -> anyhow::Result<String> {
        let is_it = |line: &&String| parts.iter().all(|part| line.contains(part));
        let what = format!("a line of the log with {parts:?}");
        let find = |log: &Lines| log.lines.iter().find(is_it).cloned();
        self.log.find(&what, find).await
    }

    /// Kills it as a power cut would, and gives what it can be started again with.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(mut self) -> anyhow::Result<Setup> {
        let mut process = self.process.take().context("the host runs")?;
        if let Some(status) = process.try_wait()? {
            bail!(
                "the host had ended by itself with {status}:\n{}",
                self.log.text()
            );
        }
        process.kill()?;
        process.wait()?;
        Ok(self.setup.clone())
    }

    /// Sends it SIGTERM.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the host runs")?;
        Ok(kill_process(Pid::from_child(process), Signal::TERM)?)
    }

    /// Stops it by SIGTERM, as [`Host::ended`].
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(self) -> anyhow::Result<(ExitStatus, Setup)> {
        self.terminate()?;
        self.ended().await
    }

    /// Waits for its end: how it ended, and what it can be started again with.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(mut self) -> anyhow::Result<(ExitStatus, Setup)> {
        let mut process = self.process.take().context("the host runs")?;
        let ended = tokio::task::spawn_blocking(move || process.wait());
        let status = within("the end of a host", ended).await;
        let status = status.with_context(|| self.log.text())???;
        Ok((status, self.setup.clone()))
    }
}

impl Drop for Host {
    #[expect(
        clippy::print_stderr,
        reason = "the log of a host says why its test failed"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the host ---\n{}\n---", self.log.text());
        }
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
