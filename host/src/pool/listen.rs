//! Hears what executors tell, and answers what they ask.

use std::sync::Arc;

use async_nats::{Message, SubscribeError, Subscriber};
use futures::StreamExt as _;

use super::cluster::Cluster;
use super::counts::count;
use super::names::Told;
use super::waiters::End;
use super::wire::{Ask, Heartbeat};

/// The subscriptions of one cluster.
#[derive(Debug)]
pub(super) struct Listener {
    cluster: Arc<Cluster>,
    told: Subscriber,
    asked: Subscriber,
    beats: Subscriber,
}

impl Listener {
    /// Subscribes; the client does so again whenever it connects.
    pub(super) async fn new(cluster: &Arc<Cluster>) -> Result<Self, SubscribeError> {
        let (client, names) = (&cluster.client, &cluster.names);
        Ok(Self {
            told: client.subscribe(names.told()).await?,
            asked: client.subscribe(names.ask()).await?,
            beats: client.subscribe(names.heartbeat()).await?,
            cluster: Arc::clone(cluster),
        })
    }

    /// Listens until the client is closed.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                Some(message) = self.told.next() => self.told(message),
                Some(message) = self.asked.next() => self.asked(&message).await,
                Some(message) = self.beats.next() => self.beat(&message),
                else => return,
            }
        }
    }

    fn told(&self, message: Message) {
        let cluster = &self.cluster;
        match Told::of(&message.subject) {
            Some(Told::Result(id)) => {
                let ended = cluster.waiters.end(id, End::Result(message.payload));
                count(match ended {
                    true => &cluster.counts.results,
                    false => &cluster.counts.duplicates,
                });
            }
            Some(Told::Progress(id)) if !cluster.waiters.tell(id, message.payload) => {
                count(&cluster.counts.progress_lost);
            }
            Some(Told::Progress(_)) | None => (),
        }
    }

    /// An executor has work that was delivered before, and asks what to do with it.
    async fn asked(&self, message: &Message) {
        let Ok(ask) = serde_json::from_slice::<Ask<'_>>(&message.payload) else {
            tracing::debug!("a question of an executor cannot be read");
            return;
        };
        let (Some(verdict), Some(reply)) =
            (self.cluster.waiters.verdict(&ask.id), message.reply.clone())
        else {
            return;
        };
        count(&self.cluster.counts.redeliveries);
        let answer = verdict.encode().into();
        // Without an answer, the executor asks again.
        if let Err(error) = self.cluster.client.publish(reply, answer).await {
            tracing::debug!(%error, "a question of an executor is not answered");
        }
    }

    fn beat(&self, message: &Message) {
        let Ok(beat) = serde_json::from_slice::<Heartbeat>(&message.payload) else {
            tracing::debug!("a heartbeat cannot be read");
            return;
        };
        let cluster = &self.cluster;
        let (running, placement) = cluster.actors.hear(beat, cluster.names.cluster());
        cluster.waiters.run_at(&running, &placement);
    }
}
