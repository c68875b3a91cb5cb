//! What the host counts and measures, in the text forms that Prometheus reads.
//!
//! Counters start at zero with each start of the host. No label holds a task, an agent or a
//! deliberation; names that clients choose are bounded (see `names`). Adapters know nothing of
//! Prometheus: they call small functions of their own types, which are made here.

mod buckets;
mod calls;
mod compilations;
mod deliberations;
mod generations;
mod journal;
mod names;
mod plugins;
mod process;
mod readings;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::calls::Calls;
pub use self::compilations::Compilations;
pub use self::deliberations::Deliberations;
pub use self::generations::{Generations, MeteredInference};
pub use self::journal::Commits;
pub use self::plugins::PluginCalls;
pub use self::readings::{Kind, Reading};

/// The content type of [`Metrics::open_metrics`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of [`Metrics::prometheus_text`].
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels whose names and values are known beforehand.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics of a host.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// What becomes of deliberations: an observer of the journal.
    pub deliberations: Arc<Deliberations>,
    /// Generations by model, as they run.
    pub generations: Arc<Generations>,
    /// Calls of plugins.
    pub plugins: Arc<PluginCalls>,
    /// Checks and compilations of components.
    pub compilations: Arc<Compilations>,
    /// Commits of the journal.
    pub journal: Arc<Commits>,
    /// gRPC calls.
    pub calls: Arc<Calls>,
}

impl Metrics {
    /// Metrics that have counted nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("conclave_build", "The build that runs", build);
        registry.register_collector(Box::new(process::Process::started_now()));
        Arc::new(Self {
            deliberations: Deliberations::register(&mut registry),
            generations: Generations::register(&mut registry),
            plugins: PluginCalls::register(&mut registry),
            compilations: Compilations::register(&mut registry),
            journal: Commits::register(&mut registry),
            calls: Calls::register(&mut registry),
            registry: Mutex::new(registry),
        })
    }

    /// Adds a number that somebody else keeps, and that is read at each scrape.
    pub fn read(&self, reading: Reading) {
        let registry = self.registry.lock();
        let mut registry = registry.unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(reading));
    }

    /// Everything in the OpenMetrics text form.
    #[must_use]
    pub fn open_metrics(&self) -> String {
        let mut text = String::with_capacity(32 << 10);
        let registry = self.registry.lock();
        let registry = registry.unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }

    /// Everything in the older form of Prometheus, which people and `promtool check metrics` read.
    #[must_use]
    pub fn prometheus_text(&self) -> String {
        text::prometheus(&self.open_metrics())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
