//! The numbers that parts of the host keep anyway, as metrics.

use std::sync::Arc;

use conclave_core::live::Live;

use crate::config::Config;
use crate::http::{Phase, Readiness};
use crate::metrics::{Kind, Metrics, Reading};
use crate::sqlite::SqliteJournal;
use crate::wasm::Engine;

/// Has them read at each scrape.
pub(super) fn measure(
    metrics: &Metrics,
    config: &Config,
    live: &Live,
    journal: &Arc<SqliteJournal>,
    engine: &Arc<Engine>,
    readiness: &Readiness,
) {
    deliberations(metrics, live);
    let bounds = [
        (
            "conclave_deliberations_max",
            "How many unfinished deliberations the host holds at most (limits.deliberations_max)",
            config.limits.deliberations_max as f64,
        ),
        (
            "conclave_generations_in_flight_max",
            "How many generations are in flight at most (inference.in_flight_max)",
            config.inference.in_flight_max as f64,
        ),
        (
            "conclave_plugin_instances_max",
            "How many strategies are live at most (plugins.instances_max)",
            f64::from(config.plugins.instances_max),
        ),
    ];
    for (name, help, bound) in bounds {
        metrics.read(Reading::one(Kind::Gauge, name, help, move || Some(bound)));
    }
    let journal_queue = Arc::clone(journal);
    metrics.read(Reading::one(
        Kind::Gauge,
        "conclave_journal_queue",
        "Writes that wait for a commit",
        move || Some(journal_queue.queued() as f64),
    ));
    let journal = Arc::clone(journal);
    metrics.read(Reading::one(
        Kind::Gauge,
        "conclave_journal_up",
        "Whether the last commit of the journal succeeded",
        move || Some(f64::from(u8::from(journal.takes_writes()))),
    ));
    let engine = Arc::clone(engine);
    metrics.read(Reading::by(
        "kind",
        Kind::Gauge,
        "conclave_plugin_instances",
        "Plugin instances that are live, by kind",
        move || {
            let (strategies, scorers) = engine.live();
            vec![("strategy", strategies as f64), ("scorer", scorers as f64)]
        },
    ));
    let readiness = readiness.clone();
    metrics.read(Reading::one(
        Kind::Gauge,
        "conclave_ready",
        "Whether the host takes work: neither starts nor stops",
        move || Some(f64::from(u8::from(readiness.phase() == Phase::Serving))),
    ));
    events(metrics);
}

/// Those that the host holds: `queued` ones have not sent a generation yet.
fn deliberations(metrics: &Metrics, live: &Live) {
    let live = live.clone();
    metrics.read(Reading::by(
        "state",
        Kind::Gauge,
        "conclave_deliberations",
        "Unfinished deliberations that the host holds: queued until their first generation is sent, then running",
        move || {
            let held = live.all();
            let running = held.iter().filter(|(_, handle)| handle.is_sending()).count();
            let queued = held.len() - running;
            vec![("queued", queued as f64), ("running", running as f64)]
        },
    ));
}

/// Described, and without a sample while no NATS is configured.
fn events(metrics: &Metrics) {
    let names = [
        (
            Kind::Gauge,
            "conclave_events_pending",
            "Deliberations that owe events to NATS; absent while no NATS is configured",
        ),
        (
            Kind::Counter,
            "conclave_events_published",
            "Events that NATS took; absent while no NATS is configured",
        ),
        (
            Kind::Counter,
            "conclave_events_failed",
            "Events that NATS did not take, and that are tried again; absent while no NATS is configured",
        ),
    ];
    for (kind, name, help) in names {
        metrics.read(Reading::one(kind, name, help, || None));
    }
}
