//! Commits of the journal.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Labels, buckets};
use crate::sqlite::Commit;

/// Measures commits.
#[derive(Debug)]
pub struct Commits {
    seconds: Histogram,
    writes: Histogram,
    written: Counter,
    failed: Counter,
}

impl Commits {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let commits = Family::<Labels<1>, Counter>::default();
        let metrics = Self {
            seconds: Histogram::new(buckets::COMMIT),
            writes: Histogram::new(buckets::COMMIT_WRITES),
            written: commits.get_or_create_owned(&[("result", "written")]),
            failed: commits.get_or_create_owned(&[("result", "failed")]),
        };
        registry.register(
            "conclave_journal_commits",
            "Commits of the journal, by result; one that failed is tried again write by write",
            commits,
        );
        registry.register(
            "conclave_journal_commit_seconds",
            "Time of a durable commit",
            metrics.seconds.clone(),
        );
        registry.register(
            "conclave_journal_commit_writes",
            "Writes that one commit made durable",
            metrics.writes.clone(),
        );
        Arc::new(metrics)
    }

    /// Takes note of a commit.
    pub fn ended(&self, commit: &Commit) {
        if commit.failed {
            self.failed.inc();
            return;
        }
        self.written.inc();
        self.seconds.observe(commit.took.as_secs_f64());
        self.writes.observe(commit.writes as f64);
    }
}
