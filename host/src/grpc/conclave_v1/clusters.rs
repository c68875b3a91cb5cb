//! Clusters and models.

use conclave_core::cluster::{Gpu, Node};
use conclave_core::fleet::{
    BreakerState, BreakerStatus, ClusterStatus, JobState, ModelStatus, ReplicaStatus, ServerStatus,
};
use conclave_core::ids::ModelName;
use tonic::{Request, Response, Status};

use super::{ConclaveV1, answered};
use crate::clusters::Clusters;
use crate::grpc::pb::conclave::v1 as pb;
use crate::grpc::pb::conclave::v1::clusters_server;
use crate::grpc::status::Refusal;
use crate::grpc::wire::{duration, int32, int64};
use crate::pool::{ActorView, ClusterView};

const CLUSTERS: &str = "clusters/";
const MODELS: &str = "models/";

#[tonic::async_trait]
impl clusters_server::Clusters for ConclaveV1 {
    async fn list_clusters(
        &self,
        _: Request<pb::ListClustersRequest>,
    ) -> Result<Response<pb::ListClustersResponse>, Status> {
        let clusters = self.clusters().into_iter().collect();
        Ok(Response::new(pb::ListClustersResponse { clusters }))
    }

    async fn list_models(
        &self,
        _: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let models = self.models();
        Ok(Response::new(pb::ListModelsResponse { models }))
    }

    async fn scale_model(
        &self,
        request: Request<pb::ScaleModelRequest>,
    ) -> Result<Response<pb::Model>, Status> {
        answered(self.scale(request.into_inner()).await)
    }

    async fn drain_cluster(
        &self,
        request: Request<pb::DrainClusterRequest>,
    ) -> Result<Response<pb::Cluster>, Status> {
        let name = request.into_inner().name;
        answered(self.steer_cluster(name, true).await)
    }

    async fn resume_cluster(
        &self,
        request: Request<pb::ResumeClusterRequest>,
    ) -> Result<Response<pb::Cluster>, Status> {
        let name = request.into_inner().name;
        answered(self.steer_cluster(name, false).await)
    }
}

impl ConclaveV1 {
    fn clusters(&self) -> Vec<pb::Cluster> {
        let host = &self.host.clusters;
        let queues = host.pool().map_or_else(Vec::new, |pool| pool.view());
        let mut clusters = host.fleet().status().clusters;
        clusters.sort_by(|left, right| left.name.cmp(&right.name));
        let told = clusters.iter().map(|one| {
            let queue = queues.iter().find(|queue| queue.cluster == one.name);
            cluster(one, queue, host)
        });
        told.collect()
    }

    fn models(&self) -> Vec<pb::Model> {
        let host = &self.host.clusters;
        let mut models = host.fleet().status().models;
        models.sort_by(|left, right| left.name.cmp(&right.name));
        models
            .iter()
            .map(|one| model(one, host.replicas(&one.name).unwrap_or_default()))
            .collect()
    }

    async fn scale(&self, request: pb::ScaleModelRequest) -> Result<pb::Model, Refusal> {
        let name = named(&request.name, MODELS)?;
        let model = ModelName::new(name);
        // That the host starts none of it is told by whoever would.
        let most = self.host.clusters.replicas(&model);
        let most = most.map_or(u32::MAX, |(_, most)| most);
        let replicas = match request.replicas {
            None => None,
            Some(replicas) => {
                let wished = u32::try_from(replicas).ok();
                let wished = wished.filter(|wished| *wished == 0 || *wished <= most);
                Some(wished.ok_or_else(|| {
                    let rule = format!("is {replicas}, it must be 0 to {most} (`replicas_max`)");
                    Refusal::field("replicas", rule)
                })?)
            }
        };
        let fleet = self.host.clusters.fleet().clone();
        let steered = model.clone();
        self.whole(async move {
            match replicas {
                None => fleet.up(&steered).await,
                Some(replicas) => fleet.scale(&steered, replicas).await,
            }
            .map_err(Refusal::from)
        })
        .await?;
        let name = format!("{MODELS}{model}");
        let found = self.models().into_iter().find(|one| one.name == name);
        Ok(found.unwrap_or_default())
    }

    async fn steer_cluster(&self, name: String, drain: bool) -> Result<pb::Cluster, Refusal> {
        let cluster = named(&name, CLUSTERS)?.to_owned();
        let fleet = self.host.clusters.fleet().clone();
        self.whole(async move {
            match drain {
                true => fleet.drain(&cluster).await,
                false => fleet.undrain(&cluster).await,
            }
            .map_err(Refusal::from)
        })
        .await?;
        let found = self.clusters().into_iter().find(|one| one.name == name);
        Ok(found.unwrap_or_default())
    }
}

/// What stands behind the collection's name.
fn named<'a>(name: &'a str, collection: &str) -> Result<&'a str, Refusal> {
    let id = name.strip_prefix(collection).filter(|id| !id.is_empty());
    id.ok_or_else(|| {
        let rule = format!("is `{name}`, it must be `{collection}…`");
        Refusal::field("name", rule)
    })
}

