//! What tells others of deliberations: the outbox and NATS, and the page `/events`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use conclave_core::events::Telling;
use conclave_core::observer::Observer;
use conclave_core::outbox::Outbox;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::events_page::{Feed, Renderer};
use crate::nats::Nats;
use crate::sqlite::SqliteJournal;

/// The parts of a host that tell others of deliberations.
#[derive(Debug)]
pub(super) struct EventParts {
    /// Where events go, if they do.
    pub(super) nats: Option<Arc<Nats>>,
    /// What publishes them there.
    pub(super) outbox: Option<Arc<Outbox>>,
    /// How many deliberations owe events, as of the last look.
    pub(super) pending: Arc<AtomicU64>,
    feed: Arc<Feed>,
    renderer: Option<Renderer>,
}

/// How often it is looked how much is owed, for the metrics.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl EventParts {
    pub(super) fn compose(
        journal: &Arc<SqliteJournal>,
        nats: Option<Arc<Nats>>,
        telling: Telling,
    ) -> Self {
        let outbox = nats.clone().map(|nats| {
            let outbox = Outbox::new(journal.clone(), journal.clone(), nats, telling);
            Arc::new(outbox)
        });
        let (feed, renderer) = Feed::new(journal.clone());
        Self {
            nats,
            outbox,
            pending: Arc::default(),
            feed,
            renderer: Some(renderer),
        }
    }

    pub(super) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let mut observers: Vec<Arc<dyn Observer>> = vec![self.feed.clone()];
        observers.extend(self.outbox.as_ref().map(|outbox| outbox.observer()));
        observers
    }

    pub(super) fn page(&self, stop: &CancellationToken) -> Router {
        self.feed.page(stop.clone())
    }

    /// Tells others, until `stop` and a short while longer for what is owed.
    pub(super) fn start(&mut self, tasks: &Tasks, stop: &CancellationToken) {
        if let Some(renderer) = self.renderer.take() {
            tasks.spawn("events page", renderer.run(stop.clone()));
        }
        if let Some(outbox) = self.outbox.clone() {
            let stopped = stop.clone();
            let looks = look(Arc::clone(&outbox), Arc::clone(&self.pending));
            tasks.spawn(
                "events pending",
                stop.clone().run_until_cancelled_owned(looks),
            );
            tasks.spawn("outbox", async move { outbox.run(stopped).await });
        }
    }
}

async fn look(outbox: Arc<Outbox>, pending: Arc<AtomicU64>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        // A journal that does not answer is told elsewhere.
        if let Ok(owing) = outbox.pending().await {
            pending.store(owing, Ordering::Relaxed);
        }
    }
}
