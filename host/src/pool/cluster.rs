//! One cluster as this host sees it: what is waited for, who works, and the streams between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, jetstream};
use conclave_core::inference::Error;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::actors::{ActorView, Actors};
use super::counts::{Counts, count};
use super::host_id::HostId;
use super::names::Names;
use super::outcome::unavailable;
use super::settings::{ClusterSettings, Queue};
use super::store::Store;
use super::waiters::Waiters;
use crate::errand::Errand;

/// How often work that waits for NATS looks for it.
const LOOK: Duration = Duration::from_millis(20);

/// How soon NATS that is away is looked for again; a try waits for it, too.
const AWAY: Duration = Duration::from_secs(1);

/// How soon a full queue may be tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A cluster as it was heard last.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Its name.
    pub cluster: String,
    /// Whether work can be handed to it: NATS is connected, and the streams are there.
    pub ready: bool,
    /// How much work is queued or running in its stream, of all hosts, as of the last second.
    pub depth: u64,
    /// How much may be.
    pub depth_max: u32,
    /// How much of it this host waits for.
    pub waiting: usize,
    /// How much work ends in a second, over the last few.
    pub rate: f64,
    /// For how long nothing was heard of the executors of the queue `pool`.
    pub silent_for: Duration,
    /// Its actors, of all queues.
    pub actors: Vec<ActorView>,
}

impl ClusterView {
    /// How much of the work no actor has started, as far as is known.
    #[must_use]
    pub fn queued(&self) -> u64 {
        let running: usize = self.actors.iter().map(|actor| actor.running.len()).sum();
        self.depth.saturating_sub(running as u64)
    }

    /// How long the work that is there takes, from one second to thirty; `None` while nothing ends.
    #[must_use]
    pub fn time_to_drain(&self) -> Option<Duration> {
        let seconds = self.depth as f64 / self.rate;
        let duration = Duration::try_from_secs_f64(seconds).ok()?;
        Some(duration.clamp(RETRY_MIN, RETRY_MAX))
    }
}

/// The state of one cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) settings: ClusterSettings,
    pub(super) names: Names,
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) waiters: Waiters,
    pub(super) actors: Actors,
    pub(super) counts: Counts,
    /// Whether the streams are there.
    pub(super) streams_ready: AtomicBool,
    /// Told when a stream is missed.
    pub(super) stream_missed: Notify,
    pub(super) depth: AtomicU64,
}

impl Cluster {
    pub(super) fn new(
        settings: ClusterSettings,
        host: &HostId,
        client: &Client,
        jetstream: &jetstream::Context,
    ) -> Arc<Self> {
        Arc::new(Self {
            names: Names::new(&settings.name, host),
            settings,
            client: client.clone(),
            store: Store::new(jetstream.clone()),
            waiters: Waiters::default(),
            actors: Actors::default(),
            counts: Counts::default(),
            streams_ready: AtomicBool::new(false),
            stream_missed: Notify::new(),
            depth: AtomicU64::new(0),
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until work can be handed over, for a while.
    pub(super) async fn ready(&self, patience: Duration, errand: &Errand) -> Result<(), Error> {
        let waited = timeout(patience, self.until_ready()).await;
        waited.map_err(|_| {
            let cluster = self.names.cluster();
            let why = format!("the streams of cluster `{cluster}` cannot be made");
            unavailable(errand, why)
        })
    }

    /// Why an errand goes nowhere without NATS: there is no other way for it, so that it waits.
    pub(super) fn away(errand: &Errand) -> Error {
        Error::NoServer {
            model: errand.request.model.clone(),
            reason: "no NATS server is connected".to_owned(),
            retry_after: Some(AWAY),
        }
    }

    pub(super) async fn until_ready(&self) {
        while !self.is_ready() {
            sleep(LOOK).await;
        }
    }

    /// Whether its streams hold this work, or its result.
    pub(super) async fn holds(&self, id: &str) -> bool {
        self.until_ready().await;
        let queued = self.store.queued(&self.names, id).await;
        if queued.is_ok_and(|queued| queued.is_some()) {
            return true;
        }
        let result = self.store.result(&self.names, id).await;
        result.is_ok_and(|result| result.is_some())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_connected() && self.streams_ready.load(Ordering::Acquire)
    }

    /// The streams were there, and are missed now.
    pub(super) fn miss_streams(&self) {
        self.streams_ready.store(false, Ordering::Release);
        self.stream_missed.notify_one();
    }

    /// Why work of this queue that was started, or was not, is waited for in vain; `None` if it is not.
    pub(super) fn silence(&self, queue: &Queue, started: bool) -> Option<String> {
        let bound = match started {
            true => self.settings.silence_running,
            false => self.settings.silence_queued,
        };
        let silence = self.actors.silence(queue)?;
        (silence > bound).then(|| {
            let (cluster, seconds) = (self.names.cluster(), silence.as_secs());
            format!(
                "nothing was heard of the executors of cluster `{cluster}` (queue `{queue}`) for \
                 {seconds} s"
            )
        })
    }

    /// Ends the wait for work whose executors are silent.
    pub(super) fn lose_silent(&self) {
        let lost = self
            .waiters
            .lose(|queue, started| self.silence(queue, started));
        self.lost(lost);
    }

    pub(super) fn lost(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.counts.lost.fetch_add(number, Ordering::Relaxed);
    }

    /// The queue takes no more.
    pub(super) fn full(&self, errand: &Errand) -> Error {
        let view = self.view();
        let (cluster, most) = (self.names.cluster(), self.settings.depth_max());
        Error::NoServer {
            model: errand.request.model.clone(),
            reason: format!("the queue of cluster `{cluster}` is full: it holds {most}"),
            retry_after: Some(view.time_to_drain().unwrap_or(RETRY_MAX)),
        }
    }

    pub(super) fn found(&self) {
        count(&self.counts.found);
    }

    pub(super) fn view(&self) -> ClusterView {
        ClusterView {
            cluster: self.names.cluster().to_owned(),
            ready: self.is_ready(),
            depth: self.depth.load(Ordering::Relaxed),
            depth_max: self.settings.depth_max(),
            waiting: self.waiters.len(),
            rate: self.actors.rate(),
            silent_for: self.actors.silence(&Queue::pool()).unwrap_or_default(),
            actors: self.actors.view(),
        }
    }
}
