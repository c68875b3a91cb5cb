//! How many deliberations a host takes, how long they last, and where the time goes.
//!
//! `deliberations [COUNT]` starts a stub of a model server and a host, each in a process of its own,
//! and measures COUNT deliberations at 64 clients and a quarter of them at one. README.md says what
//! the figures mean.

mod bare;
mod load;
mod numbers;
mod processes;
mod report;
mod usage;

use std::io::Write as _;

use anyhow::Context as _;

use crate::load::Load;
use crate::processes::Processes;
use crate::report::{Pair, Parts};

/// Deliberations at 64 clients, unless the command line says otherwise.
const COUNT: usize = 4_000;
/// Deliberations before anything is measured, so that caches, pools and code are warm.
const WARM_UP: usize = 200;
/// Generations of the deliberation that is measured.
const GENERATIONS: u32 = 5;

fn main() -> anyhow::Result<()> {
    let count = match std::env::args().nth(1) {
        Some(count) => count
            .parse()
            .with_context(|| format!("`{count}` is no number of deliberations"))?,
        None => COUNT,
    };
    // One thread, which leaves the rest of the machine to the host.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(count))?;
    std::io::stdout().lock().write_all(report.as_bytes())?;
    Ok(())
}

async fn measure(count: usize) -> anyhow::Result<String> {
    let processes = Processes::start().await?;
    let load = |clients, count, generations| Load {
        clients,
        count,
        generations,
    };
    processes.deliberate(load(16, WARM_UP, GENERATIONS)).await?;
    processes.ask_bare(load(16, WARM_UP, GENERATIONS)).await?;
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
    Ok(report::text(&pairs, &parts))
}
