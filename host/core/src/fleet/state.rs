//! What the fleet knows, behind one lock that is held for short, synchronous sections only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster;
use crate::ids::ModelName;

use super::breaker::Breaker;
use super::managed::Managed;
use super::plan::{ClusterPlan, FleetSettings, ModelPlan};
use super::queue::{Queue, Via};
use super::replace::Beside;
use super::server::{ByHand, Server, ServerId};
use super::strays::Strays;
use super::template::Template;
use super::wishes::{ClusterWish, Wishes};

#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) plan: ClusterPlan,
    pub(super) breaker: Breaker,
    pub(super) wish: Option<ClusterWish>,
    /// What it told last.
    pub(super) jobs: Vec<cluster::Job>,
    pub(super) polled_at: Option<Instant>,
    pub(super) last_error: Option<String>,
    pub(super) executor: Option<Managed>,
    /// Jobs of the fleet that it does not keep.
    pub(super) strays: Strays,
    /// Generations on their way through its executor, and their tokens.
    pub(super) pool: usize,
    pub(super) pool_tokens: u64,
    /// Those of them that go to servers that are not on the cluster.
    pub(super) away: usize,
    pub(super) away_tokens: u64,
}

impl ClusterState {
    pub(super) fn weight(&self) -> f64 {
        f64::from(self.plan.weight.max(1))
    }

    /// Whether an executor there takes work.
    pub(super) fn has_working_executor(&self) -> bool {
        let executes = match &self.executor {
            None => self.plan.has_executor,
            Some(job) => job.is_healthy() && !job.is_leaving(),
        };
        executes && self.wish.is_none()
    }

    /// Whether an executor there may send what is to go this way.
    pub(super) fn may_send(&self, via: &Via) -> bool {
        let executes = match via.own_job {
            true => self.plan.has_executor && self.wish.is_none(),
            false => self.has_working_executor(),
        };
        executes && !via.excluding.contains(&self.plan.name)
    }

    /// Whether an executor there takes work soon, if not now.
    pub(super) fn awaits_executor(&self) -> bool {
        let job = self.executor.as_ref();
        self.wish.is_none() && job.is_some_and(Managed::is_hopeful)
    }
}

/// A replica of a model.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) number: u32,
    /// The cluster that runs it, by place; `None` until one is chosen.
    pub(super) home: Option<usize>,
    pub(super) job: Managed,
    pub(super) server: Option<ServerId>,
}

#[derive(Debug)]
pub(super) struct ModelState {
    pub(super) plan: Arc<ModelPlan>,
    /// The clusters that may serve it, by place.
    pub(super) clusters: Vec<usize>,
    pub(super) replicas: Vec<Replica>,
    pub(super) queue: Queue,
    /// How many replicas there shall be.
    pub(super) wanted: u32,
    /// What an operator wants instead.
    pub(super) pinned: Option<u32>,
    /// The replica that is being replaced, by number.
    pub(super) replacing: Option<u32>,
    pub(super) beside: Beside,
    /// Since when one replica less would be enough.
    pub(super) spare_since: Option<Instant>,
    pub(super) scaled_at: Instant,
    /// How long a generation takes of late, in seconds.
    pub(super) service_secs: Option<f64>,
}

impl ModelState {
    /// How many replicas there shall be, by whoever decides.
    pub(super) fn target(&self) -> u32 {
        match (&self.plan.job, self.pinned) {
            (None, _) => 0,
            (Some(_), Some(pinned)) => pinned,
            (Some(_), None) => self.wanted,
        }
    }

    /// The job that a replica is.
    pub(super) fn template(&self, replica: u32) -> Option<Template> {
        let job = self.plan.job.as_ref()?;
        Some(Template::model(&self.plan, job, replica))
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: FleetSettings,
    pub(super) clusters: Vec<ClusterState>,
    pub(super) models: Vec<ModelState>,
    pub(super) servers: BTreeMap<ServerId, Server>,
    /// Endpoints that only requests named.
    pub(super) by_hand: BTreeMap<ByHand, ServerId>,
    pub(super) servers_made: ServerId,
}

impl State {
    pub(super) fn new(
        clusters: Vec<ClusterPlan>,
        models: Vec<ModelPlan>,
        settings: FleetSettings,
        wishes: &Wishes,
        now: Instant,
    ) -> Self {
        let clusters: Vec<_> = clusters
            .into_iter()
            .map(|plan| ClusterState {
                breaker: Breaker::new(
                    format!("cluster {}", plan.name),
                    &settings.breaker,
                    settings.seed,
                ),
                wish: wishes.clusters.get(&plan.name).copied(),
                jobs: Vec::new(),
                polled_at: None,
                last_error: None,
                executor: plan.executor.as_ref().map(|job| {
                    let template = Template::executor(&plan.name, job);
                    Managed::new(template.owned_by(&settings.owner), &settings, now)
                }),
                strays: Strays::default(),
                pool: 0,
                pool_tokens: 0,
                away: 0,
                away_tokens: 0,
                plan,
            })
            .collect();
        let mut state = Self {
            clusters,
            models: Vec::new(),
            servers: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            servers_made: 0,
            settings,
        };
        for plan in models {
            state.add_model(plan, wishes, now);
        }
        state
    }

    fn add_model(&mut self, plan: ModelPlan, wishes: &Wishes, now: Instant) {
        let serves = |name: &String| plan.clusters.is_empty() || plan.clusters.contains(name);
        let names = self.clusters.iter().map(|cluster| &cluster.plan.name);
        let clusters = names.enumerate().filter(|(_, name)| serves(name));
        let clusters = clusters.map(|(place, _)| place).collect();
        let plan = Arc::new(plan);
        self.models.push(ModelState {
            clusters,
            replicas: Vec::new(),
            queue: Queue::default(),
            wanted: *plan.replicas.start(),
            pinned: wishes.replicas.get(&plan.name).copied(),
            replacing: None,
            beside: Beside::Nothing,
            spare_since: None,
            scaled_at: now,
            service_secs: None,
            plan: Arc::clone(&plan),
        });
        let place = self.models.len() - 1;
        let distinct: BTreeSet<_> = plan.endpoints.iter().cloned().collect();
        for endpoint in distinct {
            // It serves until probes say otherwise: a host that starts makes nobody wait.
            let mut server = self.server_of(place, endpoint);
            server.ready = true;
            self.add_server(server);
        }
        self.adjust_replicas(place, now);
    }

    /// Makes as many replicas as there shall be, and tells those that are too many.
    pub(super) fn adjust_replicas(&mut self, model: usize, now: Instant) {
        let settings = &self.settings;
        let model = &mut self.models[model];
        let target = model.target();
        for number in 0..target {
            if model.replicas.iter().all(|one| one.number != number)
                && let Some(template) = model.template(number)
            {
                model.replicas.push(Replica {
                    number,
                    home: None,
                    job: Managed::new(template.owned_by(&settings.owner), settings, now),
                    server: None,
                });
            }
        }
        for replica in &mut model.replicas {
            let down = replica
                .home
                .is_some_and(|home| self.clusters[home].wish == Some(ClusterWish::Down));
            replica.job.wanted = replica.number < target && !down;
        }
    }

    pub(super) fn model_named(&self, name: &ModelName) -> Option<usize> {
        self.models
            .iter()
            .position(|model| model.plan.name == *name)
    }

    pub(super) fn cluster_named(&self, name: &str) -> Option<usize> {
        let mut clusters = self.clusters.iter();
        clusters.position(|cluster| cluster.plan.name == name)
    }
}
