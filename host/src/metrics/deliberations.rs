//! What becomes of deliberations: a fold over the records of all journals.

use std::sync::Arc;

use conclave_core::entry::{Accepted, Entry, Record};
use conclave_core::observer::Observer;
use conclave_core::outcome::{CauseKind, Verdict};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, buckets};

/// How generations can end in a journal.
const RESULTS: [&str; 6] = [
    "completed",
    "cancelled",
    "deadline_exceeded",
    "budget_exhausted",
    "rejected",
    "unavailable",
];

type Durations = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// Counts deliberations and what happens in them. A record takes no allocation.
#[derive(Debug)]
pub struct Deliberations {
    accepted: Counter,
    finished: Family<Labels<2>, Counter>,
    duration: Durations,
    generations: Family<Labels<1>, Counter>,
    retries: Counter,
    scorings: Family<Labels<1>, Counter>,
    /// The names that dashboards of the service before read.
    task_failures: Counter,
    task_duration_ms: Histogram,
}

impl Deliberations {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            accepted: Counter::default(),
            finished: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(buckets::DELIBERATION)),
            generations: Family::default(),
            retries: Counter::default(),
            scorings: Family::default(),
            task_failures: Counter::default(),
            task_duration_ms: Histogram::new(buckets::milliseconds(&buckets::DELIBERATION)),
        };
        // A rate needs a first sample before the first event.
        metrics.finished("completed", "");
        metrics.finished("cancelled", "");
        for kind in [CauseKind::DeadlineExceeded, CauseKind::AllAgentsFailed] {
            metrics.finished("failed", reason(kind));
        }
        for state in ["completed", "failed", "cancelled"] {
            drop(metrics.duration.get_or_create(&[("state", state)]));
        }
        for result in ["scored", "refused"] {
            drop(metrics.scorings.get_or_create(&[("result", result)]));
        }
        for result in RESULTS {
            drop(metrics.generations.get_or_create(&[("result", result)]));
        }
        metrics.publish(registry);
        Arc::new(metrics)
    }

    fn publish(&self, registry: &mut Registry) {
        registry.register(
            "conclave_deliberations_accepted",
            "Deliberations that were accepted",
            self.accepted.clone(),
        );
        registry.register(
            "conclave_deliberations_finished",
            "Deliberations that ended, by state and, of failures, by cause",
            self.finished.clone(),
        );
        registry.register(
            "conclave_deliberation_duration_seconds",
            "Time from acceptance to the end, rests over restarts included",
            self.duration.clone(),
        );
        registry.register(
            "conclave_generations",
            "Generations that ended, retries within counted once, by result",
            self.generations.clone(),
        );
        registry.register(
            "conclave_generation_retries",
            "Attempts at generations after one that failed",
            self.retries.clone(),
        );
        registry.register(
            "conclave_scorings",
            "Calls of scorers that a strategy was answered, by result",
            self.scorings.clone(),
        );
        registry.register(
            "ray_executor_tasks_submitted",
            "The same as conclave_deliberations_accepted_total, under the name of the service before",
            self.accepted.clone(),
        );
        registry.register(
            "ray_executor_task_failures",
            "Deliberations that failed, under the name of the service before",
            self.task_failures.clone(),
        );
        registry.register(
            "ray_executor_task_duration_ms",
            "Time from acceptance to the end in milliseconds, under the name of the service before",
            self.task_duration_ms.clone(),
        );
    }

    /// The counter of an end.
    fn finished(&self, state: &'static str, cause: &'static str) -> Counter {
        let labels = [("state", state), ("cause", cause)];
        self.finished.get_or_create_owned(&labels)
    }

    fn end(&self, verdict: &Verdict, at_ms: u64) {
        let (state, cause) = match verdict {
            Verdict::Completed(_) => ("completed", ""),
            Verdict::Cancelled(_) => ("cancelled", ""),
            Verdict::Failed(cause) => ("failed", reason(cause.kind)),
        };
        self.finished(state, cause).inc();
        if state == "failed" {
            self.task_failures.inc();
        }
        let ms = at_ms as f64;
        let duration = self.duration.get_or_create(&[("state", state)]);
        duration.observe(ms / 1_000.0);
        self.task_duration_ms.observe(ms);
    }
}

impl Observer for Deliberations {
    fn journaled(&self, _accepted: &Accepted, record: &Record) {
        match &record.entry {
            Entry::Accepted(_) => {
                self.accepted.inc();
            }
            Entry::Attempt { after: Some(_), .. } => {
                self.retries.inc();
            }
            Entry::Completed { result, .. } => {
                let result = match result {
                    Ok(_) => "completed",
                    Err(failure) => failure.kind(),
                };
                self.generations.get_or_create(&[("result", result)]).inc();
            }
            Entry::Scored { result, .. } => {
                let result = if result.is_ok() { "scored" } else { "refused" };
                self.scorings.get_or_create(&[("result", result)]).inc();
            }
            Entry::Finished { verdict, .. } => self.end(verdict, record.at_ms),
            _ => {}
        }
    }
}

/// The kind as a label.
fn reason(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::DeadlineExceeded => "deadline_exceeded",
        CauseKind::StrategyFailed => "strategy_failed",
        CauseKind::AllAgentsFailed => "all_agents_failed",
        CauseKind::PluginTrapped => "plugin_trapped",
        CauseKind::PluginLimitExceeded => "plugin_limit_exceeded",
        CauseKind::PluginInvalid => "plugin_invalid",
        CauseKind::NondeterministicPlugin => "nondeterministic_plugin",
        CauseKind::PluginUnavailable => "plugin_unavailable",
        CauseKind::JournalCorrupt => "journal_corrupt",
    }
}
