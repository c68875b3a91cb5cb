//! The nodes of all clusters and their GPUs, as they were seen last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::{Cluster, Node};
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Kind, Metrics, Reading};

/// How often clusters are asked: their dashboards look at nodes every few seconds.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// What clusters told of their nodes; what one that does not answer told last is forgotten.
#[derive(Debug, Default)]
pub struct NodesView {
    seen: Mutex<BTreeMap<String, Vec<Node>>>,
}

impl NodesView {
    /// The nodes of a cluster.
    #[must_use]
    pub fn of(&self, cluster: &str) -> Vec<Node> {
        self.lock().get(cluster).cloned().unwrap_or_default()
    }

    /// Keeps looking until the host stops.
    pub(super) fn start(
        self: &Arc<Self>,
        clusters: impl Iterator<Item = (String, Arc<dyn Cluster>)>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) {
        for (name, cluster) in clusters {
            let view = Arc::clone(self);
            let look = async move {
                let mut ticks = tokio::time::interval(ASKED_EVERY);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    view.look(&name, &*cluster).await;
                }
            };
            tasks.spawn("nodes", stop.clone().run_until_cancelled_owned(look));
        }
    }

    async fn look(&self, name: &str, cluster: &dyn Cluster) {
        match cluster.nodes().await {
            Ok(nodes) => {
                self.lock().insert(name.to_owned(), nodes);
            }
            Err(error) => {
                // The fleet tells that the cluster does not answer.
                tracing::debug!(cluster = name, error = %Chain(&error), "nodes cannot be read");
                self.lock().remove(name);
            }
        }
    }

    /// Has it read at each scrape.
    pub(super) fn measure(self: &Arc<Self>, metrics: &Metrics) {
        let view = Arc::clone(self);
        metrics.read(Reading::by(
            "gpu",
            Kind::Gauge,
            "ray_executor_gpu_utilization_percent",
            "How busy each GPU is (cluster/node/index), under the name of the service before",
            move || view.devices(|gpu| gpu.utilization_percent),
        ));
        let view = Arc::clone(self);
        metrics.read(Reading::by(
            "gpu",
            Kind::Gauge,
            "conclave_gpu_memory_used_bytes",
            "Memory of each GPU that is in use (cluster/node/index)",
            move || view.devices(|gpu| gpu.memory_used_bytes.map(|bytes| bytes as f64)),
        ));
        let view = Arc::clone(self);
        metrics.read(Reading::by(
            "cluster",
            Kind::Gauge,
            "conclave_cluster_gpus",
            "GPUs that Ray may give away, by cluster",
            move || view.sums(|node| node.gpus.total),
        ));
        let view = Arc::clone(self);
        metrics.read(Reading::by(
            "cluster",
            Kind::Gauge,
            "conclave_cluster_gpus_free",
            "GPUs that nobody has taken, by cluster",
            move || view.sums(|node| node.gpus.free),
        ));
        let view = Arc::clone(self);
        metrics.read(Reading::by(
            "cluster",
            Kind::Gauge,
            "conclave_cluster_nodes",
            "Nodes that live, by cluster",
            move || view.sums(|_| 1.0),
        ));
    }

    fn devices(
        &self,
        value: impl Fn(&conclave_core::cluster::Gpu) -> Option<f64>,
    ) -> Vec<(String, f64)> {
        let seen = self.lock();
        let nodes = seen
            .iter()
            .flat_map(|(cluster, nodes)| nodes.iter().map(move |node| (cluster, node)));
        nodes
            .filter(|(_, node)| node.alive)
            .flat_map(|(cluster, node)| {
                let named = node.devices.iter().filter_map(|gpu| {
                    let name = format!("{cluster}/{}/{}", node.ip, gpu.index);
                    Some((name, value(gpu)?))
                });
                named.collect::<Vec<_>>()
            })
            .collect()
    }

    fn sums(&self, value: impl Fn(&Node) -> f64) -> Vec<(String, f64)> {
        let seen = self.lock();
        seen.iter()
            .map(|(cluster, nodes)| {
                let alive = nodes.iter().filter(|node| node.alive);
                (cluster.clone(), alive.map(&value).sum())
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Node>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::cluster::{Gpu, Share};

    use super::*;

    #[test]
    fn the_metric_that_dashboards_read_is_described_and_has_no_sample_without_a_gpu() {
        let metrics = Metrics::new();
        Arc::new(NodesView::default()).measure(&metrics);
        let text = metrics.open_metrics();
        assert!(text.contains("# TYPE ray_executor_gpu_utilization_percent gauge"));
        assert!(!text.contains("\nray_executor_gpu_utilization_percent"));
    }

    #[test]
    fn gpus_are_told_by_cluster_node_and_index_where_they_tell_their_use() {
        let view = NodesView::default();
        let gpu = |index, utilization_percent| Gpu {
            index,
            utilization_percent,
            ..Gpu::default()
        };
        let node = Node {
            ip: "10.0.0.7".to_owned(),
            alive: true,
            gpus: Share {
                total: 2.0,
                free: 0.5,
            },
            devices: vec![gpu(0, Some(97.0)), gpu(1, None)],
            ..Node::default()
        };
        let dead = Node {
            alive: false,
            ..node.clone()
        };
        view.lock().insert("a100".to_owned(), vec![node, dead]);
        let used = view.devices(|gpu| gpu.utilization_percent);
        assert_eq!(used, [("a100/10.0.0.7/0".to_owned(), 97.0)]);
        let free = view.sums(|node| node.gpus.free);
        assert_eq!(free, [("a100".to_owned(), 0.5)]);
    }
}
