//! The figures as Markdown.

use std::fmt::Write as _;

use crate::load::Load;
use crate::numbers::{Latencies, Measured};

/// A load on the host, and the same model calls without it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) load: Load,
    pub(crate) host: Measured,
    pub(crate) bare: Measured,
}

/// The host's CPU time for one deliberation, in milliseconds, by what it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    all: f64,
    grpc: f64,
    journal: f64,
    http: f64,
    /// What a generation adds, of `all`.
    generation: f64,
    written_bytes: f64,
}

impl Parts {
    /// From a load, the same load with one generation each, and calls that are refused.
    pub(crate) fn of(busy: &Pair, small: &Measured, refused: &Measured) -> Self {
        let all = busy.host.each_ms(busy.host.host.cpu);
        let more = f64::from(busy.load.generations.saturating_sub(1).max(1));
        Self {
            all,
            // A deliberation is two calls: to create it and to wait for it.
            grpc: 2.0 * refused.each_ms(refused.host.cpu),
            journal: busy.host.each_ms(busy.host.host.journal_cpu),
            http: busy.bare.each_ms(busy.bare.client.cpu),
            generation: (all - small.each_ms(small.host.cpu)) / more,
            written_bytes: busy.host.host.written as f64 / busy.host.wholes.count().max(1) as f64,
        }
    }
}

/// The whole report.
pub(crate) fn text(pairs: &[Pair], parts: &Parts) -> String {
    let mut text = String::new();
    tables(&mut text, pairs, parts).map_or_else(|_| String::new(), |()| text)
}

fn tables(text: &mut String, pairs: &[Pair], parts: &Parts) -> std::fmt::Result {
    writeln!(
        text,
        "| clients | deliberations | a second | submit p50 / p95 / p99, ms | whole p50 / p95 / p99, ms | bare a second | bare p50 / p95 / p99, ms | host / bare |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for Pair { load, host, bare } in pairs {
        writeln!(
            text,
            "| {} | {} | {:.1} | {} | {} | {:.1} | {} | {:.3} |",
            load.clients,
            load.count,
            host.rate(),
            percentiles(&host.submits),
            percentiles(&host.wholes),
            bare.rate(),
            percentiles(&bare.wholes),
            host.rate() / bare.rate(),
        )?;
    }
    writeln!(
        text,
        "\n| clients | CPU of the host, ms | of the stub | of the clients | disk, KiB | CPU of the bare client |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for Pair { load, host, bare } in pairs {
        writeln!(
            text,
            "| {} | {:.3} | {:.3} | {:.3} | {:.1} | {:.3} |",
            load.clients,
            host.each_ms(host.host.cpu),
            host.each_ms(host.stub.cpu),
            host.each_ms(host.client.cpu),
            host.host.written as f64 / host.wholes.count().max(1) as f64 / 1024.0,
            bare.each_ms(bare.client.cpu),
        )?;
    }
    let rest = parts.all - parts.grpc - parts.journal - parts.http;
    writeln!(
        text,
        "\n| the host's CPU at 64 clients | ms a deliberation | share |"
    )?;
    writeln!(text, "|---|---|---|")?;
    let rows = [
        ("gRPC (two calls that are refused)", parts.grpc),
        ("HTTP (the bare client's five calls)", parts.http),
        ("journal (its threads)", parts.journal),
        ("plugins, session and all else (the rest)", rest),
        ("all", parts.all),
        ("what one generation adds to all", parts.generation),
    ];
    for (name, ms) in rows {
        writeln!(
            text,
            "| {name} | {ms:.3} | {:.0} % |",
            100.0 * ms / parts.all
        )?;
    }
    writeln!(
        text,
        "\nWritten to disk for each deliberation: {:.1} KiB.",
        parts.written_bytes / 1024.0
    )
}

fn percentiles(latencies: &Latencies) -> String {
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| latencies.percentile_ms(share));
    format!("{p50:.2} / {p95:.2} / {p99:.2}")
}
