//! Rules about clusters, and about what is to run on them.

use conclave_core::events::Telling;
use conclave_core::execution::Execution;

use super::super::clusters::Cluster;
use super::super::executor::Executor;
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
        let shares = cluster.executor.share_nats_credentials;
        let key = key("executor.share_nats_credentials");
        let own = cluster.executor.has_credentials();
        rules.check(&key, shares, !(shares && own), || {
            "must be `false` where the executor has a user or a token of its own".to_owned()
        });
        let is_file = config.events.credentials_file.is_some();
        rules.check(&key, shares, !(shares && is_file), || {
            "must be `false` with `events.credentials_file`, which executors cannot use: give them \
             `nats_user` and `nats_password_file`, or `nats_token_file`"
                .to_owned()
        });
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
    let finds_needs = !executor.install_needs || !executor.python.contains('/');
    rules.check(&key("python"), &executor.python, finds_needs, || {
        "must have no `/` where `install_needs` is `true`: what Ray installs is for the first `python` in the \
         job's PATH, which Ray sets"
            .to_owned()
    });
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
    }
    if config
        .executions()
        .iter()
        .all(|one| *one == Execution::Direct)
    {
        return;
    }
    let executors = config.clusters.iter().map(|cluster| &cluster.executor);
    for (at, executor) in executors.enumerate().filter(|(_, one)| one.actors > 0) {
        nats_of(executor, at, config, rules);
    }
    let tls_ca_file = config.events.tls_ca_file.as_ref();
    // One that cannot be read is told elsewhere.
    if let Some((path, file)) = tls_ca_file.and_then(|path| Some((path, path.metadata().ok()?))) {
        let fits = file.len() <= TLS_CA_BYTES;
        rules.check("events.tls_ca_file", path.display(), fits, || {
            format!(
                "must be at most {TLS_CA_BYTES} bytes for `pool` and `job`: executors get it in a \
                 variable, so it shall hold no more than the certificates that NATS needs"
            )
        });
    }
}

/// Linux takes no variable that is longer than 128 KiB, and the certificates are one of its parts.
const TLS_CA_BYTES: u64 = 64 << 10;

/// Whether an executor can be somebody to NATS without the host's credentials leaving the host unasked.
fn nats_of(executor: &Executor, at: usize, config: &Config, rules: &mut Rules<'_>) {
    let events = &config.events;
    let key = format!("clusters[{at}].executor.share_nats_credentials");
    let shares = executor.share_nats_credentials;
    let fits = shares || executor.has_credentials() || !events.has_credentials();
    rules.check(&key, shares, fits, || {
        "must be `true`, or give the executor `nats_user` and `nats_password_file`, or \
         `nats_token_file`, of its own: everybody who sees the cluster's jobs could read those of the host"
            .to_owned()
    });
}
