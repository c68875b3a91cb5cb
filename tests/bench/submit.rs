//! How long a submit takes at a fixed rate.

use std::time::Duration;

use anyhow::ensure;
use conclave_tests::client::pb::deliberation::State;
use serde::Serialize;

use crate::load::{GENERATIONS, asked};
use crate::numbers::Latencies;
use crate::pace::paced;
use crate::processes::Processes;

/// Submits a second: what a large team sends at its worst.
pub(crate) const RATE: u32 = 200;
/// Connections that the submits take in turn.
const CONNECTIONS: usize = 8;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Submits {
    pub(crate) rate: u32,
    pub(crate) latencies: Latencies,
}

/// Submits `count` deliberations of five generations, 200 a second. Each must come to its outcome.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Submits> {
    let processes = Processes::start(&[]).await?;
    processes.warm_up().await?;
    let clients = processes.clients(CONNECTIONS).await?;
    let submit = |number: usize| {
        let client = clients[number % clients.len()].clone();
        async move { Ok(client.create(asked("answer:yes", GENERATIONS)).await?.uid) }
    };
    let answered = paced(RATE, count, submit).await?;
    let (latencies, uids): (Vec<Duration>, Vec<String>) = answered.into_iter().unzip();
    for uid in uids {
        let done = clients[0].wait(&uid).await?;
        ensure!(done.state() == State::Completed, "{:?}", done.failure);
    }
    Ok(Submits {
        rate: RATE,
        latencies: Latencies::of(latencies),
    })
}
