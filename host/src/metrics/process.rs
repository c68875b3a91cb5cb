//! The process: CPU, memory, files and threads, under the names that Prometheus's own clients use.
//! What the system does not tell has no sample.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Reads the numbers of this process.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    /// A process that has just started.
    pub(super) fn started_now() -> Self {
        Self {
            started: SystemTime::now(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time of the process",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(cpu_seconds()).encode(cpu)?;
        let since = self.started.duration_since(UNIX_EPOCH);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name| number(&status, name).map(|kib| kib * 1_024.0);
        let gauges = [
            (
                "process_start_time_seconds",
                "When the process started, in seconds since the Unix epoch",
                since.ok().map(|since| since.as_secs_f64()),
            ),
            (
                "process_resident_memory_bytes",
                "Memory that the process has in use",
                bytes("VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process; plugins reserve much of it",
                bytes("VmSize:"),
            ),
            (
                "process_threads",
                "Threads of the process",
                number(&status, "Threads:"),
            ),
            (
                "process_open_fds",
                "Files and connections that are open",
                open_files(),
            ),
            (
                "process_max_fds",
                "How many files and connections may be open",
                getrlimit(Resource::Nofile).current.map(|max| max as f64),
            ),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let Some(value) = value {
                ConstGauge::new(value).encode(metric)?;
            }
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The number behind this name in `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<f64> {
    // One of them is the directory that is read.
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}
