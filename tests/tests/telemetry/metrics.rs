//! What is counted of deliberations that complete, fail and are cancelled.

use std::io::Write as _;
use std::process::{Command, Stdio};

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::Host;
use conclave_tests::stub_server::StubServer;

use crate::exposition::Scrape;

#[tokio::test]
async fn a_vote_a_failure_and_a_cancel_are_counted_exactly() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let done = client
        .run(vote(&["answer:yes", "answer:yes", "answer:no"]))
        .await
        .unwrap();
    let failed = client.run(vote(&["status:503"]).retries(2)).await.unwrap();
    let created = client
        .create(vote(&["slow-tokens:100000:5"]))
        .await
        .unwrap();
    let mut events = client.watch(&created.uid, 0).await.unwrap();
    events
        .until("a token", |event| matches!(event, Event::Tokens(_)))
        .await
        .unwrap();
    let running = Scrape::of(&host).await;
    let cancelled = client.cancel(&created.uid, "enough").await.unwrap();
    assert_eq!(
        [done.state(), failed.state(), cancelled.state()],
        [State::Completed, State::Failed, State::Cancelled]
    );

    assert_eq!(running.value("conclave_generations_in_flight"), 1.0);
    let held =
        |state: &str| running.value(&format!(r#"conclave_deliberations{{state="{state}"}}"#));
    assert_eq!((held("running"), held("queued")), (1.0, 0.0));

    let scrape = Scrape::of(&host).await;
    let usage = done.usage.unwrap();
    let wasted = cancelled.usage.unwrap().wasted_tokens;
    let finished = |state: &str, cause: &str| {
        format!(r#"conclave_deliberations_finished_total{{state="{state}",cause="{cause}"}}"#)
    };
    let generations = |result: &str| format!(r#"conclave_generations_total{{result="{result}"}}"#);
    let attempts = |model: &str, result: &str| {
        format!(r#"conclave_generation_attempts_total{{model="{model}",result="{result}"}}"#)
    };
    let tokens = |model: &str, kind: &str| {
        format!(r#"conclave_tokens_total{{model="{model}",kind="{kind}"}}"#)
    };
    let calls = |method: &str, code: &str| {
        format!(
            r#"conclave_grpc_calls_total{{method="conclave.v1.Deliberations/{method}",code="{code}"}}"#
        )
    };
    let plugin_calls = |plugin: &str, kind: &str, result: &str| {
        format!(
            r#"conclave_plugin_calls_total{{plugin="{plugin}",kind="{kind}",result="{result}"}}"#
        )
    };
    let slow = "slow-tokens:100000:5";
    for (series, value) in [
        ("ray_executor_tasks_submitted_total".to_owned(), 3),
        ("conclave_deliberations_accepted_total".to_owned(), 3),
        ("ray_executor_task_failures_total".to_owned(), 1),
        ("ray_executor_task_duration_ms_count".to_owned(), 3),
        (finished("completed", ""), 1),
        (finished("failed", "all_agents_failed"), 1),
        (finished("cancelled", ""), 1),
        (generations("completed"), 3),
        (generations("unavailable"), 1),
        (generations("cancelled"), 1),
        ("conclave_generation_retries_total".to_owned(), 2),
        (attempts("answer:yes", "completed"), 2),
        (attempts("answer:no", "completed"), 1),
        (attempts("status:503", "unavailable"), 3),
        (attempts(slow, "aborted"), 1),
        ("conclave_generations_in_flight".to_owned(), 0),
        ("ray_executor_llm_generation_latency_ms_count".to_owned(), 3),
        (tokens("answer:yes", "wasted"), 0),
        (calls("CreateDeliberation", "OK"), 3),
        (calls("CancelDeliberation", "OK"), 1),
        (calls("WatchDeliberation", "OK"), 1),
        (plugin_calls("agreement", "scorer", "answered"), 1),
        (plugin_calls("sample-vote", "strategy", "answered"), 1),
        (r#"conclave_scorings_total{result="scored"}"#.to_owned(), 1),
        ("conclave_journal_up".to_owned(), 1),
        ("conclave_journal_queue".to_owned(), 0),
        ("conclave_ready".to_owned(), 1),
        (r#"conclave_deliberations{state="running"}"#.to_owned(), 0),
    ] {
        assert_eq!(
            scrape.value(&series),
            f64::from(value),
            "{series} in\n{}",
            scrape.text()
        );
    }
    let sum = |kind| {
        let models = ["answer:yes", "answer:no", slow];
        let tokens = models.map(|model| scrape.value_or_zero(&tokens(model, kind)));
        tokens.iter().sum::<f64>() as i64
    };
    assert_eq!(sum("prompt"), usage.prompt_tokens);
    assert_eq!(sum("completion"), usage.completion_tokens);
    assert_eq!(sum("wasted"), wasted);
    let cpu = r#"conclave_plugin_cpu_seconds_total{plugin="sample-vote",kind="strategy"}"#;
    assert!(scrape.value(cpu) > 0.0);
    assert!(scrape.value("conclave_plugin_instantiation_seconds_count") >= 4.0);
    assert!(scrape.value("conclave_journal_commit_seconds_count") > 0.0);
    // There is no Ray cluster, no NATS and no collector.
    for absent in [
        "ray_executor_gpu_utilization_percent",
        "conclave_events_pending",
        "conclave_events_published_total",
    ] {
        assert!(scrape.names().contains(absent), "{absent}");
        assert!(!scrape.text().contains(&format!("\n{absent} ")), "{absent}");
    }
}

#[tokio::test]
async fn prometheus_gets_open_metrics_and_promtool_finds_only_the_names_of_before() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    client.run(vote(&["answer:yes"])).await.unwrap();
    let (content_type, text) = host
        .page("/metrics", "application/openmetrics-text;version=1.0.0")
        .await
        .unwrap();
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");

    let scrape = Scrape::of(&host).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`make test` puts promtool on the path");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(scrape.text().as_bytes()).unwrap();
    drop(stdin);
    let checked = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    // Their units are those that dashboards know.
    let unexpected: Vec<_> = told
        .lines()
        .filter(|line| !line.starts_with("ray_executor_"))
        .collect();
    assert!(unexpected.is_empty(), "{told}");
}
