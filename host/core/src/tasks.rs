//! The one place where tasks are started: each has a name, and all are drained on shutdown.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Starts tasks and waits for their end.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// Starts a task. Its name stands in the span of whatever it logs.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // It may outlive what started it: a span is open for as long as it has children.
        let span = tracing::debug_span!(parent: None, "task", name);
        self.tracker.spawn(future.instrument(span))
    }

    /// Waits until every task has ended, for at most `grace`; whether all did.
    pub async fn drained(&self, grace: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok()
    }
}
