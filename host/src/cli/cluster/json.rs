//! What the commands about clusters print with `--json`: the field names of the .proto file.

use serde_json::{Value, json};

use crate::cli::json::compact;
use crate::cli::pb;

pub(super) fn cluster(one: &pb::Cluster) -> Value {
    compact(json!({
        "name": one.name,
        "address": one.address,
        "breaker": one.breaker().as_str_name(),
        "error": one.error,
        "drained": one.drained,
        "weight": one.weight,
        "labels": one.labels,
        "nodes": one.nodes.iter().map(node).collect::<Vec<_>>(),
        "actors": one.actors.iter().map(actor).collect::<Vec<_>>(),
        "queued": one.queued,
        "in_flight": one.in_flight,
        "executor_submission_id": one.executor_submission_id,
        "executor_state": one.executor_state,
        "executor_error": one.executor_error,
    }))
}

fn node(one: &pb::Node) -> Value {
    let device = |gpu: &pb::Gpu| {
        compact(json!({
            "index": gpu.index,
            "model": gpu.model,
            "utilization_percent": gpu.utilization_percent,
            "memory_used_bytes": gpu.memory_used_bytes,
            "memory_total_bytes": gpu.memory_total_bytes,
        }))
    };
    compact(json!({
        "id": one.id,
        "ip": one.ip,
        "alive": one.alive,
        "cpus": one.cpus,
        "cpus_free": one.cpus_free,
        "gpus": one.gpus,
        "gpus_free": one.gpus_free,
        "devices": one.devices.iter().map(device).collect::<Vec<_>>(),
    }))
}

fn actor(one: &pb::Actor) -> Value {
    compact(json!({
        "id": one.id,
        "node": one.node,
        "submission_id": one.submission_id,
        "slots": one.slots,
        "running": one.running,
        "age": one.age.map(|age| age.to_string()),
    }))
}

pub(super) fn model(one: &pb::Model) -> Value {
    let replica = |replica: &pb::Replica| {
        compact(json!({
            "index": replica.index,
            "endpoint": replica.endpoint,
            "cluster": replica.cluster,
            "submission_id": replica.submission_id,
            "state": replica.state().as_str_name(),
            "breaker": replica.breaker().as_str_name(),
            "in_flight": replica.in_flight,
            "outstanding_tokens": replica.outstanding_tokens,
            "starts": replica.starts,
            "error": replica.error,
        }))
    };
    compact(json!({
        "name": one.name,
        "replicas_wanted": one.replicas_wanted,
        "replicas_min": one.replicas_min,
        "replicas_max": one.replicas_max,
        "replicas": one.replicas.iter().map(replica).collect::<Vec<_>>(),
        "waiting": one.waiting,
    }))
}
