//! The fleet over fakes of its ports, on paused time.

mod breaker;
mod clusters;
mod executors;
mod jobs;
mod leases;
mod lost;
mod polls;
mod replace;
mod room;
mod scaling;
mod strays;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ids::DeliberationId;
use crate::inference;
use crate::priority::Priority;
use crate::slots::Rank;
use crate::testkit::cluster::ScriptedCluster;
use crate::testkit::probe::{MemoryWishBook, ScriptedProbe};

const SECOND: Duration = Duration::from_secs(1);

/// A fleet and its fakes.
struct World {
    fleet: Arc<Fleet>,
    probe: Arc<ScriptedProbe>,
    book: Arc<MemoryWishBook>,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What a world is made of.
#[derive(Default)]
struct Parts {
    clusters: Vec<(ClusterPlan, Arc<ScriptedCluster>)>,
    models: Vec<ModelPlan>,
    probe: Arc<ScriptedProbe>,
    wishes: Wishes,
    settings: FleetSettings,
}

impl World {
    fn new(parts: Parts) -> Self {
        let book = Arc::new(MemoryWishBook::default());
        let ports = FleetPorts {
            probe: Arc::clone(&parts.probe) as Arc<dyn Probe>,
            wish_book: Arc::clone(&book) as Arc<dyn WishBook>,
            clock: Clock::system(),
        };
        let plans = parts.clusters.into_iter();
        let plans = plans.map(|(plan, fake)| (plan, fake as Arc<dyn Cluster>));
        let fleet = Fleet::new(
            plans.collect(),
            parts.models,
            ports,
            parts.wishes,
            parts.settings,
        );
        let world = Self {
            fleet,
            probe: parts.probe,
            book,
            tasks: Tasks::default(),
            stop: CancellationToken::new(),
        };
        world.fleet.start(&world.tasks, &world.stop);
        world
    }

    /// One model, of these endpoints that somebody else runs, each with one slot.
    fn of_endpoints(endpoints: &[&str]) -> Self {
        Self::new(Parts {
            models: vec![ModelPlan {
                endpoints: endpoints.iter().map(|text| endpoint(text)).collect(),
                ..model("m")
            }],
            ..Parts::default()
        })
    }

    /// One model of one replica at least, on these clusters.
    fn of_jobs(clusters: Vec<Arc<ScriptedCluster>>) -> Self {
        Self::new(Parts {
            clusters: named(clusters),
            models: vec![served("m", 1..=3)],
            ..Parts::default()
        })
    }

    /// Waits until the status is as wanted, for a day at most.
    async fn until(&self, wanted: impl Fn(&FleetStatus) -> bool) -> FleetStatus {
        for _ in 0..864_000 {
            let status = self.fleet.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it never came to that: {:#?}", self.fleet.status());
    }

    /// Waits until so many replicas of the first model are healthy.
    async fn until_healthy(&self, count: usize) -> FleetStatus {
        self.until(|status| healthy(status) == count).await
    }

    async fn lease_of(&self, deliberation: &str, tokens: u32) -> Result<Lease, NoServer> {
        let (model, affinity) = (ModelName::new("m"), DeliberationId::new(deliberation));
        let want = want(&model, &affinity, tokens);
        self.fleet.lease(&want).await
    }

    async fn lease(&self) -> Result<Lease, NoServer> {
        self.lease_of("deliberation-1", 100).await
    }

    /// A lease that must be there at once.
    fn lease_now(&self) -> Lease {
        let lease = self.lease().now_or_never().expect("nobody waits");
        lease.expect("there is a server")
    }

    /// Somebody who has asked for a lease and waits.
    fn asking(&self, deliberation: u32, own: Option<u8>) -> Asking {
        let fleet = Arc::clone(&self.fleet);
        let rank = Rank {
            deliberation: Priority::new(deliberation).unwrap(),
            own,
        };
        let mut asking: Asking = async move {
            let (model, affinity) = (ModelName::new("m"), DeliberationId::new("deliberation-1"));
            let want = Want {
                rank,
                ..want(&model, &affinity, 100)
            };
            fleet.lease(&want).await
        }
        .boxed();
        assert!((&mut asking).now_or_never().is_none(), "nothing is free");
        asking
    }

    async fn ended(self) {
        self.stop.cancel();
        assert!(
            self.tasks.drained(SECOND).await,
            "tasks heed the wish to stop"
        );
    }
}

type Asking = BoxFuture<'static, Result<Lease, NoServer>>;

fn want<'a>(model: &'a ModelName, affinity: &'a DeliberationId, tokens: u32) -> Want<'a> {
    Want {
        model,
        endpoint: None,
        affinity,
        tokens,
        rank: Rank::default(),
        except: &[],
    }
}

fn healthy(status: &FleetStatus) -> usize {
    let replicas = status.models[0].replicas.iter();
    let healthy = replicas.filter(|replica| replica.job.state == JobState::Healthy);
    healthy.count()
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

/// A model without servers.
pub(super) fn model(name: &str) -> ModelPlan {
    ModelPlan {
        name: ModelName::new(name),
        clusters: Vec::new(),
        job: None,
        endpoints: Vec::new(),
        replaces: Vec::new(),
        replicas: 0..=0,
        slots: 1,
        queue_max: 100,
        choices_max: 4,
        takes_priority: true,
        start_timeout: 60 * SECOND,
        warm_up: false,
        scale_up_after: 5 * SECOND,
        scale_down_after: 60 * SECOND,
        drain_timeout: 30 * SECOND,
    }
}

/// A model that jobs serve.
fn served(name: &str, replicas: std::ops::RangeInclusive<u32>) -> ModelPlan {
    ModelPlan {
        job: Some(ModelJob {
            entrypoint: "serve --port {port}".to_owned(),
            host: "0.0.0.0".to_owned(),
            endpoint: "http://{node}:{port}".to_owned(),
            port: 8000,
            ..ModelJob::default()
        }),
        replicas,
        ..model(name)
    }
}

/// The clusters a, b, c and so on.
fn named(fakes: Vec<Arc<ScriptedCluster>>) -> Vec<(ClusterPlan, Arc<ScriptedCluster>)> {
    let names = ["a", "b", "c"].map(str::to_owned);
    let plan = |name| ClusterPlan {
        name,
        weight: 1,
        labels: BTreeMap::new(),
        has_executor: false,
        executor: None,
    };
    names.map(plan).into_iter().zip(fakes).collect()
}

fn steady(node_ip: &str) -> Arc<ScriptedCluster> {
    Arc::new(ScriptedCluster::steady(node_ip))
}

fn unavailable(lease: &Lease) -> inference::Error {
    inference::Error::Unavailable {
        endpoint: lease.endpoint.clone(),
        retry_after: None,
        source: "connection reset".into(),
    }
}

/// Lets everything that can go on do so, without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
