//! Holds generations until a test lets them go on, so that tests need no sleeps.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Open, or closed with a number of permits for those who wait.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Option<Arc<Semaphore>>>);

impl Gate {
    pub(super) fn hold(&self) {
        let mut gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gate.get_or_insert_with(|| Arc::new(Semaphore::new(0)));
    }

    pub(super) fn release(&self) {
        let mut gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = gate.take() {
            closed.close();
        }
    }

    pub(super) fn release_next(&self, count: usize) {
        let gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = gate.as_ref() {
            closed.add_permits(count.min(Semaphore::MAX_PERMITS / 2));
        }
    }

    /// Waits while the gate is closed; those who wait pass in the order in which they came.
    pub(super) async fn pass(&self) {
        let closed = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(closed) = closed
            && let Ok(permit) = closed.acquire().await
        {
            permit.forget();
        }
    }
}
