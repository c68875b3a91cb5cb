//! The numbers that parts of the host keep anyway, as metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_core::live::Live;
use conclave_core::outbox::Counters;
use conclave_core::slots::InFlight;

use crate::config::Config;
use crate::http::{Phase, Readiness};
use crate::metrics::{Kind, Metrics, Reading};
use crate::sqlite::SqliteJournal;
use crate::wasm::Engine;

use super::events::EventParts;

/// Who keeps them.
pub(super) struct Parts<'a> {
    pub(super) live: &'a Live,
    pub(super) in_flight: &'a InFlight,
    pub(super) journal: &'a Arc<SqliteJournal>,
    pub(super) engine: &'a Arc<Engine>,
    pub(super) readiness: &'a Readiness,
    pub(super) events: &'a EventParts,
}

/// Has them read at each scrape.
pub(super) fn measure(metrics: &Metrics, config: &Config, parts: &Parts<'_>) {
    let Parts {
        live,
        journal,
        engine,
        readiness,
        ..
    } = *parts;
    let in_flight = parts.in_flight.clone();
    metrics.read(Reading::one(
        Kind::Gauge,
        "conclave_generations_waiting",
        "Generations that wait for a slot (inference.in_flight_max)",
        move || Some(in_flight.waiting() as f64),
    ));
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
    events(metrics, parts.events);
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
fn events(metrics: &Metrics, events: &EventParts) {
    type Read = fn(&Counters) -> &AtomicU64;
    let pending = Arc::clone(&events.pending);
    let outbox = events.outbox.is_some();
    metrics.read(Reading::one(
        Kind::Gauge,
        "conclave_events_pending",
        "Deliberations that owe events to NATS; absent while no NATS is configured",
        move || outbox.then(|| pending.load(Ordering::Relaxed) as f64),
    ));
    let names: [(&str, &str, Read); 3] = [
        (
            "conclave_events_published",
            "Events that NATS took; absent while no NATS is configured",
            |counters| &counters.published,
        ),
        (
            "conclave_events_failed",
            "Times that NATS did not take an event, which is tried again; absent while no NATS is configured",
            |counters| &counters.retried,
        ),
        (
            "conclave_events_refused",
            "Events that NATS will never take; absent while no NATS is configured",
            |counters| &counters.refused,
        ),
    ];
    let nats = events.nats.clone();
    metrics.read(Reading::one(
        Kind::Counter,
        "conclave_events_uncovered",
        "Events that NATS took and no stream keeps; absent while no NATS is configured",
        move || Some(nats.as_ref()?.published_uncovered() as f64),
    ));
    for (name, help, read) in names {
        let outbox = events.outbox.clone();
        metrics.read(Reading::one(Kind::Counter, name, help, move || {
            let outbox = outbox.as_ref()?;
            Some(read(outbox.counters()).load(Ordering::Relaxed) as f64)
        }));
    }
}
