//! Records, generations and calls as what they count.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use conclave_core::entry::Entry;
use conclave_core::ids::{DeliberationId, JobId, ModelName, Seq};
use conclave_core::inference::{Inference as _, Progress};
use conclave_core::observer::Observer as _;
use conclave_core::outcome::{Cause, CauseKind, Verdict};
use conclave_core::testkit::inference::{Script, ScriptedInference, contract};
use conclave_core::testkit::journal;
use conclave_core::{entry::Record, generation::Failure};
use tonic::Code;

use super::*;
use crate::grpc::CallMeter as _;
use crate::wasm::PluginCall;

/// The value of the one sample of this name and these labels.
fn sample(text: &str, series: &str) -> f64 {
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .collect();
    assert_eq!(found.len(), 1, "{series} in\n{text}");
    found[0].parse().unwrap()
}

#[test]
fn records_are_counted_as_what_they_mean() {
    let metrics = Metrics::new();
    let first = journal::accepted(&DeliberationId::new("deliberation-1"));
    let Entry::Accepted(accepted) = first.entry.clone() else {
        unreachable!("it is the first record");
    };
    let see = |entry, at_ms| {
        let record = Record {
            seq: Seq(2),
            at_ms,
            entry,
        };
        metrics.deliberations.journaled(&accepted, &record);
    };
    let attempt = |after| Entry::Attempt {
        job: JobId(1),
        attempt: 1,
        after,
        temperature: None,
    };
    let completed = |failure| Entry::Completed {
        job: JobId(1),
        result: Err(failure),
        wasted_tokens: 3,
    };
    metrics.deliberations.journaled(&accepted, &first);
    see(attempt(None), 1);
    see(attempt(Some(Failure::Unavailable("down".to_owned()))), 2);
    see(completed(Failure::Cancelled), 3);
    let cause = Cause::new(CauseKind::PluginTrapped, "unreachable");
    for (verdict, at_ms) in [
        (Verdict::Failed(cause), 400),
        (Verdict::Cancelled("enough".to_owned()), 600),
    ] {
        let spent = conclave_core::outcome::Spent::default();
        see(Entry::Finished { verdict, spent }, at_ms);
    }

    let text = metrics.open_metrics();
    for (series, value) in [
        ("conclave_deliberations_accepted_total", 1.0),
        ("ray_executor_tasks_submitted_total", 1.0),
        (
            r#"conclave_deliberations_finished_total{state="failed",cause="plugin_trapped"}"#,
            1.0,
        ),
        (
            r#"conclave_deliberations_finished_total{state="cancelled",cause=""}"#,
            1.0,
        ),
        (
            r#"conclave_deliberations_finished_total{state="completed",cause=""}"#,
            0.0,
        ),
        ("ray_executor_task_failures_total", 1.0),
        ("ray_executor_task_duration_ms_count", 2.0),
        ("ray_executor_task_duration_ms_sum", 1_000.0),
        (
            r#"conclave_deliberation_duration_seconds_sum{state="failed"}"#,
            0.4,
        ),
        ("conclave_generation_retries_total", 1.0),
        (r#"conclave_generations_total{result="cancelled"}"#, 1.0),
        (r#"conclave_generations_total{result="completed"}"#, 0.0),
    ] {
        assert!(
            (sample(&text, series) - value).abs() < 1e-9,
            "{series}: {text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
}

fn request(model: &str) -> conclave_core::inference::Request {
    let endpoint = Endpoint::parse("http://127.0.0.1:1").unwrap();
    contract::request(&endpoint, &ModelName::new(model), 1)
}

#[tokio::test]
async fn a_generation_counts_for_its_model_and_an_aborted_one_as_waste() {
    let metrics = Metrics::new();
    let answering = MeteredInference::new(
        ScriptedInference::answering("two words"),
        Arc::clone(&metrics.generations),
    );
    let done = answering.generate(&request("m"), &Progress::silent()).await;
    let usage = done.unwrap().usage;
    let hanging = MeteredInference::new(
        ScriptedInference::new(|_, _| Script::hang()),
        Arc::clone(&metrics.generations),
    );
    let progress = Progress::silent();
    let request = request("n");
    let mut open = Box::pin(hanging.generate(&request, &progress));
    assert!(futures::poll!(&mut open).is_pending());
    progress.token("half");
    let text = metrics.open_metrics();
    assert_eq!(sample(&text, "conclave_generations_in_flight"), 1.0);
    drop(open);

    let text = metrics.open_metrics();
    assert_eq!(sample(&text, "conclave_generations_in_flight"), 0.0);
    for (series, value) in [
        (
            r#"conclave_generation_attempts_total{model="m",result="completed"}"#,
            1,
        ),
        (
            r#"conclave_generation_attempts_total{model="n",result="aborted"}"#,
            1,
        ),
        (
            r#"conclave_tokens_total{model="m",kind="prompt"}"#,
            usage.prompt_tokens,
        ),
        (
            r#"conclave_tokens_total{model="m",kind="completion"}"#,
            usage.completion_tokens,
        ),
        (r#"conclave_tokens_total{model="m",kind="wasted"}"#, 0),
        (r#"conclave_tokens_total{model="n",kind="wasted"}"#, 1),
        (r#"conclave_generation_latency_seconds_count{model="m"}"#, 1),
        ("ray_executor_llm_generation_latency_ms_count", 1),
    ] {
        assert_eq!(sample(&text, series), f64::from(value), "{series}: {text}");
    }
}

#[test]
fn calls_of_unknown_methods_share_one_series() {
    let metrics = Metrics::new();
    let get = "/conclave.v1.Deliberations/GetDeliberation";
    for (path, code) in [
        (get, Code::Ok),
        (get, Code::NotFound),
        ("/made.up/Method1", Code::Unimplemented),
        ("/made.up/Method2", Code::Unimplemented),
    ] {
        metrics.calls.began();
        metrics.calls.ended(path, code, Duration::from_millis(1));
    }
    let text = metrics.open_metrics();
    let calls = |method: &str, code: &str| {
        let series = format!(r#"conclave_grpc_calls_total{{method="{method}",code="{code}"}}"#);
        sample(&text, &series)
    };
    assert_eq!(calls(&get[1..], "OK"), 1.0);
    assert_eq!(calls(&get[1..], "NOT_FOUND"), 1.0);
    assert_eq!(calls("other", "UNIMPLEMENTED"), 2.0);
    assert!(!text.contains("made.up"), "{text}");
    assert_eq!(sample(&text, "conclave_grpc_calls_in_flight"), 0.0);
}

#[test]
fn a_trap_is_a_result_of_a_plugin_call() {
    let metrics = Metrics::new();
    metrics.plugins.ended(&PluginCall {
        plugin: "debate",
        kind: conclave_core::plugin::Kind::Scorer,
        cpu: Duration::from_millis(250),
        instantiation: Some(Duration::from_micros(80)),
        result: "trapped",
    });
    let text = metrics.open_metrics();
    let trapped = r#"conclave_plugin_calls_total{plugin="debate",kind="scorer",result="trapped"}"#;
    assert_eq!(sample(&text, trapped), 1.0);
    let cpu = r#"conclave_plugin_cpu_seconds_total{plugin="debate",kind="scorer"}"#;
    assert_eq!(sample(&text, cpu), 0.25);
    assert_eq!(
        sample(&text, "conclave_plugin_instantiation_seconds_count"),
        1.0
    );
}

#[test]
fn a_reading_is_asked_at_each_scrape_and_may_have_nothing_to_say() {
    let metrics = Metrics::new();
    metrics.read(Reading::one(Kind::Gauge, "a_gauge", "Nothing", || None));
    metrics.read(Reading::by("state", Kind::Counter, "some", "Some", || {
        vec![("x", 2.0), ("y", 3.0)]
    }));
    let text = metrics.open_metrics();
    assert!(text.contains("# TYPE a_gauge gauge") && !text.contains("\na_gauge"));
    assert_eq!(sample(&text, r#"some_total{state="x"}"#), 2.0);
    assert_eq!(sample(&text, r#"some_total{state="y"}"#), 3.0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_told() {
    let text = Metrics::new().prometheus_text();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(sample(&text, name) > 0.0, "{name}");
    }
}
