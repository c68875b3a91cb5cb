//! Rules that types do not express: ranges, and what must fit together.

mod clusters;
mod models;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use conclave_core::endpoint::AllowedOrigins;

use super::problem::{Origin, Problem};
use super::settings::Config;
use crate::arrivals::oci::Repositories;

/// A day: longer waits are mistakes.
const DAY_SECONDS: u64 = 86_400;
const YEAR_SECONDS: u64 = 366 * DAY_SECONDS;

/// Every rule that the configuration breaks.
pub(super) fn broken(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let mut rules = Rules {
        origins,
        problems: Vec::new(),
    };
    server(config, &mut rules);
    access(config, &mut rules);
    inference(config, &mut rules);
    models::check(config, &mut rules);
    limits(config, &mut rules);
    plugins(config, &mut rules);
    oci(config, &mut rules);
    routing(config, &mut rules);
    clusters::check(config, &mut rules);
    clusters::check_executions(config, &mut rules);
    let events = &config.events;
    for (key, seconds) in [
        ("connect_timeout_seconds", events.connect_timeout_seconds),
        ("ack_timeout_seconds", events.ack_timeout_seconds),
    ] {
        rules.range(&format!("events.{key}"), seconds, 1..=600);
    }
    telemetry(config, &mut rules);
    for name in &config.prompt.metadata_allowed {
        rules.not_blank("prompt.metadata_allowed", name);
    }
    rules.problems
}

fn server(config: &Config, rules: &mut Rules<'_>) {
    let server = &config.server;
    rules.range(
        "server.shutdown_grace_seconds",
        server.shutdown_grace_seconds,
        0..=3_600,
    );
    rules.not_blank("server.data_dir", &server.data_dir.to_string_lossy());
    let same = server.grpc_addr == server.http_addr && server.grpc_addr.port() != 0;
    rules.check("server.http_addr", server.http_addr, !same, || {
        "must be another address than `server.grpc_addr`".to_owned()
    });
    let grpc = &config.grpc;
    rules.range(
        "grpc.message_bytes_max",
        grpc.message_bytes_max,
        1_024..=1 << 30,
    );
    rules.range("grpc.calls_max", grpc.calls_max, 1..=1_000_000);
    rules.range(
        "grpc.connection_calls_max",
        grpc.connection_calls_max,
        1..=1_000_000,
    );
    rules.range("grpc.connections_max", grpc.connections_max, 1..=1_000_000);
    rules.range("grpc.keepalive_seconds", grpc.keepalive_seconds, 1..=3_600);
}

fn access(config: &Config, rules: &mut Rules<'_>) {
    let jwt = &config.access.jwt;
    // More would let tokens live on that have expired.
    rules.range("access.jwt.leeway_seconds", jwt.leeway_seconds, 0..=300);
    rules.range(
        "access.jwt.refresh_seconds",
        jwt.refresh_seconds,
        1..=DAY_SECONDS,
    );
    rules.range(
        "access.jwt.age_max_seconds",
        jwt.age_max_seconds,
        1..=DAY_SECONDS,
    );
}

fn inference(config: &Config, rules: &mut Rules<'_>) {
    let inference = &config.inference;
    rules.range(
        "inference.connect_timeout_seconds",
        inference.connect_timeout_seconds,
        1..=600,
    );
    rules.range(
        "inference.first_byte_timeout_seconds",
        inference.first_byte_timeout_seconds,
        1..=DAY_SECONDS,
    );
    rules.range(
        "inference.idle_timeout_seconds",
        inference.idle_timeout_seconds,
        1..=DAY_SECONDS,
    );
    rules.range(
        "inference.answer_bytes_max",
        inference.answer_bytes_max,
        1_024..=1 << 30,
    );
    rules.range(
        "inference.idle_connections_max",
        inference.idle_connections_max,
        0..=65_536,
    );
    rules.range("inference.choices_max", inference.choices_max, 1..=128);
    rules.range(
        "inference.in_flight_max",
        inference.in_flight_max,
        1..=65_536,
    );
    rules.range(
        "inference.retry_cap_ms",
        inference.retry_cap_ms,
        1..=600_000,
    );
    rules.range(
        "inference.retry_base_ms",
        inference.retry_base_ms,
        1..=600_000,
    );
    let (base, cap) = (inference.retry_base_ms, inference.retry_cap_ms);
    rules.check("inference.retry_base_ms", base, base <= cap, || {
        format!("must be at most `inference.retry_cap_ms`, which is {cap}")
    });
    if let Some(model) = &inference.model {
        rules.not_blank("inference.model", model);
    }
    for endpoint in &inference.allowed_endpoints {
        let has_pattern = endpoint.to_string().contains('*');
        rules.check(
            "inference.allowed_endpoints",
            endpoint,
            !has_pattern,
            || "must be an exact origin, patterns are not supported".to_owned(),
        );
    }
    let allowed = AllowedOrigins::new(
        inference
            .endpoint
            .iter()
            .chain(&inference.allowed_endpoints),
    );
    for (at, key) in inference.keys.iter().enumerate() {
        let path = format!("inference.keys[{at}].endpoint");
        rules.check(&path, &key.endpoint, allowed.permits(&key.endpoint), || {
            "must be `inference.endpoint` or one of `inference.allowed_endpoints`".to_owned()
        });
        let origin = key.endpoint.origin();
        let repeated = inference.keys[..at]
            .iter()
            .any(|other| other.endpoint.origin() == origin);
        rules.check(&path, &key.endpoint, !repeated, || {
            "has a key already".to_owned()
        });
    }
}

