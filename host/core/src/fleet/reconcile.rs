//! What a cluster's jobs mean for the fleet: which it takes over, which it starts, stops and forgets.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::cluster::{Job, JobStatus};

use super::managed::{Action, JobState, Managed};
use super::plan::ClusterPlan;
use super::server::ServerId;
use super::state::State;
use super::template::{Purpose, digest_of, incarnation_of};

/// Jobs that one look at a cluster has forgotten at most: a long list is gone after a few.
const DELETED_AT_ONCE: usize = 8;

/// Which of the fleet's jobs an action is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A replica of a model, by the model's place and the replica's number.
    Replica(usize, u32),
    /// The cluster's executor.
    Executor,
    /// A job that is none of these any more.
    Stray,
}

/// What is to be done after a look at a cluster.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) actions: Vec<(Target, Action)>,
    /// Servers that have come, to be probed.
    pub(super) servers: Vec<ServerId>,
}

impl State {
    /// Takes what a cluster tells of its jobs.
    pub(super) fn reconcile(&mut self, place: usize, jobs: Vec<Job>, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let mut ours: BTreeMap<Purpose, Vec<&Job>> = BTreeMap::new();
        for job in &jobs {
            if let Some(purpose) = Purpose::of(job, &self.settings.owner) {
                ours.entry(purpose).or_default().push(job);
            }
        }
        for (purpose, jobs) in &ours {
            self.take_over(place, purpose, jobs, &mut todo, now);
        }
        self.step_all(place, &ours, &mut todo, now);
        self.forget(place, &ours, &mut todo);
        let cluster = &mut self.clusters[place];
        cluster.polled_at = Some(now);
        cluster.last_error = None;
        cluster.jobs = jobs;
        todo
    }

    /// The job of the fleet that is for a purpose, on this cluster.
    fn target_of(&self, place: usize, purpose: &Purpose) -> Option<Target> {
        match purpose {
            Purpose::Executor { cluster } => {
                let ClusterPlan { name, executor, .. } = &self.clusters[place].plan;
                (name == cluster && executor.is_some()).then_some(Target::Executor)
            }
            Purpose::Model { model, replica } => {
                let model = self.model_named(model)?;
                self.models[model].plan.job.as_ref()?;
                Some(Target::Replica(model, *replica))
            }
        }
    }

    pub(super) fn job_of(&mut self, place: usize, target: Target) -> Option<&mut Managed> {
        match target {
            Target::Stray => None,
            Target::Executor => self.clusters[place].executor.as_mut(),
            Target::Replica(model, number) => {
                let mut replicas = self.models[model].replicas.iter_mut();
                let replica = replicas.find(|one| one.number == number)?;
                (replica.home == Some(place)).then_some(&mut replica.job)
            }
        }
    }

    /// Takes over the best of the jobs that run for a purpose, unless one is taken already, and stops
    /// the others.
    fn take_over(
        &mut self,
        place: usize,
        purpose: &Purpose,
        jobs: &[&Job],
        todo: &mut Todo,
        now: Instant,
    ) {
        let Some(target) = self.target_of(place, purpose) else {
            if self.is_obsolete(purpose) {
                let alive = jobs.iter().copied().filter(|job| !job.status.is_terminal());
                self.stop_obsolete(place, alive, todo, now);
            }
            return;
        };
        let alive = || jobs.iter().copied().filter(|job| !job.status.is_terminal());
        let strays = &self.clusters[place].strays;
        let candidates: Vec<_> = alive()
            .filter(|job| !strays.contains(&job.submission_id))
            .collect();
        if candidates.is_empty() {
            self.stop_strays(place, alive(), todo, now);
            return;
        }
        if let Target::Replica(model, number) = target {
            self.leave_substitute(place, model, number, &candidates, now);
            self.make_room_for(place, model, number, now);
        }
        let keeps = self.job_of(place, target).and_then(|managed| {
            let own = managed.submission_id();
            let mut own = candidates
                .iter()
                .filter(|job| Some(job.submission_id.as_str()) == own);
            if let Some(runs) = own.next() {
                return Some(runs.submission_id.clone());
            }
            let takes = matches!(managed.state, JobState::Unplaced | JobState::Waiting);
            if !takes || !managed.wanted {
                return None;
            }
            let best = candidates.iter().max_by_key(|job| {
                let fits = digest_of(job) == Some(managed.template.digest.as_str());
                (fits, job.status == JobStatus::Running, incarnation_of(job))
            })?;
            managed.adopt(best, now);
            Some(best.submission_id.clone())
        });
        let others = alive().filter(|job| Some(&job.submission_id) != keeps.as_ref());
        self.stop_strays(place, others, todo, now);
    }

