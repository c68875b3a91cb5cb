//! How many deliberations a host takes, how long they last, and where its CPU time goes.

use anyhow::Context as _;
use serde::Serialize;

use crate::load::{GENERATIONS, Load};
use crate::numbers::Measured;
use crate::processes::Processes;

/// A load on the host, and the same model calls without it.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) load: Load,
    pub(crate) host: Measured,
    pub(crate) bare: Measured,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) parts: Parts,
}

/// The host's CPU time for one deliberation, in milliseconds, by what it is for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Parts {
    pub(crate) all: f64,
    pub(crate) grpc: f64,
    pub(crate) journal: f64,
    pub(crate) http: f64,
    /// What a generation adds, of `all`.
    pub(crate) generation: f64,
    pub(crate) written_bytes: f64,
}

impl Parts {
    /// From a load, the same load with one generation each, and calls that are refused.
    fn of(busy: &Pair, small: &Measured, refused: &Measured) -> Self {
        let all = busy.host.each_ms(busy.host.host.cpu);
        let more = f64::from(busy.load.generations.saturating_sub(1).max(1));
        Self {
            all,
            // A deliberation is two calls: to create it and to wait for it.
            grpc: 2.0 * refused.each_ms(refused.host.cpu),
            journal: busy.host.each_ms(busy.host.host.journal_cpu),
            http: busy.bare.each_ms(busy.bare.client.cpu),
            generation: (all - small.each_ms(small.host.cpu)) / more,
            written_bytes: busy.host.host.written as f64 / busy.host.wholes.count().max(1) as f64,
        }
    }

    /// What is none of the other parts.
    pub(crate) fn rest(&self) -> f64 {
        self.all - self.grpc - self.journal - self.http
    }
}

/// Measures `count` deliberations at 64 clients, and a quarter of them at one.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Throughput> {
    let processes = Processes::start(&[]).await?;
    let load = |clients, count, generations| Load {
        clients,
        count,
        generations,
    };
    processes.warm_up().await?;
    processes.ask_bare(load(16, 200, GENERATIONS)).await?;
    let mut pairs = Vec::new();
    for (clients, count) in [(1, count.div_ceil(4)), (64, count)] {
        let load = load(clients, count, GENERATIONS);
        let host = processes.deliberate(load).await?;
        let bare = processes.ask_bare(load).await?;
        pairs.push(Pair { load, host, bare });
    }
    let small = processes.deliberate(load(64, count, 1)).await?;
    let refused = processes.refuse(load(64, 4 * count, 0)).await?;
    let busy = pairs.last().context("two loads were measured")?;
    let parts = Parts::of(busy, &small, &refused);
    Ok(Throughput { pairs, parts })
}