fn limits(config: &Config, rules: &mut Rules<'_>) {
    let limits = &config.limits;
    rules.range(
        "limits.deliberations_max",
        limits.deliberations_max,
        1..=1_000_000,
    );
    rules.range(
        "limits.generations_max",
        limits.generations_max,
        1..=1_000_000,
    );
    rules.range(
        "limits.open_generations_max",
        limits.open_generations_max,
        1..=10_000,
    );
    rules.range("limits.entries_max", limits.entries_max, 16..=10_000_000);
    rules.range("limits.emit_bytes_max", limits.emit_bytes_max, 0..=16 << 20);
    rules.range(
        "limits.journal_bytes_max",
        limits.journal_bytes_max,
        1 << 20..=1 << 30,
    );
    rules.range(
        "limits.timeout_max_seconds",
        limits.timeout_max_seconds,
        1..=YEAR_SECONDS,
    );
    rules.range(
        "limits.timeout_default_seconds",
        limits.timeout_default_seconds,
        1..=limits.timeout_max_seconds,
    );
    rules.range("limits.retries_max", limits.retries_max, 0..=100);
    rules.range(
        "limits.retries_default",
        limits.retries_default,
        0..=limits.retries_max,
    );
}

fn plugins(config: &Config, rules: &mut Rules<'_>) {
    let plugins = &config.plugins;
    rules.not_blank("plugins.strategy_default", &plugins.strategy_default);
    rules.not_blank("plugins.scorer_default", &plugins.scorer_default);
    rules.range("plugins.instances_max", plugins.instances_max, 1..=10_000);
    rules.range("plugins.compiled_max", plugins.compiled_max, 1..=10_000);
    rules.range(
        "plugins.canary_errors_per_million",
        plugins.canary_errors_per_million,
        1..=500_000,
    );
    rules.range(
        "plugins.compiled_bytes_max",
        plugins.compiled_bytes_max,
        1..=1 << 50,
    );
    rules.range("plugins.compilations_max", plugins.compilations_max, 1..=64);
    let limits = serde_json::to_value(&plugins.limits).expect("limits are JSON");
    for (name, value) in limits.as_object().into_iter().flatten() {
        // A plugin without memory or time cannot run; logs are the one thing to do without.
        let least = u64::from(name != "log_bytes_max");
        let value = value.as_u64().unwrap_or_default();
        rules.range(&format!("plugins.limits.{name}"), value, least..=1 << 40);
    }
}

fn oci(config: &Config, rules: &mut Rules<'_>) {
    let oci = &config.plugins.oci;
    rules.range(
        "plugins.oci.connect_timeout_seconds",
        oci.connect_timeout_seconds,
        1..=600,
    );
    rules.range(
        "plugins.oci.timeout_seconds",
        oci.timeout_seconds,
        1..=3_600,
    );
    for host in &oci.insecure {
        rules.check("plugins.oci.insecure", host, host.is_loopback(), || {
            "must be a loopback address: whoever is on the way could read and change what is fetched"
                .to_owned()
        });
    }
    for (at, credentials) in oci.credentials.iter().enumerate() {
        let path = format!("plugins.oci.credentials[{at}]");
        rules.not_blank(&format!("{path}.username"), &credentials.username);
        let registry = &credentials.registry;
        let mut allowed = oci.allowed.iter().map(Repositories::registry);
        let is_used = allowed.any(|one| one == registry);
        rules.check(&format!("{path}.registry"), registry, is_used, || {
            "must be a registry of `plugins.oci.allowed`".to_owned()
        });
        let mut others = oci.credentials[..at].iter();
        let repeated = others.any(|other| other.registry == *registry);
        rules.check(&format!("{path}.registry"), registry, !repeated, || {
            "has credentials already".to_owned()
        });
    }
}

fn routing(config: &Config, rules: &mut Rules<'_>) {
    for (at, rule) in config.routing.iter().enumerate() {
        let halves = [
            ("strategy", &rule.strategy, &rule.strategy_params),
            ("scorer", &rule.scorer, &rule.scorer_params),
        ];
        for (name, plugin, params) in halves {
            let key = format!("routing[{at}].{name}");
            rules.not_blank(&key, plugin.as_deref().unwrap_or("unset"));
            let alone = plugin.is_none() && !params.is_empty();
            rules.check(&format!("{key}_params"), "set", !alone, || {
                format!("must stand with `{name}`, whose params they are")
            });
        }
    }
}

fn telemetry(config: &Config, rules: &mut Rules<'_>) {
    let telemetry = &config.telemetry;
    if let Some(endpoint) = &telemetry.otlp_endpoint {
        let plain = endpoint.url().scheme() == "http";
        rules.check("telemetry.otlp_endpoint", endpoint, plain, || {
            "must be an http URL: run a collector beside the host, which sends on over TLS"
                .to_owned()
        });
    }
    rules.not_blank("telemetry.service_name", &telemetry.service_name);
    rules.range(
        "telemetry.sample_percent",
        telemetry.sample_percent,
        0..=100,
    );
}

struct Rules<'a> {
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn check(
        &mut self,
        key: &str,
        value: impl Display,
        holds: bool,
        rule: impl FnOnce() -> String,
    ) {
        if holds {
            return;
        }
        let whole = key.split('[').next().unwrap_or(key);
        let origin = self.origins.get(whole).cloned();
        self.problems.push(Problem::BadValue {
            key: key.to_owned(),
            value: format!("`{value}`"),
            origin: origin.unwrap_or(Origin::Default),
            rule: rule(),
        });
    }

    fn range<T: PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        let (least, most) = (*range.start(), *range.end());
        self.check(key, value, range.contains(&value), || {
            format!("must be {least} to {most}")
        });
    }

    fn not_blank(&mut self, key: &str, value: &str) {
        self.check(key, value, !value.trim().is_empty(), || {
            "must not be blank".to_owned()
        });
    }
}
