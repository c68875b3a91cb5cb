//! Rules about clusters, and about what is to run on them.

use conclave_core::events::Telling;
use conclave_core::execution::Execution;

use super::super::clusters::{Cluster, Executor};
use super::super::settings::Config;
use super::Rules;
use crate::ray::Address;

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    let clusters = &config.clusters;
    for (at, cluster) in clusters.iter().enumerate() {
        let key = |member: &str| format!("clusters[{at}].{member}");
        let (name, fits) = (&cluster.name, is_cluster_name(&cluster.name));
        rules.check(&key("name"), name, fits, || {
            "must be 1 to 40 small letters, digits and `-`".to_owned()
        });
        let taken = clusters[..at].iter().any(|other| other.name == *name);
        rules.check(&key("name"), name, !taken, || {
            "must be unique, and another cluster has it".to_owned()
        });
        let address = cluster.address.parse::<Address>();
        let of_another =
            |other: &Cluster| address.is_ok() && other.address.parse::<Address>() == address;
        let taken = clusters[..at].iter().any(of_another);
        rules.check(&key("address"), &cluster.address, !taken, || {
            "must not be that of another entry: each would stop what the other starts there"
                .to_owned()
        });
        rules.range(&key("weight"), cluster.weight, 1..=100);
        let connect = cluster.connect_timeout_seconds;
        rules.range(&key("connect_timeout_seconds"), connect, 1..=600);
        rules.range(&key("timeout_seconds"), cluster.timeout_seconds, 1..=3_600);
        executor(&cluster.executor, &key("executor"), rules);
    }
}

fn is_cluster_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=40).contains(&name.len()) && name.bytes().all(plain)
}

fn executor(executor: &Executor, table: &str, rules: &mut Rules<'_>) {
    let key = |member: &str| format!("{table}.{member}");
    rules.range(&key("actors"), executor.actors, 0..=10_000);
    rules.range(&key("slots"), executor.slots, 1..=4_096);
    rules.range(&key("actor_cpus"), executor.actor_cpus, 0.0..=1_024.0);
    rules.range(&key("actor_gpus"), executor.actor_gpus, 0.0..=1_024.0);
    for (name, amount) in &executor.actor_resources {
        rules.range(&key(&format!("actor_resources.{name}")), *amount, 0.0..=1e9);
    }
    rules.not_blank(&key("python"), &executor.python);
    for name in executor.env.keys() {
        let fits = !name.is_empty() && !name.contains(['=', '\0']);
        rules.check(&key("env"), name, fits, || {
            "must be names of variables, without `=`".to_owned()
        });
    }
    rules.range(&key("queue_max"), executor.queue_max, 1..=10_000_000);
    rules.range(&key("tries_max"), executor.tries_max, 1..=100);
    rules.range(&key("ack_wait_seconds"), executor.ack_wait_seconds, 1..=600);
}

/// Whether there is what the chosen executions need.
pub(super) fn check_executions(config: &Config, rules: &mut Rules<'_>) {
    let routed = config.routing.iter().enumerate();
    let routed = routed.filter_map(|(at, rule)| {
        let execution = rule.execution?;
        Some((format!("routing[{at}].execution"), execution))
    });
    let default = ("inference.execution".to_owned(), config.inference.execution);
    let mut executors = config
        .clusters
        .iter()
        .map(|cluster| cluster.executor.actors);
    let has_executor = executors.any(|actors| actors > 0);
    let has_nats = config.events.telling() != Telling::Nothing;
    let has_file = config.events.credentials_file.is_some();
    for (key, execution) in std::iter::once(default).chain(routed) {
        if execution == Execution::Direct {
            continue;
        }
        let shown = execution.as_str();
        rules.check(&key, shown, has_executor && has_nats, || {
            "must be `direct`, or there must be a cluster whose `executor.actors` are not 0, and \
             `events.nats_url`"
                .to_owned()
        });
        rules.check(&key, shown, !has_file, || {
            "must be `direct` with `events.credentials_file`, which executors on a cluster cannot use: \
             give NATS a user and a password, or a token"
                .to_owned()
        });
    }
}
