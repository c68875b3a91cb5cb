//! The figures as Markdown, and against their goals.

use std::fmt::Write as _;

use serde::Serialize;

use crate::clusters::Ways;
use crate::isolation::Beside;
use crate::memory::Memory;
use crate::numbers::Latencies;
use crate::plugins::Plugins;
use crate::restart::Restart;
use crate::savings::{self, Taken};
use crate::status::{self, Polls};
use crate::submit::Submits;
use crate::swap::{self, Swaps};
use crate::throughput::{Pair, Throughput};
use crate::vllm::Real;

/// What was measured; what was not asked for is missing.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) disk: Option<Latencies>,
    pub(crate) throughput: Option<Throughput>,
    pub(crate) submit: Option<Submits>,
    pub(crate) status: Vec<Polls>,
    pub(crate) memory: Option<Memory>,
    pub(crate) instance: Option<Latencies>,
    pub(crate) plugins: Option<Plugins>,
    pub(crate) isolation: Vec<Beside>,
    pub(crate) swap: Option<Swaps>,
    pub(crate) restart: Option<Restart>,
    pub(crate) clusters: Option<Ways>,
    pub(crate) savings: Vec<Taken>,
    pub(crate) vllm: Option<Real>,
}

/// One line of the summary.
struct Row {
    what: String,
    figure: String,
    goal: Option<Goal>,
}

/// A goal, and whether the figure meets it.
type Goal = (String, bool);

impl Report {
    /// The summary, and behind it the details of the throughput.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let written = self.write(&mut text);
        debug_assert!(written.is_ok(), "a text takes everything");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| measured | figure | goal | met |\n|---|---|---|---|"
        )?;
        for Row { what, figure, goal } in self.rows() {
            let (goal, met) = match goal {
                Some((goal, true)) => (goal, "yes"),
                Some((goal, false)) => (goal, "no"),
                None => (String::new(), ""),
            };
            writeln!(text, "| {what} | {figure} | {goal} | {met} |")?;
        }
        if let Some(throughput) = &self.throughput {
            details(text, throughput)?;
        }
        if let Some(plugins) = &self.plugins {
            plugins.write(text)?;
        }
        if !self.isolation.is_empty() {
            isolation(text, &self.isolation)?;
        }
        if !self.savings.is_empty() {
            savings::write(text, &self.savings)?;
        }
        if let Some(vllm) = &self.vllm {
            vllm.write(text)?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut row = |what: String, figure: String, goal| rows.push(Row { what, figure, goal });
        if let Some(disk) = &self.disk {
            let what = "fdatasync of 4 KiB in the data directory, p50 / p95 / p99, ms";
            row(what.to_owned(), percentiles(disk), None);
        }
        for Pair { load, host, .. } in self.throughput.iter().flat_map(|it| &it.pairs) {
            let goal =
                (load.clients == 64).then(|| ("1,000 or more".to_owned(), host.rate() >= 1_000.0));
            let what = format!(
                "deliberations of {} generations a second, clients: {}",
                load.generations, load.clients
            );
            row(what, format!("{:.0}", host.rate()), goal);
        }
        if let Some(submit) = &self.submit {
            let what = format!("submit at {} a second, p50 / p95 / p99, ms", submit.rate);
            row(
                what,
                percentiles(&submit.latencies),
                p95_below(&submit.latencies, 10),
            );
        }
        for polls in &self.status {
            let beside = match polls.submits {
                0 => "alone".to_owned(),
                submits => format!("beside {submits} submits a second"),
            };
            let what = format!(
                "`{}` of {} deliberations at {} a second, {beside}, p50 / p95 / p99, ms",
                polls.call,
                polls.of,
                status::RATE
            );
            row(
                what,
                percentiles(&polls.latencies),
                p95_below(&polls.latencies, 2),
            );
        }
        if let Some(memory) = &self.memory {
            let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
            let count = memory.deliberations;
            row("resident memory, idle".to_owned(), mib(memory.idle), None);
            let what = format!("resident memory, most with {count} deliberations in flight");
            row(what, mib(memory.peak), None);
            row(
                "resident memory, idle again".to_owned(),
                mib(memory.after),
                None,
            );
            let each = memory.each() / 1e3;
            let goal = Some(("below 100 kB".to_owned(), each < 100.0));
            let what = "resident memory for each deliberation in flight";
            row(what.to_owned(), format!("{each:.1} kB"), goal);
            let once = format!("{:.1} kB", memory.each_once() / 1e3);
            row("the same, each page counted once".to_owned(), once, None);
        }
        if let Some(instance) = &self.instance {
            let [p50, p95, p99] = shares(instance).map(|ms| ms * 1e3);
            let goal = Some(("p50 below 150 µs".to_owned(), p50 < 150.0));
            let what = "fresh instance to its first call of the host, p50 / p95 / p99, µs";
            row(
                what.to_owned(),
                format!("{p50:.0} / {p95:.0} / {p99:.0}"),
                goal,
            );
        }
        if let Some(swaps) = &self.swap {
            let what = |how: String| {
                let rate = swap::RATE;
                format!("deliberations at {rate} a second, {how}, p50 / p95 / p99, ms")
            };
            let without = what("without swaps".to_owned());
            row(without, percentiles(&swaps.without), None);
            let with = what(format!("beside {} swaps", swaps.swaps));
            row(with, percentiles(&swaps.with), None);
            let ratio = swaps.ratio(0.99);
            let goal = Some(("p99 within 1.25".to_owned(), ratio <= 1.25));
            let figure = format!("{:.2} / {:.2}", swaps.ratio(0.5), ratio);
            row(
                "the same, with / without, p50 / p99".to_owned(),
                figure,
                goal,
            );
        }
        if let Some(restart) = &self.restart {
            let [first, again] = [restart.first, restart.again].map(|took| took.as_secs_f64());
            let what = format!(
                "start to ready with {} new plugins, each compiled, s",
                restart.plugins
            );
            row(what, format!("{first:.2}"), None);
            let what = "the same again, nothing compiled, median, s".to_owned();
            row(
                what,
                format!("{again:.2}"),
                Some(("below 1 s".to_owned(), again < 1.0)),
            );
        }
        if let Some(ways) = &self.clusters {
            rows.extend(ways_rows(ways));
        }
        if let Some(vllm) = &self.vllm {
            let [least, median, most] = vllm.shares();
            rows.push(Row {
                what: "a bare client's tokens a second on a real vLLM that the host reaches, median (least to most of the rounds)".to_owned(),
                figure: format!("{median:.1} % ({least:.1} to {most:.1})"),
                goal: Some(("98 % or more".to_owned(), median >= 98.0)),
            });
        }
        rows
    }
}

