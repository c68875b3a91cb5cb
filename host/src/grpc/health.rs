//! What the host says of itself: health and readiness.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::status::Refusal;

/// How the host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// All is well.
    Healthy,
    /// It works, but something that it depends on does not.
    Degraded,
    /// Nothing can run.
    Unhealthy,
}

impl Health {
    /// The word for it in `GetStatus`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Says whether the host takes new work: in `grpc.health.v1`, in `GetStatus`, and by refusing to
/// accept deliberations with `UNAVAILABLE` when it does not. A host begins as not ready.
#[derive(Clone)]
pub struct Readiness {
    ready: Arc<AtomicBool>,
    reporter: HealthReporter,
    services: &'static [&'static str],
}

impl Readiness {
    pub(super) async fn new(reporter: HealthReporter, services: &'static [&'static str]) -> Self {
        let readiness = Self {
            ready: Arc::new(AtomicBool::new(false)),
            reporter,
            services,
        };
        readiness.set(false).await;
        readiness
    }

    /// Says it from now on.
    pub async fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        let status = match ready {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Refuses new work when the host takes none.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.is_ready() {
            Ok(())
        } else {
            Err(Refusal::NotReady)
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}
