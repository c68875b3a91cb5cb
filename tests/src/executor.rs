//! The executor of clusters as a process of its own, without Ray.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::host::bare_command;
use crate::patience::within;
use crate::python::Venv;

/// A running executor. Dropping it kills it.
#[derive(Debug)]
pub struct Executor {
    process: Child,
    log: TempDir,
}

impl Executor {
    /// Starts an executor of one worker for the queue `pool`; `settings` are merged into those that it needs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(nats_url: &str, cluster: &str, settings: Value) -> anyhow::Result<Self> {
        let venv = tokio::task::spawn_blocking(Venv::ready).await??;
        let log = tempfile::Builder::new().prefix("executor-").tempdir()?;
        let mut all = json!({
            "cluster": cluster, "queue": "pool", "nats_url": nats_url, "actors": 1, "slots": 64,
            "ack_wait_ms": 1_000, "tries_max": 3, "submission_id": "local-job", "ray": false,
        });
        if let (Some(all), Value::Object(settings)) = (all.as_object_mut(), settings) {
            all.extend(settings);
        }
        let package = package();
        let mut command = bare_command(&venv.program("python"));
        command
            .args(["-m", "conclave_executor", "--local"])
            .current_dir(&package)
            // A directory of its own keeps the sources clean.
            .env("PYTHONPYCACHEPREFIX", log.path())
            .env("CONCLAVE_EXECUTOR", all.to_string())
            .stdout(Stdio::null())
            .stderr(File::create(log.path().join("log"))?);
        Ok(Self {
            process: command.spawn().context("the executor cannot be started")?,
            log,
        })
    }

    /// Kills it without any warning, as a node does that loses its power.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Stops it by SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let ended = async {
            while self.process.try_wait()?.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        within("the end of the executor", ended).await?
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the package is.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ray")
}
