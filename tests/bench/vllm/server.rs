//! A real vLLM as a process, and what it counts.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use conclave_tests::binary::shared_dir;
use conclave_tests::client::pb;
use conclave_tests::host::bare_command;
use conclave_tests::processes::Tree;
use conclave_tests::vllm::{self, Load, MODEL, free_port};
use conclave_tests::web;
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::load::{AT_ONCE, Asked, complete};
use crate::processes::DATA;

/// How long vLLM may take to start.
const START: Duration = Duration::from_secs(400);

/// Votes of each kind whose tokens are counted.
const VOTES: usize = 6;

/// What vLLM counted, for each of some deliberations.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Counted {
    pub(super) requests: f64,
    pub(super) prompts: f64,
    pub(super) generated: f64,
    pub(super) seconds: f64,
}

/// A vLLM of its own, ended when this is dropped.
pub(super) struct Server {
    process: Child,
    pub(super) url: String,
    _log: TempDir,
}

impl Server {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let port = free_port()?;
        let log = TempDir::new_in(shared_dir(DATA)?)?;
        let path = log.path().join("vllm.log");
        let out = File::create(&path)?;
        let mut command = bare_command(Path::new(&vllm::python()?));
        command
            .args(["-m", "vllm.entrypoints.openai.api_server"])
            .args(vllm::arguments()?)
            // Of two settings the last one holds.
            .args(["--max-num-seqs", &AT_ONCE.to_string()])
            .args(["--served-model-name", MODEL, "--host", "127.0.0.1"])
            .args(["--port", &port.to_string()])
            .envs(vllm::variables())
            .stdout(out.try_clone()?)
            .stderr(out);
        let mut server = Self {
            process: command.spawn().context("vLLM cannot be started")?,
            url: format!("http://127.0.0.1:{port}"),
            _log: log,
        };
        let started = timeout(START, server.healthy()).await;
        let started = started.context("it took too long").and_then(|done| done);
        started.with_context(|| {
            let log = std::fs::read_to_string(path).unwrap_or_default();
            format!("vLLM did not start:\n{log}")
        })?;
        Ok(server)
    }

    async fn healthy(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/health", self.url);
        while !web::get(&url).await.is_ok_and(|(status, _)| status == 200) {
            ensure!(self.process.try_wait()?.is_none(), "it has ended");
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Tokens a second that it generates for something.
    pub(super) async fn rate(
        &self,
        what: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<f64> {
        let (before, began) = (Load::of(&self.url).await?, Instant::now());
        what.await?;
        let took = began.elapsed();
        let after = Load::of(&self.url).await?;
        Ok((after.generated - before.generated) / took.as_secs_f64())
    }

    /// What it counts for each of some deliberations, one after the other.
    pub(super) async fn counted(
        &self,
        by: &Asked,
        asked: impl Fn(usize) -> pb::Deliberation,
    ) -> anyhow::Result<Counted> {
        let (before, began) = (Load::of(&self.url).await?, Instant::now());
        for number in 0..VOTES {
            complete(&by.clients[0], asked(number)).await?;
        }
        let took = began.elapsed();
        let idle = |load: &Load| load.running + load.waiting < 1.0;
        let after = Load::until(&self.url, "the end of all work", idle).await?;
        let each = |all: f64| all / VOTES as f64;
        Ok(Counted {
            requests: each(after.requests - before.requests),
            prompts: each(after.prompts - before.prompts),
            generated: each(after.generated - before.generated),
            seconds: each(took.as_secs_f64()),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Tree::kill_all(self.process.id());
        // It has just been killed.
        let _ = self.process.wait();
    }
}