/// What the ways to an engine cost.
fn ways_rows(ways: &Ways) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what: &str, figure: String, goal: Option<Goal>| {
        rows.push(Row {
            what: what.to_owned(),
            figure,
            goal,
        });
    };
    row(
        "one generation by a bare client, p50 / p95 / p99, ms",
        percentiles(&ways.bare),
        None,
    );
    for (name, way, goal) in [("direct", &ways.direct, 0.5), ("pool", &ways.pool, 8.0)] {
        let [p50, p95] = [0.5, 0.95].map(|share| ways.overhead_ms(way, share));
        let goal = Some((format!("p50 within {goal} ms"), p50 <= goal));
        let what = format!("what `{name}` adds to it, p50 / p95, ms");
        row(&what, format!("{p50:.2} / {p95:.2}"), goal);
    }
    for (name, rate, goal) in [
        ("a bare client", ways.bare_rate, None),
        ("`direct`", ways.direct_rate, None),
        ("`pool`", ways.pool_rate, Some(1_000.0)),
    ] {
        let goal = goal.map(|goal| (format!("{goal:.0} or more"), rate >= goal));
        let what = format!("generations a second by {name}, 128 at once");
        row(&what, format!("{rate:.0}"), goal);
    }
    for (name, cancels) in [("direct", &ways.direct_cancel), ("pool", &ways.pool_cancel)] {
        let what = format!("cancel of `{name}` until the server sees it, p50 / p95 / p99, ms");
        row(&what, percentiles(cancels), p95_below(cancels, 150));
    }
    rows
}

fn p95_below(latencies: &Latencies, ms: u32) -> Option<Goal> {
    let met = latencies.percentile_ms(0.95) < f64::from(ms);
    Some((format!("p95 below {ms} ms"), met))
}

fn details(text: &mut String, Throughput { pairs, parts }: &Throughput) -> std::fmt::Result {
    writeln!(
        text,
        "\n| clients | deliberations | a second | submit p50 / p95 / p99, ms | whole p50 / p95 / p99, ms | bare a second | bare p50 / p95 / p99, ms | host / bare |"
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
    writeln!(
        text,
        "\n| the host's CPU at 64 clients | ms a deliberation | share |"
    )?;
    writeln!(text, "|---|---|---|")?;
    let rows = [
        ("gRPC (two calls that are refused)", parts.grpc),
        ("HTTP (the bare client's five calls)", parts.http),
        ("journal (its threads)", parts.journal),
        ("plugins, session and all else (the rest)", parts.rest()),
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

fn isolation(text: &mut String, measured: &[Beside]) -> std::fmt::Result {
    writeln!(
        text,
        "\n| beside a plugin, how often | without it, p50 / p95 / p99, ms | beside it | p50, times | p99, times | p99 within 2 times |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for beside in measured {
        let p99 = beside.ratio(0.99);
        writeln!(
            text,
            "| {}, {} | {} | {} | {:.2} | {p99:.2} | {} |",
            beside.misbehaviour,
            beside.begun,
            percentiles(&beside.without),
            percentiles(&beside.beside),
            beside.ratio(0.5),
            if p99 <= 2.0 { "yes" } else { "no" },
        )?;
    }
    Ok(())
}

fn shares(latencies: &Latencies) -> [f64; 3] {
    [0.5, 0.95, 0.99].map(|share| latencies.percentile_ms(share))
}

fn percentiles(latencies: &Latencies) -> String {
    let [p50, p95, p99] = shares(latencies);
    format!("{p50:.2} / {p95:.2} / {p99:.2}")
}
