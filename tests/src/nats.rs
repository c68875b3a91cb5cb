//! A NATS server as a process: started on a free port, killed, and started again on its store.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::host::bare_command;
use crate::patience::within;
use crate::python::Venv;

/// Where a server is and what it keeps; outlives the server.
#[derive(Clone, Debug)]
pub struct NatsPlace {
    addr: SocketAddr,
    store: Arc<TempDir>,
}

/// A running server with JetStream. Dropping it kills it.
#[derive(Debug)]
pub struct NatsServer {
    place: NatsPlace,
    process: Child,
}

impl NatsPlace {
    /// A free port and an empty store.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> anyhow::Result<Self> {
        let free = TcpListener::bind(("127.0.0.1", 0))?;
        let store = tempfile::Builder::new().prefix("nats-").tempdir()?;
        Ok(Self {
            addr: free.local_addr()?,
            store: Arc::new(store),
        })
    }

    /// The address, as clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Loses what a server that has ended had kept.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(self.store.path())? {
            std::fs::remove_dir_all(entry?.path())?;
        }
        Ok(())
    }

    /// Starts a server, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self) -> anyhow::Result<NatsServer> {
        let venv = tokio::task::spawn_blocking(Venv::ready).await??;
        let mut command = bare_command(&venv.program("nats-server"));
        command
            .args([
                "-a",
                "127.0.0.1",
                "-p",
                &self.addr.port().to_string(),
                "-js",
            ])
            .arg("-sd")
            .arg(self.store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = NatsServer {
            place: self.clone(),
            process: command.spawn().context("nats-server cannot be started")?,
        };
        within("nats-server", greeted(self.addr)).await?;
        Ok(server)
    }
}

/// Waits until the server greets a client.
async fn greeted(addr: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(addr).await {
            let mut greeting = [0; 4];
            if stream.read_exact(&mut greeting).await.is_ok() && greeting == *b"INFO" {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl NatsServer {
    /// A server on a free port with an empty store.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn new() -> anyhow::Result<Self> {
        NatsPlace::new()?.start().await
    }

    /// The address, as clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// Ends it by SIGTERM; it can be started again on its port and its store. A kill might lose what it
    /// acknowledged: JetStream syncs every two minutes unless it is told otherwise.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<NatsPlace> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let ended = async {
            while self.process.try_wait()?.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        within("the end of nats-server", ended).await??;
        Ok(self.place.clone())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
