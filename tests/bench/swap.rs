//! What swaps of a strategy cost the deliberations beside them.

use std::time::Duration;

use conclave_tests::client::Client;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::plugins::Plugins;
use conclave_tests::steady::{NAME, steady, version};
use serde::Serialize;
use serde_json::json;

use crate::numbers::Latencies;
use crate::pace::paced;
use crate::processes::Processes;

/// Deliberations a second: the host is busy, and not overloaded.
pub(crate) const RATE: u32 = 100;

/// Slices of each kind, which take turns: so both see the same machine.
const SLICES: usize = 10;

/// Swaps of a slice that has any.
const SWAPS: usize = 10;

/// Versions that take turns, compiled beforehand.
const VERSIONS: u32 = 4;

/// Connections that the deliberations take in turn.
const CONNECTIONS: usize = 8;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Swaps {
    pub(crate) swaps: usize,
    pub(crate) without: Latencies,
    pub(crate) with: Latencies,
}

impl Swaps {
    /// How many times longer they last with swaps, at this share of them.
    pub(crate) fn ratio(&self, share: f64) -> f64 {
        self.with.percentile_ms(share) / self.without.percentile_ms(share)
    }
}

/// Runs `count` deliberations, half of them while their strategy is swapped.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Swaps> {
    let processes = Processes::start(&[]).await?;
    processes.warm_up().await?;
    let clients = processes.clients(CONNECTIONS).await?;
    let plugins = processes.plugins().await?;
    for number in 0..VERSIONS {
        plugins.push(&steady(number)?, None).await?;
        if number > 0 {
            // The first of its name is stable at once.
            plugins.promote(NAME, &version(number)).await?;
        }
        slice(&clients, count.div_ceil(40)).await?;
    }
    let each = count.div_ceil(2 * SLICES);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut swaps = 0;
    for _ in 0..SLICES {
        without.extend(slice(&clients, each).await?);
        let every = Duration::from_secs(1) / RATE * u32::try_from(each / SWAPS)?;
        let swapping = swap(&plugins, every, swaps);
        let (latencies, swapped) = tokio::join!(slice(&clients, each), swapping);
        with.extend(latencies?);
        swaps += swapped?;
    }
    Ok(Swaps {
        swaps,
        without: Latencies::of(without),
        with: Latencies::of(with),
    })
}

/// Makes the next version stable, again and again.
async fn swap(plugins: &Plugins, every: Duration, before: usize) -> anyhow::Result<usize> {
    let mut due = tokio::time::interval(every);
    for swap in 1..=SWAPS {
        due.tick().await;
        let next = u32::try_from(before + swap)? % VERSIONS;
        // The last version that was warmed up is the first that is stable.
        let next = version((next + VERSIONS - 1) % VERSIONS);
        plugins.promote(NAME, &next).await?;
    }
    Ok(SWAPS)
}

/// How long each of so many deliberations took, from when it was due to its outcome.
async fn slice(clients: &[Client], count: usize) -> anyhow::Result<Vec<Duration>> {
    let one = |number: usize| {
        let client = clients[number % clients.len()].clone();
        async move {
            let asked = draft(&["answer:yes"])
                .strategy(NAME, json!({}))
                .scorer("agreement", json!({}));
            let done = client.run(asked).await?;
            anyhow::ensure!(done.state() == State::Completed, "{:?}", done.failure);
            Ok(())
        }
    };
    let answered = paced(RATE, count, one).await?;
    Ok(answered.into_iter().map(|(took, ())| took).collect())
}
