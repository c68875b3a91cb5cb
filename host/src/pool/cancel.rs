//! Cancels work that nobody waits for any more: tells executors, and takes it out of its queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::counts::count;
use super::settings::Queue;
use super::wire::{Cancel, VERSION};

/// Orders that wait to be carried out, as long as NATS is quick.
const ORDERS_MAX: usize = 65_536;

/// How many are told together: their ids are one message.
const BATCH_MAX: usize = 256;

/// How much is taken out of queues at a time.
const REMOVALS_AT_ONCE: usize = 64;

/// When what failed is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Work that shall end.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) cluster: Arc<Cluster>,
    pub(super) id: String,
    pub(super) queue: Queue,
    /// Its place in the stream, where that is known.
    pub(super) sequence: Option<u64>,
    /// When it ends by itself.
    pub(super) until: Instant,
}

/// Takes orders from wherever a wait is dropped.
#[derive(Clone, Debug)]
pub(super) struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// Where they are taken, and where they are carried out.
    pub(super) fn new() -> (Self, Canceller) {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let canceller = Canceller {
            orders,
            told: VecDeque::new(),
            removals: FuturesUnordered::new(),
            failed: Vec::new(),
        };
        (Self(sender), canceller)
    }

    /// Takes one, at once.
    pub(super) fn cancel(&self, order: Order) {
        if let Err(error) = self.0.try_send(order) {
            let order = error.into_inner();
            order.lost("too much is cancelled at once");
        }
    }
}

impl Order {
    fn lost(&self, why: &str) {
        count(&self.cluster.counts.cancels_lost);
        let (cluster, work) = (self.cluster.names.cluster(), &self.id);
        tracing::warn!(
            cluster,
            work,
            why,
            "work is not cancelled: it runs for nothing"
        );
    }
}

/// Carries orders out.
#[derive(Debug)]
pub(super) struct Canceller {
    orders: mpsc::Receiver<Order>,
    /// What executors were told, and is to be taken out of its queue.
    told: VecDeque<Order>,
    /// What is being taken out.
    removals: FuturesUnordered<BoxFuture<'static, Removed>>,
    /// What is tried again.
    failed: Vec<Order>,
}

/// Work that was taken out of its queue, or could not be.
#[derive(Debug)]
struct Removed {
    order: Order,
    is_done: bool,
}

impl Canceller {
    /// Carries orders out until it shall stop: those that came before are carried out.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        // On its own clock: what else there is to do must not put it off.
        let mut retries = interval(RETRY_EVERY);
        retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_out();
            tokio::select! {
                biased;
                _ = retries.tick(), if !self.failed.is_empty() => {
                    batch.append(&mut self.failed);
                }
                number = self.orders.recv_many(&mut batch, BATCH_MAX) => if number == 0 {
                    return;
                },
                Some(removed) = self.removals.next() => self.removed(removed),
                () = stop.cancelled() => return self.finish().await,
            }
            self.tell(std::mem::take(&mut batch)).await;
        }
    }

    async fn finish(mut self) {
        let mut batch = std::mem::take(&mut self.failed);
        while let Ok(order) = self.orders.try_recv() {
            batch.push(order);
        }
        self.tell(batch).await;
        loop {
            self.take_out();
            let Some(removed) = self.removals.next().await else {
                break;
            };
            self.removed(removed);
        }
        for order in &self.failed {
            order.lost("NATS was not there before the host ended");
        }
    }

    /// Tells executors: whoever runs it hears of it before anything else happens.
    async fn tell(&mut self, orders: Vec<Order>) {
        let mut clusters: BTreeMap<String, Vec<Order>> = BTreeMap::new();
        for order in orders {
            let cluster = order.cluster.names.cluster().to_owned();
            clusters.entry(cluster).or_default().push(order);
        }
        for orders in clusters.into_values() {
            match tell(&orders).await {
                true => self.told.extend(orders),
                false => orders.into_iter().for_each(|order| self.keep(order)),
            }
        }
    }

    /// Takes out of their queues what executors were told, so much at a time.
    fn take_out(&mut self) {
        while self.removals.len() < REMOVALS_AT_ONCE
            && let Some(order) = self.told.pop_front()
        {
            self.removals.push(Box::pin(order.remove()));
        }
    }

    fn removed(&mut self, removed: Removed) {
        match removed.is_done {
            true => count(&removed.order.cluster.counts.cancelled),
            false => self.keep(removed.order),
        }
    }

    /// Keeps what failed for another try. What its own deadline has ended is not worth one.
    fn keep(&mut self, order: Order) {
        match self.failed.len() < ORDERS_MAX {
            true if order.until <= Instant::now() => (),
            true => self.failed.push(order),
            false => order.lost("NATS was away for too long"),
        }
    }
}

/// Tells the executors of one cluster; whether that was sent.
async fn tell(orders: &[Order]) -> bool {
    let Some(Order { cluster, .. }) = orders.first() else {
        return true;
    };
    if !cluster.is_connected() {
        return false;
    }
    let cancel = Cancel {
        v: VERSION,
        ids: orders.iter().map(|order| &*order.id).collect(),
    };
    let message = serde_json::to_vec(&cancel).expect("a list of texts is JSON");
    let (client, subject) = (&cluster.client, cluster.names.cancel());
    client.publish(subject, message.into()).await.is_ok()
}

impl Order {
    /// Takes the work out of its queue.
    async fn remove(self) -> Removed {
        let names = &self.cluster.names;
        let (stream, subject) = (names.work_stream(), names.work(&self.queue, &self.id));
        let store = &self.cluster.store;
        let removed = store.remove(&stream, &subject, self.sequence).await;
        if let Err(error) = &removed {
            tracing::debug!(%error, work = self.id, "work is not taken out of its queue");
        }
        Removed {
            is_done: removed.is_ok(),
            order: self,
        }
    }
}