fn cluster(one: &ClusterStatus, queue: Option<&ClusterView>, host: &Clusters) -> pb::Cluster {
    let executor = one.executor.as_ref();
    pb::Cluster {
        name: format!("{CLUSTERS}{}", one.name),
        address: host.address(&one.name).to_owned(),
        breaker: breaker(&one.breaker).into(),
        error: one.last_error.clone().unwrap_or_default(),
        drained: one.wish.is_some(),
        weight: int32(one.weight),
        labels: one.labels.clone().into_iter().collect(),
        nodes: host.nodes().of(&one.name).iter().map(node).collect(),
        actors: queue.map_or_else(Vec::new, |queue| queue.actors.iter().map(actor).collect()),
        queued: queue.map_or(0, |queue| int64(queue.queued())),
        in_flight: int64(one.outstanding as u64),
        executor_submission_id: executor
            .and_then(|job| job.submission_id.clone())
            .unwrap_or_default(),
        executor_state: executor.map_or_else(String::new, |job| job.state.as_str().to_owned()),
        executor_error: executor
            .and_then(|job| job.last_error.clone())
            .unwrap_or_default(),
    }
}

fn node(one: &Node) -> pb::Node {
    pb::Node {
        id: one.id.clone(),
        ip: one.ip.clone(),
        alive: one.alive,
        cpus: one.cpus.total,
        cpus_free: one.cpus.free,
        gpus: one.gpus.total,
        gpus_free: one.gpus.free,
        devices: one.devices.iter().map(gpu).collect(),
    }
}

fn gpu(one: &Gpu) -> pb::Gpu {
    pb::Gpu {
        index: int32(one.index),
        model: one.name.clone(),
        utilization_percent: one.utilization_percent,
        memory_used_bytes: int64(one.memory_used_bytes.unwrap_or_default()),
        memory_total_bytes: int64(one.memory_total_bytes.unwrap_or_default()),
    }
}

fn actor(one: &ActorView) -> pb::Actor {
    pb::Actor {
        id: one.actor.clone(),
        node: one.node.clone(),
        submission_id: one.submission_id.clone(),
        slots: int32(one.slots),
        running: i32::try_from(one.running.len()).unwrap_or(i32::MAX),
        age: Some(duration(one.age)),
    }
}

fn model(one: &ModelStatus, (least, most): (u32, u32)) -> pb::Model {
    let own = one.replicas.iter().map(replica);
    let by_hand = one.endpoints.iter().zip(one.replicas.len()..);
    let by_hand = by_hand.map(|(server, index)| by_hand_replica(server, index));
    pb::Model {
        name: format!("{MODELS}{}", one.name),
        replicas_wanted: int32(one.wanted),
        replicas_min: int32(least),
        replicas_max: int32(most),
        replicas: own.chain(by_hand).collect(),
        waiting: int64(one.queued as u64),
    }
}

fn replica(one: &ReplicaStatus) -> pb::Replica {
    use pb::replica::State;
    let server = one.server.as_ref();
    let state = match one.job.state {
        JobState::Waiting if one.job.failures > 0 => State::Failed,
        JobState::Unplaced | JobState::Waiting | JobState::Pending => State::Pending,
        JobState::Running => State::Starting,
        JobState::Healthy => match server.is_none_or(|server| server.is_healthy) {
            true => State::Healthy,
            false => State::Unhealthy,
        },
        JobState::Draining | JobState::Stopping | JobState::Stopped => State::Draining,
    };
    pb::Replica {
        index: int32(one.replica),
        cluster: one.cluster.clone().unwrap_or_default(),
        submission_id: one.job.submission_id.clone().unwrap_or_default(),
        state: state.into(),
        starts: int32(one.job.incarnation),
        error: one.job.last_error.clone().unwrap_or_default(),
        ..server.map_or_else(pb::Replica::default, of_server)
    }
}

fn by_hand_replica(server: &ServerStatus, index: usize) -> pb::Replica {
    use pb::replica::State;
    let state = match server.is_healthy {
        true => State::Healthy,
        false => State::Unhealthy,
    };
    pb::Replica {
        index: i32::try_from(index).unwrap_or(i32::MAX),
        state: state.into(),
        error: server.last_error.clone().unwrap_or_default(),
        ..of_server(server)
    }
}

fn of_server(server: &ServerStatus) -> pb::Replica {
    pb::Replica {
        endpoint: server.endpoint.to_string(),
        breaker: breaker(&server.breaker).into(),
        in_flight: i32::try_from(server.outstanding).unwrap_or(i32::MAX),
        outstanding_tokens: int64(server.outstanding_tokens),
        ..pb::Replica::default()
    }
}

fn breaker(status: &BreakerStatus) -> pb::Breaker {
    match status.state {
        BreakerState::Closed => pb::Breaker::Closed,
        BreakerState::Open => pb::Breaker::Open,
        BreakerState::HalfOpen => pb::Breaker::HalfOpen,
    }
}
