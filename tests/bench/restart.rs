//! How long a host with many plugins takes from its start to its line `ready`, the first time and again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use conclave_tests::binary::shared_dir;
use conclave_tests::components::component;
use conclave_tests::host::Setup;
use serde::Serialize;

use crate::processes::DATA;

/// Plugins beside those in the box.
const PLUGINS: usize = 50;
/// Restarts; the median counts.
const RESTARTS: usize = 5;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Restart {
    pub(crate) plugins: usize,
    /// With nothing compiled yet.
    pub(crate) first: Duration,
    /// With everything on disk: the median.
    pub(crate) again: Duration,
}

/// Starts a host on an empty data directory, kills it, and starts it again.
pub(crate) async fn measure() -> anyhow::Result<Restart> {
    let plugins = tempfile::tempdir()?;
    install(plugins.path())?;
    let setup = Setup::below(&shared_dir(DATA)?)?;
    // Tests share what they compile; here it is the host's own.
    std::fs::remove_file(setup.data_dir().join("compiled"))?;
    let dir = plugins.path().to_str().context("it has a plain name")?;
    let setup = setup.set("plugins.dir", dir);
    let first = start(&setup).await?;
    let mut again = Vec::new();
    for _ in 0..RESTARTS {
        again.push(start(&setup).await?);
    }
    again.sort_unstable();
    Ok(Restart {
        plugins: PLUGINS,
        first,
        again: again[RESTARTS / 2],
    })
}

async fn start(setup: &Setup) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let host = setup.start().await?;
    let took = began.elapsed();
    host.kill()?;
    Ok(took)
}

/// Writes components that differ in nothing but their name: it stands in their data, and another one
/// of the same length does no harm.
fn install(dir: &Path) -> anyhow::Result<()> {
    const NAME: &[u8] = b"agreement";
    let original = component("agreement")?;
    for number in 0..PLUGINS {
        let mut bytes = original.to_vec();
        let name = format!("agree{number:04}");
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(NAME.len()).position(|it| it == NAME) {
            at += found;
            bytes[at..at + NAME.len()].copy_from_slice(name.as_bytes());
        }
        ensure!(at > 0, "the component does not hold its name");
        std::fs::write(dir.join(format!("{name}.wasm")), bytes)?;
    }
    Ok(())
}
