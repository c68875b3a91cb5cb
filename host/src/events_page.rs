//! The page `/events`: what happens in deliberations, as Server-Sent Events, for whoever looks on.
//!
//! It shows the same events as NATS gets, whether there is NATS or not. It keeps nothing, and while
//! nobody listens it costs nothing.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::routing::get;
use axum::{Extension, Router};
use conclave_core::entry::{Accepted, Record};
use conclave_core::events::{self, Event, Telling};
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::Journal;
use conclave_core::observer::Observer;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::access::Caller;

/// Entries that wait to be made into events; those beyond are told as missed.
const WAITING_MAX: usize = 1_024;

/// Events that a listener may fall behind; those before are told as missed.
const BEHIND_MAX: usize = 256;

/// How often a silent stream says that it lives, so that proxies keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a listener sees.
#[derive(Clone, Debug)]
pub enum Shown {
    /// An event.
    Event(Arc<Event>),
    /// That so many were not shown.
    Missed(u64),
}

/// Shows events to those who listen.
#[derive(Debug)]
pub struct Feed {
    shown: broadcast::Sender<Shown>,
    entries: mpsc::Sender<(DeliberationId, Seq)>,
    missed: AtomicU64,
}

/// The feed's other half: makes events of entries.
pub struct Renderer {
    feed: Arc<Feed>,
    entries: mpsc::Receiver<(DeliberationId, Seq)>,
    journal: Arc<dyn Journal>,
}

impl Feed {
    /// A feed of what this journal holds.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> (Arc<Self>, Renderer) {
        let (entries, waiting) = mpsc::channel(WAITING_MAX);
        let feed = Arc::new(Self {
            shown: broadcast::Sender::new(BEHIND_MAX),
            entries,
            missed: AtomicU64::new(0),
        });
        let renderer = Renderer {
            feed: Arc::clone(&feed),
            entries: waiting,
            journal,
        };
        (feed, renderer)
    }

    /// What happens from now on.
    pub fn listen(&self) -> impl Stream<Item = Shown> + use<> {
        stream::unfold(self.shown.subscribe(), async |mut shown| {
            match shown.recv().await {
                Ok(one) => Some((one, shown)),
                Err(RecvError::Lagged(count)) => Some((Shown::Missed(count), shown)),
                Err(RecvError::Closed) => None,
            }
        })
    }

    /// The page, whose streams end with `stop`.
    pub fn page(self: &Arc<Self>, stop: CancellationToken) -> Router {
        Router::new()
            .route("/events", get(page))
            .with_state((Arc::clone(self), stop))
    }
}

impl Observer for Feed {
    fn journaled(&self, accepted: &Accepted, record: &Record) {
        let is_shown = self.shown.receiver_count() > 0 && Telling::Progress.tells(&record.entry);
        if is_shown
            && self
                .entries
                .try_send((accepted.id.clone(), record.seq))
                .is_err()
        {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Renderer {
    /// Shows events until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some((id, seq))) = stop.run_until_cancelled(self.entries.recv()).await {
            let missed = self.feed.missed.swap(0, Ordering::Relaxed);
            if missed > 0 {
                self.show(Shown::Missed(missed));
            }
            if self.feed.shown.receiver_count() > 0 {
                self.render(&id, seq).await;
            }
        }
    }

    /// Shows the events of one entry.
    async fn render(&self, id: &DeliberationId, seq: Seq) {
        let Ok(records) = self.journal.read(id, Seq::START).await else {
            return self.show(Shown::Missed(1));
        };
        let before = Seq(seq.0.saturating_sub(1));
        let events = events::of(&records, before, Telling::Progress);
        for event in events.into_iter().filter(|event| event.seq == seq) {
            self.show(Shown::Event(Arc::new(event)));
        }
    }

    fn show(&self, shown: Shown) {
        // The last listener may have left.
        let _ = self.feed.shown.send(shown);
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").finish_non_exhaustive()
    }
}

/// Shows the caller what is its tenant's.
async fn page(
    State((feed, stop)): State<(Arc<Feed>, CancellationToken)>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = feed.listen().filter_map(move |shown| {
        let is_own = match &shown {
            Shown::Event(event) => event.tenant == caller.tenant,
            Shown::Missed(_) => true,
        };
        std::future::ready(is_own.then(|| Ok(message(&shown))))
    });
    let events = events.take_until(stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn message(shown: &Shown) -> sse::Event {
    match shown {
        Shown::Event(event) => sse::Event::default()
            .event(&event.subject)
            .id(event.key.to_string())
            .data(&event.body),
        Shown::Missed(count) => sse::Event::default()
            .event("missed")
            .data(format!(r#"{{"missed":{count}}}"#)),
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::testkit::journal::{MemoryJournal, every_entry};

    use super::*;

    /// A journal with one deliberation, its records, and a feed of it.
    async fn feed() -> (Arc<Feed>, Renderer, Vec<Arc<Record>>) {
        let journal = MemoryJournal::new();
        let id = DeliberationId::generate();
        let records = every_entry(&id);
        journal.create(&id, &records[0], None).await.unwrap();
        journal.append(&id, Seq(1), &records[1..]).await.unwrap();
        let (feed, renderer) = Feed::new(Arc::new(journal));
        (feed, renderer, records)
    }

    fn show_all(feed: &Feed, records: &[Arc<Record>]) {
        let conclave_core::entry::Entry::Accepted(accepted) = &records[0].entry else {
            unreachable!("it is the first entry");
        };
        for record in records {
            feed.journaled(accepted, record);
        }
    }

    #[tokio::test]
    async fn a_listener_sees_the_events_in_order_and_nothing_is_made_without_one() {
        let (feed, renderer, records) = feed().await;
        show_all(&feed, &records);
        assert_eq!(feed.entries.capacity(), WAITING_MAX, "nobody listens");

        let listener = feed.listen();
        show_all(&feed, &records);
        let stop = CancellationToken::new();
        let stopped = async {
            let seen: Vec<_> = listener.take(4).collect().await;
            stop.cancel();
            seen
        };
        let (seen, ()) = tokio::join!(stopped, renderer.run(stop.clone()));
        let subjects: Vec<_> = seen
            .iter()
            .map(|shown| match shown {
                Shown::Event(event) => event.subject.as_str(),
                Shown::Missed(_) => "missed",
            })
            .collect();
        assert_eq!(
            subjects,
            [
                "ray.deliberation.started",
                "conclave.progress.note",
                "agent.response.completed",
                "orchestration.deliberation.completed"
            ]
        );
    }

    #[tokio::test]
    async fn what_was_not_shown_is_counted() {
        let (feed, mut renderer, records) = feed().await;
        let mut listener = Box::pin(feed.listen());
        feed.missed.store(7, Ordering::Relaxed);
        show_all(&feed, &records[..3]);
        let stop = CancellationToken::new();
        renderer.entries.close();
        renderer.run(stop).await;
        assert!(matches!(listener.next().await, Some(Shown::Missed(7))));
        for _ in 0..BEHIND_MAX + 3 {
            let _ = feed.shown.send(Shown::Missed(1));
        }
        assert!(matches!(listener.next().await, Some(Shown::Missed(count)) if count > 1));
    }
}
