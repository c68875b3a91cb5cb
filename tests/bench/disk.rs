//! How long the disk takes to make a write durable, without which no figure of the journal can be
//! judged.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use conclave_tests::binary::shared_dir;

use crate::numbers::Latencies;
use crate::processes::DATA;

/// Writes that are measured.
const COUNT: usize = 300;

/// Appends pages of 4 KiB to a file where the hosts have their data, each followed by `fdatasync`.
pub(crate) fn measure() -> anyhow::Result<Latencies> {
    let mut file = tempfile::tempfile_in(shared_dir(DATA)?).context("no file can be made")?;
    let mut latencies = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    Ok(Latencies::of(latencies))
}