    /// Has a replica that was started in an earlier life of the host, as long as it is not too many.
    /// After the first look at a cluster, one that is too many is one that is about to go.
    fn make_room_for(&mut self, place: usize, model: usize, number: u32, now: Instant) {
        let is_first_look = self.clusters[place].polled_at.is_none();
        let state = &mut self.models[model];
        let may_serve = state.clusters.contains(&place);
        let fits = state.pinned.is_none() && number < *state.plan.replicas.end();
        if is_first_look && may_serve && fits {
            state.wanted = state.wanted.max(number + 1);
        }
        self.adjust_replicas(model, now);
        let mut replicas = self.models[model].replicas.iter_mut();
        let replica = replicas.find(|one| one.number == number && one.home.is_none());
        if let Some(replica) = replica
            && may_serve
            && replica.job.wanted
        {
            replica.home = Some(place);
        }
    }

    fn step_all(
        &mut self,
        place: usize,
        ours: &BTreeMap<Purpose, Vec<&Job>>,
        todo: &mut Todo,
        now: Instant,
    ) {
        let by_id: BTreeMap<_, _> = ours
            .values()
            .flatten()
            .map(|job| (job.submission_id.as_str(), *job))
            .collect();
        self.clusters[place]
            .strays
            .retain(|id| by_id.get(id).is_some_and(|job| !job.status.is_terminal()));
        let newest = |purpose: &Purpose| {
            let jobs = ours.get(purpose).into_iter().flatten();
            jobs.map(|job| incarnation_of(job))
                .max()
                .unwrap_or_default()
        };
        let cluster = &mut self.clusters[place];
        let pool = cluster.pool;
        if let Some(executor) = &mut cluster.executor {
            if executor.state == JobState::Unplaced && executor.wanted {
                executor.place(now);
            }
            let newest = newest(&executor.template.purpose);
            let action = executor.step(&by_id, newest, pool, now);
            cluster.strays.follow(executor, action.as_ref(), now);
            todo.actions
                .extend(action.map(|action| (Target::Executor, action)));
        }
        for model in 0..self.models.len() {
            for at in 0..self.models[model].replicas.len() {
                let replica = &mut self.models[model].replicas[at];
                if replica.home != Some(place) {
                    continue;
                }
                let server = replica.server.and_then(|id| self.servers.get(&id));
                let outstanding = server.map_or(0, |server| server.outstanding);
                let newest = newest(&replica.job.template.purpose);
                let action = replica.job.step(&by_id, newest, outstanding, now);
                let strays = &mut self.clusters[place].strays;
                strays.follow(&replica.job, action.as_ref(), now);
                let target = Target::Replica(model, replica.number);
                todo.actions.extend(action.map(|action| (target, action)));
                todo.servers.extend(self.attend_server(model, at));
            }
        }
    }

    /// Has a server for a replica as long as its job runs; the new one.
    fn attend_server(&mut self, model: usize, at: usize) -> Option<ServerId> {
        let replica = &mut self.models[model].replicas[at];
        let job = &mut replica.job;
        match (job.state, replica.server) {
            (JobState::Running | JobState::Healthy, None) => (),
            (JobState::Healthy, Some(id)) => {
                let server = self.servers.get_mut(&id)?;
                server.draining = false;
                return None;
            }
            (JobState::Draining | JobState::Stopping, Some(id)) => {
                let server = self.servers.get_mut(&id)?;
                server.draining = true;
                return None;
            }
            (JobState::Running, Some(_)) => return None,
            (_, gone) => {
                replica.server = None;
                if let Some(id) = gone {
                    self.servers.remove(&id);
                }
                return None;
            }
        }
        let endpoint = match job.template.endpoint(job.node_ip.as_deref())? {
            Ok(endpoint) => endpoint,
            Err(error) => {
                job.probed = Some(format!("its endpoint is none: {error}"));
                return None;
            }
        };
        let (number, home, adopted) = (replica.number, replica.home, job.adopted);
        let placement =
            home.zip(job.submission_id())
                .map(|(home, submission_id)| crate::cluster::Placement {
                    cluster: self.clusters[home].plan.name.clone(),
                    submission_id: submission_id.to_owned(),
                    actor: None,
                    node: job.node_ip.clone(),
                });
        let mut server = self.server_of(model, endpoint);
        server.replica = Some(number);
        server.cluster = home;
        server.placement = placement;
        server.warmed_up = adopted;
        let id = self.add_server(server);
        self.models[model].replicas[at].server = Some(id);
        Some(id)
    }

    /// Has the cluster forget all but the last jobs of a purpose that ended.
    fn forget(&mut self, place: usize, ours: &BTreeMap<Purpose, Vec<&Job>>, todo: &mut Todo) {
        let kept = self.settings.ended_jobs_kept;
        let mut deleted = 0;
        for (purpose, jobs) in ours {
            if self.target_of(place, purpose).is_none() && !self.is_obsolete(purpose) {
                continue;
            }
            let mut ended: Vec<_> = jobs.iter().filter(|job| job.status.is_terminal()).collect();
            ended.sort_by_key(|job| std::cmp::Reverse((incarnation_of(job), job.ended_at_ms)));
            for job in ended.into_iter().skip(kept).take(DELETED_AT_ONCE - deleted) {
                deleted += 1;
                let delete = Action::Delete(job.submission_id.clone());
                todo.actions.push((Target::Stray, delete));
            }
        }
    }
}
