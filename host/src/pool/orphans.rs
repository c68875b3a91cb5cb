//! Work that a host before has left, and that nobody asks for any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cancel::{Order, Orders};
use super::cluster::Cluster;

/// How often it is looked for while NATS does not answer.
const LOOK: Duration = Duration::from_secs(1);

/// For how long its cancel is tried: it has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Cancels what is queued or running in a cluster, as soon as NATS is there, but for the work of these names
/// and what is waited for already. How much that is.
pub(super) async fn cancel(
    cluster: Arc<Cluster>,
    claimed: Arc<HashSet<String>>,
    orders: Orders,
) -> usize {
    let own = loop {
        cluster.until_ready().await;
        match cluster.store.own(&cluster.names).await {
            Ok(own) => break own,
            Err(error) => {
                tracing::debug!(%error, "NATS does not tell what the last run of the host left");
                sleep(LOOK).await;
            }
        }
    };
    let mut cancelled = 0;
    for (queue, id) in own {
        if claimed.contains(&id) || !cluster.waiters.abandon(&id) {
            continue;
        }
        cancelled += 1;
        orders.cancel(Order {
            cluster: Arc::clone(&cluster),
            id,
            queue,
            sequence: None,
            until: Instant::now() + PATIENCE,
        });
    }
    cancelled
}
