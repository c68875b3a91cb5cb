//! What is asked of vLLM: by a bare client, and by deliberations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use conclave_tests::binary::shared_dir;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, pb};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::{Host, Setup};
use conclave_tests::vllm::MODEL;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::processes::DATA;

/// Generations at once.
pub(super) const AT_ONCE: usize = 16;

/// Generations of each round.
const CALLS: u64 = 48;

/// Tokens of each of them.
const TOKENS: u32 = 48;

/// Longer than any of these answers.
const TASK: &str = "Count from 1 to 2000, each number on a line of its own.";

/// Many calls by a bare client, sixteen at once.
pub(super) async fn ask(bare: &Bare) -> anyhow::Result<()> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut asking = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (bare, begun) = (bare.clone(), Arc::clone(&begun));
        asking.spawn(async move {
            loop {
                let seed = begun.fetch_add(1, Ordering::Relaxed);
                if seed >= CALLS {
                    return anyhow::Ok(());
                }
                bare.with_body(&body(seed)).ask(1).await?;
            }
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    Ok(())
}

/// What the host sends for a sample of the task.
pub(super) fn body(seed: u64) -> Value {
    json!({
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You answer as DEV."},
            {"role": "user", "content": TASK}
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "seed": seed
    })
}

/// A vote of so many samples of the task.
pub(super) fn sampled(samples: usize, tokens: u32) -> pb::Deliberation {
    let params = json!({
        "samples": samples, "max_tokens": tokens, "temperature": 1.0, "stop": {"rule": "none"}
    });
    draft(&[MODEL])
        .strategy("sample-vote", params)
        .scorer("agreement", json!({}))
        .task(|task| task.description = TASK.to_owned())
}

pub(super) async fn complete(client: &Client, asked: pb::Deliberation) -> anyhow::Result<()> {
    let done = client.run(asked).await?;
    ensure!(done.state() == State::Completed, "{:?}", done.failure);
    Ok(())
}

/// A host that asks the server.
pub(super) struct Asked {
    pub(super) clients: Vec<Client>,
    _host: Host,
    _setup: Setup,
}

impl Asked {
    pub(super) async fn start(url: &str, choices_max: usize) -> anyhow::Result<Self> {
        let setup = Setup::below(&shared_dir(DATA)?)?
            .arg("--endpoint")
            .arg(url)
            .set("inference.choices_max", &choices_max.to_string());
        let host = setup.start().await?;
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            clients.push(host.client().await?);
        }
        Ok(Self {
            clients,
            _host: host,
            _setup: setup,
        })
    }

    /// As many generations as the bare client asks for, each a deliberation.
    pub(super) async fn singles(&self) -> anyhow::Result<()> {
        let begun = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for client in &self.clients {
            let (client, begun) = (client.clone(), Arc::clone(&begun));
            running.spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < CALLS {
                    complete(&client, sampled(1, TOKENS)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ran) = running.join_next().await {
            ran??;
        }
        Ok(())
    }

    /// As many generations, sixteen of them a deliberation.
    pub(super) async fn waves(&self) -> anyhow::Result<()> {
        for _ in 0..CALLS / AT_ONCE as u64 {
            complete(&self.clients[0], sampled(AT_ONCE, TOKENS)).await?;
        }
        Ok(())
    }
}
