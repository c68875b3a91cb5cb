//! The rules of `[models.NAME]`.

use std::collections::BTreeMap;

use conclave_core::endpoint::Endpoint;

use super::super::models::Model;
use super::super::settings::Config;
use super::{DAY_SECONDS, Rules};

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    ports(config, rules);
    let mut replaced = BTreeMap::new();
    for (name, model) in &config.models {
        let path = format!("models.{name}");
        rules.not_blank(&path, name);
        source(config, model, &path, rules);
        counts(model, &path, rules);
        times(model, &path, rules);
        for endpoint in &model.replaces {
            let origin = endpoint.origin().ascii_serialization();
            let other = replaced.insert(origin, name);
            rules.check(
                &format!("{path}.replaces"),
                endpoint,
                other.is_none(),
                || {
                    let other = other.map_or("", String::as_str);
                    format!("must be an origin that no other model replaces: `{other}` does")
                },
            );
        }
    }
}

/// Two replicas cannot listen on one port of a node.
fn ports(config: &Config, rules: &mut Rules<'_>) {
    let started = config.models.iter();
    let started = started.filter(|(_, one)| one.vllm.is_some() || one.entrypoint.is_some());
    let started: Vec<_> = started.collect();
    let range = |model: &Model| {
        let first = u32::from(model.port);
        first..first + model.replicas_max
    };
    for (at, (name, model)) in started.iter().enumerate() {
        let mut others = started[..at].iter();
        let clash = others.find(|(_, other)| {
            let (own, theirs) = (range(model), range(other));
            let meet = model.clusters.is_empty()
                || other.clusters.is_empty()
                || model
                    .clusters
                    .iter()
                    .any(|one| other.clusters.contains(one));
            meet && own.start < theirs.end && theirs.start < own.end
        });
        let key = format!("models.{name}.port");
        rules.check(&key, model.port, clash.is_none(), || {
            let (name, other) = clash.expect("there is a clash");
            let taken = range(other);
            format!(
                "must leave each replica a port of its own: `models.{name}` has {} to {}",
                taken.start,
                taken.end.saturating_sub(1)
            )
        });
    }
}

/// Where its servers come from.
fn source(config: &Config, model: &Model, path: &str, rules: &mut Rules<'_>) {
    let started = model.vllm.is_some() || model.entrypoint.is_some();
    let both = model.vllm.is_some() && model.entrypoint.is_some();
    rules.check(&format!("{path}.entrypoint"), "set", !both, || {
        "must not stand with `vllm`: a replica has one command".to_owned()
    });
    let any = started || !model.endpoints.is_empty();
    rules.check(path, "a model without servers", any, || {
        "must have `vllm` or `entrypoint`, which the host starts, or `endpoints`".to_owned()
    });
    let clusters = &config.clusters;
    let nowhere = started && clusters.is_empty();
    rules.check(path, "a model that is started", !nowhere, || {
        "must have a cluster to run on: `[[clusters]]` or RAY_ADDRESS".to_owned()
    });
    for name in &model.clusters {
        let known = clusters.iter().any(|cluster| cluster.name == *name);
        rules.check(&format!("{path}.clusters"), name, known, || {
            let names: Vec<_> = clusters.iter().map(|one| one.name.as_str()).collect();
            format!("must be the name of a cluster: {}", names.join(", "))
        });
    }
    let template = model.endpoint.replace("{node}", "127.0.0.1");
    let template = template.replace("{port}", "8000").replace("{replica}", "0");
    let sound = Endpoint::parse(&template).is_ok();
    rules.check(&format!("{path}.endpoint"), &model.endpoint, sound, || {
        "must be a URL like `http://{node}:{port}`".to_owned()
    });
    let told = model
        .entrypoint
        .as_ref()
        .is_none_or(|command| model.replicas_max <= 1 || command.contains("{port}"));
    rules.check(&format!("{path}.entrypoint"), "set", told, || {
        "must contain `{port}`: replicas on one node need a port each".to_owned()
    });
}

fn counts(model: &Model, path: &str, rules: &mut Rules<'_>) {
    let (least, most) = (model.replicas_min, model.replicas_max);
    rules.range(&format!("{path}.replicas_max"), most, 0..=1_000);
    rules.check(
        &format!("{path}.replicas_min"),
        least,
        least <= most,
        || format!("must be at most `replicas_max`, which is {most}"),
    );
    let ports = u32::from(model.port) + most;
    let fits = model.port > 0 && ports <= 65_536;
    rules.check(&format!("{path}.port"), model.port, fits, || {
        "must leave a port for each replica, up to 65535".to_owned()
    });
    rules.range(&format!("{path}.slots"), model.slots, 1..=65_536);
    let waiting = format!("{path}.queue_max");
    rules.range(&waiting, model.queue_max, 0..=1_000_000);
    let is_started = model.vllm.is_some() || model.entrypoint.is_some();
    let starts = model.queue_max > 0 || least > 0 || !is_started;
    rules.check(&waiting, model.queue_max, starts, || {
        "must not be 0 with `replicas_min = 0`: only what waits starts the first replica".to_owned()
    });
    if let Some(choices) = model.choices_max {
        rules.range(&format!("{path}.choices_max"), choices, 1..=128);
    }
    let custom = model.resources.iter();
    let named = [("cpus", model.cpus), ("gpus", model.gpus)].into_iter();
    let custom = custom.map(|(name, amount)| (name.as_str(), *amount));
    for (name, amount) in named.chain(custom) {
        rules.range(&format!("{path}.{name}"), amount, 0.0..=100_000.0);
    }
}

fn times(model: &Model, path: &str, rules: &mut Rules<'_>) {
    let times = [
        ("start_timeout_seconds", model.start_timeout_seconds),
        ("drain_timeout_seconds", model.drain_timeout_seconds),
        ("scale_up_after_seconds", model.scale_up_after_seconds),
        ("scale_down_after_seconds", model.scale_down_after_seconds),
    ];
    for (name, seconds) in times {
        rules.range(&format!("{path}.{name}"), seconds, 1..=DAY_SECONDS);
    }
}
