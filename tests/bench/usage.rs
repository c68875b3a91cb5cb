//! What a process used up to now, as Linux counts it.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// What the journal's thread is called in the host.
const JOURNAL_THREAD: &str = "journal";

/// CPU time and writes of a process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    /// CPU time of all its threads.
    pub(crate) cpu: Duration,
    /// CPU time of those that write the journal.
    pub(crate) journal_cpu: Duration,
    /// Bytes that it made the disk write.
    pub(crate) written: u64,
}

impl Usage {
    /// Of a process that may be looked into.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let journal = threads_cpu(pid, |name| name.starts_with(JOURNAL_THREAD))?;
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        let written = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(Self {
            cpu: cpu(&format!("/proc/{pid}/stat"))?,
            journal_cpu: journal,
            written: written
                .and_then(|bytes| bytes.trim().parse().ok())
                .unwrap_or_default(),
        })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            journal_cpu: self.journal_cpu.saturating_sub(before.journal_cpu),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// CPU time of the threads with such names.
fn threads_cpu(pid: u32, is: impl Fn(&str) -> bool) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path();
        // A thread may end while it is looked at.
        let Ok(name) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if is(name.trim()) {
            sum += cpu(&path.join("stat").to_string_lossy())?;
        }
    }
    Ok(sum)
}

/// User and system time in a `stat` file: fields 14 and 15, counted in clock ticks.
fn cpu(path: &str) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    // The second field is a name that may hold anything, in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0));
    let ticks: u64 = ticks.sum();
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}
