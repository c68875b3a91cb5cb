//! What memory deliberations take that are in flight.

use std::time::Duration;

use anyhow::ensure;
use conclave_tests::client::Client;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::memory::{peak_bytes, proportional_bytes, reset_peak, resident_bytes};
use conclave_tests::patience::within;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::load::asked;
use crate::processes::Processes;

/// Deliberations in flight at once, unless fewer are asked for.
const COUNT: usize = 3_000;
/// Connections that submit them.
const CONNECTIONS: usize = 16;
/// A stub that takes 5 s for an answer.
const MODEL: &str = "slow:5000:answer:yes";
/// How long what was freed may take to be given back, before memory counts as idle.
const SETTLING: Duration = Duration::from_secs(2);

/// What was measured, in bytes of resident memory of the host.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) deliberations: usize,
    /// After a warm-up, with nothing to do.
    pub(crate) idle: u64,
    /// The most, from the first submit to the last outcome.
    pub(crate) peak: u64,
    /// With nothing to do again.
    pub(crate) after: u64,
    /// As `idle`, with each page counted once.
    pub(crate) idle_once: u64,
    /// With all in flight, each page counted once.
    pub(crate) flight_once: u64,
}

impl Memory {
    /// What each deliberation took above idle.
    pub(crate) fn each(&self) -> f64 {
        self.peak.saturating_sub(self.idle) as f64 / self.deliberations.max(1) as f64
    }

    /// What each deliberation took above idle, each page counted once.
    pub(crate) fn each_once(&self) -> f64 {
        let more = self.flight_once.saturating_sub(self.idle_once);
        more as f64 / self.deliberations.max(1) as f64
    }
}

/// Has `count` deliberations of one generation in flight at once, at most 3,000.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Memory> {
    let count = count.min(COUNT);
    let room = (count + 64).to_string();
    let processes = Processes::start(&[
        ("limits.deliberations_max", &room),
        ("plugins.instances_max", &room),
        ("inference.in_flight_max", &room),
    ])
    .await?;
    processes.warm_up().await?;
    tokio::time::sleep(SETTLING).await;
    let idle = resident_bytes(processes.host_pid())?;
    let idle_once = proportional_bytes(processes.host_pid())?;
    reset_peak(processes.host_pid())?;
    // Held until the last has come, and for 5 s more.
    processes.stub().control("hold").await?;
    let uids = submit(&processes, count).await?;
    within("all generations in the stub", async {
        while processes.stub().running().await? < count {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    let flight_once = proportional_bytes(processes.host_pid())?;
    processes.stub().control("release").await?;
    let client = processes.clients(1).await?.remove(0);
    for uid in uids {
        let done = client.wait(&uid).await?;
        ensure!(done.state() == State::Completed, "{:?}", done.failure);
    }
    let peak = peak_bytes(processes.host_pid())?;
    tokio::time::sleep(SETTLING).await;
    Ok(Memory {
        deliberations: count,
        idle,
        peak,
        after: resident_bytes(processes.host_pid())?,
        idle_once,
        flight_once,
    })
}

async fn submit(processes: &Processes, count: usize) -> anyhow::Result<Vec<String>> {
    let mut submitting = JoinSet::new();
    for (at, client) in processes
        .clients(CONNECTIONS)
        .await?
        .into_iter()
        .enumerate()
    {
        let share = count / CONNECTIONS + usize::from(at < count % CONNECTIONS);
        submitting.spawn(async move { submit_share(client, share).await });
    }
    let mut uids = Vec::with_capacity(count);
    while let Some(share) = submitting.join_next().await {
        uids.extend(share??);
    }
    Ok(uids)
}

async fn submit_share(client: Client, share: usize) -> anyhow::Result<Vec<String>> {
    let mut uids = Vec::with_capacity(share);
    for _ in 0..share {
        uids.push(client.create(asked(MODEL, 1)).await?.uid);
    }
    Ok(uids)
}
