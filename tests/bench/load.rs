//! Clients that work through a number of deliberations together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, pb};
use conclave_tests::draft::{Change as _, draft};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::numbers::Latencies;

/// Generations of the deliberation that is measured.
pub(crate) const GENERATIONS: u32 = 5;

/// What is to be done.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    /// Clients at once, each with a connection of its own.
    pub(crate) clients: usize,
    /// Deliberations of all clients together.
    pub(crate) count: usize,
    /// Generations of each deliberation.
    pub(crate) generations: u32,
}

/// How long the calls took.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) submits: Latencies,
    pub(crate) wholes: Latencies,
}

/// The two latencies of one deliberation.
type Two = (Duration, Duration);

/// Each client creates a deliberation, waits for its outcome, and creates the next.
pub(crate) async fn deliberations(load: Load, clients: Vec<Client>) -> anyhow::Result<Calls> {
    let asked = asked("answer:yes", load.generations);
    together(load, clients, move |client| {
        let asked = asked.clone();
        async move {
            let started = Instant::now();
            let created = client.create(asked).await?;
            let submitted = started.elapsed();
            let done = client.wait(&created.uid).await?;
            let whole = started.elapsed();
            ensure!(
                done.state() == State::Completed,
                "a deliberation failed: {:?}",
                done.failure
            );
            Ok((submitted, whole))
        }
    })
    .await
}

/// Each client makes the model calls of a deliberation, all at once.
pub(crate) async fn bare(load: Load, bare: Bare) -> anyhow::Result<Calls> {
    let clients = (0..load.clients).map(|_| bare.clone()).collect();
    together(load, clients, move |bare: Bare| async move {
        let started = Instant::now();
        bare.ask(load.generations).await?;
        Ok((Duration::ZERO, started.elapsed()))
    })
    .await
}

/// Each client makes calls that are refused.
pub(crate) async fn refusals(load: Load, clients: Vec<Client>) -> anyhow::Result<Calls> {
    together(load, clients, |client| async move {
        let started = Instant::now();
        // A name with a slash is none.
        let refused = client.get("no/name").await;
        ensure!(
            refused.is_err_and(|status| status.code() == tonic::Code::InvalidArgument),
            "it was not refused"
        );
        Ok((Duration::ZERO, started.elapsed()))
    })
    .await
}

/// A vote of so many samples of one model.
pub(crate) fn asked(model: &str, generations: u32) -> pb::Deliberation {
    draft(&[model])
        .strategy(
            "sample-vote",
            json!({"samples": generations, "stop": {"rule": "none"}}),
        )
        .scorer("agreement", json!({}))
}

async fn together<C, F, Done>(load: Load, clients: Vec<C>, one: F) -> anyhow::Result<Calls>
where
    C: Clone + Send + 'static,
    F: Fn(C) -> Done + Clone + Send + 'static,
    Done: Future<Output = anyhow::Result<Two>> + Send + 'static,
{
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for client in clients {
        let (begun, one) = (Arc::clone(&begun), one.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < load.count {
                latencies.push(one(client.clone()).await?);
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut all: Vec<Two> = Vec::with_capacity(load.count);
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    let (submits, wholes) = all.into_iter().unzip();
    Ok(Calls {
        submits: Latencies::of(submits),
        wholes: Latencies::of(wholes),
    })
}
