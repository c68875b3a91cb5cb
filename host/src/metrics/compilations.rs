//! What becomes of components before they run: checks, compilations, and what is kept of them on disk.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, buckets};
use crate::wasm::Work;

/// Measures the engine's work on components.
#[derive(Debug)]
pub struct Compilations {
    checks: Family<Labels<1>, Counter>,
    compilations: Family<Labels<1>, Counter>,
    seconds: Histogram,
    sought: Family<Labels<1>, Counter>,
}

impl Compilations {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            checks: Family::default(),
            compilations: Family::default(),
            seconds: Histogram::new(buckets::COMPILATION),
            sought: Family::default(),
        };
        for (family, results) in [
            (
                &metrics.checks,
                &["accepted", "remembered", "refused", "failed"][..],
            ),
            (
                &metrics.compilations,
                &["compiled", "invalid", "limit_exceeded", "failed"],
            ),
            (&metrics.sought, &[Work::HIT, Work::MISS, Work::REFUSED]),
        ] {
            for result in results {
                // So that each is there from the start on.
                drop(family.get_or_create(&[("result", result)]));
            }
        }
        registry.register(
            "conclave_plugin_checks",
            "Components that were checked, by result; a remembered one was accepted before by the same rules",
            metrics.checks.clone(),
        );
        registry.register(
            "conclave_plugin_compilations",
            "Compilations of components, by result",
            metrics.compilations.clone(),
        );
        registry.register(
            "conclave_plugin_compilation_seconds",
            "Time of a compilation, whatever came of it",
            metrics.seconds.clone(),
        );
        registry.register(
            "conclave_plugin_cache_lookups",
            "Looks for the machine code of a component on disk, by result; refused is what did not prove itself",
            metrics.sought.clone(),
        );
        Arc::new(metrics)
    }

    /// Takes note of what the engine did.
    pub fn did(&self, work: &Work) {
        let (family, result) = match work {
            Work::Checked { result } => (&self.checks, *result),
            Work::Sought { result } => (&self.sought, *result),
            Work::Compiled { result, took } => {
                self.seconds.observe(took.as_secs_f64());
                (&self.compilations, *result)
            }
        };
        family.get_or_create(&[("result", result)]).inc();
    }
}
