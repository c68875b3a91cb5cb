//! Holds generations until a test lets them go on, so that tests need no sleeps.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

/// How often what is held shows that it lives: far more often than any timeout expects it.
const SIGNS_OF_LIFE: Duration = Duration::from_millis(100);

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
    pub(super) fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = gate.clone();
        async move {
            if let Some(closed) = closed
                && let Ok(permit) = closed.acquire().await
            {
                permit.forget();
            }
        }
    }
}

/// What waits at a gate, and shows meanwhile that it lives.
pub(super) struct Held {
    released: Pin<Box<dyn Future<Output = ()> + Send>>,
    sign: Pin<Box<Sleep>>,
}

impl Held {
    /// Closes the gate, and waits there for the next release.
    pub(super) fn at(gate: &Gate) -> Self {
        gate.hold();
        Self {
            released: Box::pin(gate.pass()),
            sign: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// Waits for the release alone.
    pub(super) async fn released(self) {
        self.released.await;
    }

    /// A sign of life when it is time for one, or nothing when the wait is over.
    pub(super) fn poll_sign_of_life(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if self.released.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.sign.as_mut().poll(cx));
        self.sign = Box::pin(sleep(SIGNS_OF_LIFE));
        Poll::Ready(Some(()))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}
