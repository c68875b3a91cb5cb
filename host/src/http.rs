//! The pages for operators: `/healthz` while the process lives and `/readyz` while it takes work, open
//! to everybody; `/metrics` and every other page for callers that are let in.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::access::audit::{self, Record};
use crate::access::denied::Kind;
use crate::access::{Access, Denied, policy};
use crate::metrics::{self, Metrics};
use crate::tls::{Incoming, Peer};

/// Where the host stands between its start and its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It loads plugins and resumes what it did not finish before.
    Starting,
    /// It takes work.
    Serving,
    /// It takes no more work.
    Stopping,
}

/// Why the host takes no work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It has just started.
    #[error("starting: plugins are being loaded and deliberations of the last run resumed")]
    Starting,
    /// It was told to stop.
    #[error("stopping: a signal was received")]
    Stopping,
    /// Nothing that it accepted would be durable.
    #[error(
        "the journal does not take entries: see the log for the reason, and the disk of the data directory for room"
    )]
    JournalFailing,
}

/// Whether the host takes work: asked by `/readyz`, told by whoever starts and stops the host.
#[derive(Clone)]
pub struct Readiness {
    phase: watch::Sender<Phase>,
    journal_takes_entries: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    impairments: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl Readiness {
    /// A host that starts. The functions say whether its journal takes entries, and what is wrong with
    /// it that does not keep it from its work, a sentence each.
    pub fn new<F>(
        journal_takes_entries: impl Fn() -> F + Send + Sync + 'static,
        impairments: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            journal_takes_entries: Arc::new(move || Box::pin(journal_takes_entries())),
            impairments: Arc::new(impairments),
        }
    }

    /// Enters a phase. A host that stops never serves again.
    pub fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let changes = *phase != Phase::Stopping && *phase != next;
            if changes {
                *phase = next;
            }
            changes
        });
    }

    /// The phase that it is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether it takes work, and if not, why.
    ///
    /// # Errors
    /// The first reason that is found.
    pub async fn check(&self) -> Result<(), NotReady> {
        let phase = *self.phase.borrow();
        match phase {
            Phase::Starting => Err(NotReady::Starting),
            Phase::Stopping => Err(NotReady::Stopping),
            Phase::Serving if (self.journal_takes_entries)().await => Ok(()),
            Phase::Serving => Err(NotReady::JournalFailing),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

/// Serves the pages, and `more` beside them, until `stop` is done and open requests are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    incoming: Incoming,
    access: Arc<Access>,
    readiness: Readiness,
    more: Router,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = router(readiness, metrics)
        .merge(more)
        .layer(from_fn_with_state(access, admit));
    axum::serve(
        incoming,
        router.into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(stop)
    .await
}

fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    let scrape = get(async move |headers: HeaderMap| scraped(&metrics, &headers));
    Router::new()
        .route("/metrics", scrape)
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "no such page; there are /healthz, /readyz, /metrics and /events\n",
            )
        })
        .with_state(readiness)
}

/// Lets a request through to its page, or says why not.
async fn admit(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let rule = policy::of_page(request.uri().path(), access.metrics_open());
    match access.admit(&rule, request.headers(), Some(&peer)).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied) => {
            let response = refused(&denied);
            if let Some(audit) = access.audit() {
                let mut record = Record {
                    peer: Some(peer.addr.to_string()),
                    // Without the query, which may hold anything.
                    method: audit::clipped(&format!(
                        "{} {}",
                        request.method(),
                        request.uri().path()
                    )),
                    outcome: response.status().as_u16().to_string(),
                    reason: Some(denied.reason()),
                    ..Record::default()
                };
                if let Some(caller) = denied.caller() {
                    record = record.by(caller);
                }
                audit.place().await.note(&record);
            }
            response
        }
    }
}

fn refused(denied: &Denied) -> Response {
    let status = match denied.kind() {
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (status, format!("{denied} ({})\n", denied.reason())).into_response();
    if let Some(challenge) = denied.challenge() {
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The metrics, in the form that the scraper asks for.
fn scraped(metrics: &Metrics, headers: &HeaderMap) -> impl IntoResponse + use<> {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let open = accepted.is_some_and(|accepted| accepted.contains("application/openmetrics-text"));
    let (form, text) = if open {
        (metrics::OPEN_METRICS, metrics.open_metrics())
    } else {
        (metrics::PROMETHEUS_TEXT, metrics.prometheus_text())
    };
    ([(CONTENT_TYPE, form)], text)
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.check().await {
        Ok(()) => {
            let told = (readiness.impairments)();
            let lines = std::iter::once("ready".to_owned()).chain(told);
            (StatusCode::OK, lines.map(|line| line + "\n").collect())
        }
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_host_is_ready_while_it_serves_and_its_journal_takes_entries() {
        let takes_entries = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&takes_entries);
        let readiness = Readiness::new(
            move || std::future::ready(asked.load(Ordering::Relaxed)),
            Vec::new,
        );
        assert_eq!(readiness.check().await, Err(NotReady::Starting));
        readiness.enter(Phase::Serving);
        assert_eq!(readiness.check().await, Ok(()));
        takes_entries.store(false, Ordering::Relaxed);
        assert_eq!(readiness.check().await, Err(NotReady::JournalFailing));
        takes_entries.store(true, Ordering::Relaxed);
        readiness.enter(Phase::Stopping);
        readiness.enter(Phase::Serving);
        assert_eq!(readiness.check().await, Err(NotReady::Stopping));
    }

    #[tokio::test]
    async fn the_pages_say_what_is_the_matter() {
        let readiness = Readiness::new(
            || std::future::ready(true),
            || vec!["no NATS server is connected".to_owned()],
        );
        let page = |State(readiness)| async { readyz(State(readiness)).await };
        let (status, body) = page(State(readiness.clone())).await;
        assert_eq!(
            (status, body.starts_with("starting")),
            (StatusCode::SERVICE_UNAVAILABLE, true)
        );
        readiness.enter(Phase::Serving);
        assert_eq!(
            page(State(readiness)).await,
            (
                StatusCode::OK,
                "ready\nno NATS server is connected\n".to_owned()
            )
        );
    }
}
