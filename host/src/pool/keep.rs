//! Keeps a cluster's streams, finds results whose messages were missed, and notices silence.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::counts::count;
use super::settings::Queue;
use super::streams;
use super::waiters::End;

/// How often it is looked after everything; and how often for NATS while it is not there.
const TICK: Duration = Duration::from_secs(1);
const TICK_AWAY: Duration = Duration::from_millis(50);

/// How often the result of work that no executor says it runs is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How much is looked for in one round, and how much of it at a time.
const LOOKS_MAX: usize = 64;
const LOOKS_AT_ONCE: usize = 32;

/// Looks after one cluster.
#[derive(Debug)]
pub(super) struct Keeper {
    cluster: Arc<Cluster>,
    /// How often the client had connected when the streams were last seen.
    connects: Option<u64>,
    /// What was told last of why there are no streams, so that it is told once.
    problem: Option<String>,
}

impl Keeper {
    pub(super) fn new(cluster: &Arc<Cluster>) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            connects: None,
            problem: None,
        }
    }

    /// Looks after it for ever.
    pub(super) async fn run(mut self) {
        let cluster = Arc::clone(&self.cluster);
        loop {
            self.look().await;
            let pause = match cluster.is_connected() {
                true => TICK,
                false => TICK_AWAY,
            };
            tokio::select! {
                () = cluster.stream_missed.notified() => (),
                () = sleep(pause) => (),
            }
        }
    }

    async fn look(&mut self) {
        let cluster = Arc::clone(&self.cluster);
        cluster.actors.forget_gone();
        if cluster.is_connected() {
            let missed = self.reconnect().await;
            if cluster.is_ready() {
                if let Ok(depth) = cluster.store.depth(&cluster.names).await {
                    cluster.depth.store(depth, Ordering::Relaxed);
                }
                self.find_missed(missed).await;
            }
        } else {
            // Nobody can be heard: that says nothing of the executors.
            cluster.actors.listen();
        }
        cluster.lose_silent();
    }

    /// Sees to the streams on a new connection, and whenever one is missed; whether messages may have been
    /// missed.
    async fn reconnect(&mut self) -> bool {
        let cluster = &self.cluster;
        let connects = cluster.client.statistics().connects.load(Ordering::Relaxed);
        let is_new = self.connects != Some(connects);
        if !is_new && cluster.streams_ready.load(Ordering::Acquire) {
            return false;
        }
        if is_new {
            cluster.actors.listen();
        }
        let (jetstream, names) = (cluster.store.jetstream(), &cluster.names);
        match streams::ensure(jetstream, names, &cluster.settings).await {
            Ok(()) => {
                cluster.streams_ready.store(true, Ordering::Release);
                self.connects = Some(connects);
                self.problem = None;
            }
            Err(error) => {
                cluster.streams_ready.store(false, Ordering::Release);
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    let cluster = names.cluster();
                    tracing::warn!(
                        cluster,
                        error = problem,
                        "a cluster's streams cannot be made"
                    );
                    self.problem = Some(problem);
                }
            }
        }
        is_new
    }

    /// Looks for results in their stream: of all work that is waited for when messages were missed, else of
    /// what was not looked for in a while.
    async fn find_missed(&self, missed: bool) {
        let cluster = &self.cluster;
        let due = match missed {
            true => {
                let (every, nothing) = (Duration::ZERO, HashSet::new());
                cluster.waiters.due(every, &nothing, usize::MAX)
            }
            false => {
                let running = cluster.actors.running();
                cluster.waiters.due(LOOK_EVERY, &running, LOOKS_MAX)
            }
        };
        let looks = due
            .into_iter()
            .map(|(id, queue)| async move { self.find(&id, &queue).await });
        let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
        while looks.next().await.is_some() {}
    }

    /// Looks for the result of one work, and whether the queue still has it. NATS that does not answer is
    /// asked again later.
    async fn find(&self, id: &str, queue: &Queue) {
        let (cluster, names) = (&self.cluster, &self.cluster.names);
        let Ok(queued) = cluster.store.queued(names, id).await else {
            return;
        };
        // Only now: work has its result in the stream before it leaves the queue.
        match cluster.store.result(names, id).await {
            Ok(Some(result)) => {
                if cluster.waiters.end(id, End::Result(result)) {
                    cluster.found();
                    count(&cluster.counts.results);
                }
            }
            Ok(None) if queued.is_none() => {
                let cluster_name = names.cluster();
                let reason =
                    format!("queue `{queue}` of cluster `{cluster_name}` has lost the work");
                if cluster.waiters.end(id, End::Lost(reason)) {
                    cluster.lost(1);
                }
            }
            Ok(None) | Err(_) => (),
        }
    }
}
