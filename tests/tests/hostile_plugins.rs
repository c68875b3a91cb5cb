//! A plugin cannot hurt: each way to misbehave ends in a typed failure of its own deliberation, and
//! one beside it is none the worse.

use std::time::Duration;

use conclave_tests::beside::Beside;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{answers, failure};
use conclave_tests::components::install;
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::{self, StubServer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host with the hostile plugins and small limits; the directory must outlive its start.
async fn hostile_host(stub: &StubServer) -> (Host, TempDir) {
    let plugins = tempfile::tempdir().expect("there is a place for files");
    install(plugins.path(), &["hostile", "hostile-scorer"]).expect("they are built");
    let setup = Setup::asking(stub).expect("there is a place for data");
    let setup = setup
        .arg("--plugins")
        .arg(plugins.path().to_str().expect("the path is text"))
        .set("log.plugins", "true")
        .set("limits.entries_max", "2000")
        .set("limits.generations_max", "40")
        .set("limits.open_generations_max", "8")
        .set("plugins.limits.calls_max", "20000")
        .set("plugins.limits.cpu_slice_ms_max", "300")
        .set("plugins.limits.cpu_ms_max", "2000");
    (setup.start().await.expect("the host starts"), plugins)
}

/// How a misbehaving strategy fails: its mode, the reason, and a word of the message.
fn failing_modes() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (
            json!({"mode": "trap"}),
            "PLUGIN_TRAPPED",
            "strategy `hostile@",
        ),
        (
            json!({"mode": "overflow"}),
            "PLUGIN_TRAPPED",
            "call stack exhausted",
        ),
        (
            json!({"mode": "spin"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.cpu_slice_ms_max",
        ),
        (
            json!({"mode": "stutter"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.cpu_ms_max",
        ),
        (
            json!({"mode": "fill", "bytes": 20 << 20}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.cpu_slice_ms_max",
        ),
        (
            json!({"mode": "long-strings", "bytes": 8 << 20}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.cpu_ms_max",
        ),
        (
            json!({"mode": "allocate"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.memory_bytes_max",
        ),
        (
            json!({"mode": "emit-flood"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "limits.entries_max",
        ),
        (
            json!({"mode": "emit-flood", "bytes": 100_000}),
            "PLUGIN_LIMIT_EXCEEDED",
            "limits.emit_bytes_max",
        ),
        (
            json!({"mode": "call-flood"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.calls_max",
        ),
        (
            json!({"mode": "submit-stubbornly", "count": 100_000}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.calls_max",
        ),
        (
            json!({"mode": "large-prompt", "bytes": 17 << 20}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.call_bytes_max",
        ),
        (
            json!({"mode": "log-flood"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.calls_max",
        ),
        (
            json!({"mode": "print-flood"}),
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.calls_max",
        ),
        (
            json!({"mode": "bad-outcome"}),
            "PLUGIN_INVALID",
            "outcome.ranked is empty",
        ),
        (
            json!({"mode": "bad-score"}),
            "PLUGIN_INVALID",
            "score.value is NaN",
        ),
        (
            json!({"mode": "error"}),
            "STRATEGY_FAILED",
            "this strategy always fails",
        ),
        (
            json!({"mode": "long-error", "bytes": 1_000_000}),
            "STRATEGY_FAILED",
            "xxx",
        ),
        (json!({"mode": "sleep"}), "DEADLINE_EXCEEDED", "2 s"),
        (json!({"mode": "timer"}), "DEADLINE_EXCEEDED", "2 s"),
    ]
}

/// What plugins write is cut off, and said to be.
fn assert_log_is_bounded(host: &Host) {
    let log = host.log();
    let bytes = log.len();
    assert!(bytes < 1 << 20, "the host logged {bytes} bytes");
    assert!(log.contains("further lines are dropped"), "{log}");
}

#[tokio::test]
async fn a_strategy_that_misbehaves_fails_alone() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    for (params, reason, words) in failing_modes() {
        // Only what waits needs a short time; the others must not meet it on a busy machine.
        let waits = reason == "DEADLINE_EXCEEDED";
        let timeout = Duration::from_secs(if waits { 2 } else { 60 });
        let hostile = draft(&["answer:yes"])
            .strategy("hostile", params.clone())
            .timeout(timeout);
        let done = client.run(hostile).await.unwrap();
        let (has_reason, message) = failure(&done);
        assert_eq!(
            (done.state(), has_reason),
            (State::Failed, reason),
            "{params}: {message}"
        );
        assert!(message.contains(words), "{params}: {message}");
    }
    assert_log_is_bounded(&host);
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_strategy_without_end_is_ended_by_its_deadline_and_its_generation_with_it() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let wall = draft(&["hang"]).strategy("hostile", json!({"mode": "wall"}));
    let done = client
        .run(wall.timeout(Duration::from_secs(5)))
        .await
        .unwrap();
    assert_eq!(failure(&done).0, "DEADLINE_EXCEEDED", "{done:?}");
    let usage = done.usage.unwrap();
    // Its generation has the same deadline, and may meet it first.
    let ended = usage.generations_cancelled + usage.generations_failed;
    assert_eq!((usage.generations, ended), (1, 1), "{usage:?}");
    let aborted = stub.until(|requests| {
        let mut hanging = requests.iter().filter(|request| request.model == "hang");
        hanging.all(|request| request.state == stub_server::State::Aborted)
    });
    within("the model server to be told", aborted)
        .await
        .unwrap();
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_trap_aborts_the_generations_that_were_submitted_before_it() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let trap = draft(&["hang"]).strategy("hostile", json!({"mode": "trap-after-submit"}));
    let done = client.run(trap).await.unwrap();
    assert_eq!(failure(&done).0, "PLUGIN_TRAPPED", "{done:?}");
    let usage = done.usage.unwrap();
    assert_eq!(
        (usage.generations, usage.generations_cancelled),
        (1, 1),
        "{usage:?}"
    );
    // If it came to the model server at all, it is aborted there.
    let aborted = stub.until(|requests| {
        let mut hanging = requests.iter().filter(|request| request.model == "hang");
        hanging.all(|request| request.state == stub_server::State::Aborted)
    });
    within("the model server to be told", aborted)
        .await
        .unwrap();
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_strategy_that_floods_its_log_loses_the_rest_of_it_and_nothing_else() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    for mode in ["log-flood", "print-flood"] {
        let flood = json!({"mode": mode, "count": 1_000, "bytes": 200});
        let done = client
            .run(draft(&["answer:yes"]).strategy("hostile", flood))
            .await
            .unwrap();
        assert_eq!(failure(&done), ("", ""), "{mode}");
        assert_eq!(answers(&done), ["still here"], "{mode}");
    }
    assert_log_is_bounded(&host);
}

#[tokio::test]
async fn a_strategy_is_told_of_the_limit_that_its_generations_met() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let cases = [
        (
            "submit-flood",
            "submitted",
            "8",
            "limits.open_generations_max",
        ),
        ("generate-flood", "finished", "40", "limits.generations_max"),
        ("strange-agent", "submitted", "0", "nobody"),
        ("large-prompt", "submitted", "0", "at most 4194304"),
    ];
    for (mode, counted, count, words) in cases {
        let flood = json!({"mode": mode, "count": 100_000, "bytes": 5 << 20});
        let done = client
            .run(draft(&["answer:yes"]).strategy("hostile", flood))
            .await
            .unwrap();
        let told = done
            .outcome
            .clone()
            .map(|outcome| outcome.metadata)
            .unwrap_or_default();
        assert_eq!(
            told.get(counted).map(String::as_str),
            Some(count),
            "{mode}: {done:?}"
        );
        assert!(told["failure"].contains(words), "{mode}: {told:?}");
        let usage = done.usage.unwrap();
        let ended =
            usage.generations_completed + usage.generations_failed + usage.generations_cancelled;
        assert_eq!(ended, usage.generations, "{mode}: {usage:?}");
    }
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_scorer_that_misbehaves_fails_its_deliberation_alone() {
    let stub = StubServer::start().await.unwrap();
    let (host, _plugins) = hostile_host(&stub).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let cases = [
        ("nan", "PLUGIN_INVALID", "score.value is NaN"),
        ("out-of-range", "PLUGIN_INVALID", "score.value is 2"),
        ("negative", "PLUGIN_INVALID", "score.value is -0.5"),
        (
            "out-of-range-confidence",
            "PLUGIN_INVALID",
            "score.confidence is 1.5",
        ),
        ("wrong-count", "PLUGIN_INVALID", "1 scores for 2 candidates"),
        ("trap", "PLUGIN_TRAPPED", "scorer `hostile-scorer@"),
        (
            "spin",
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.cpu_slice_ms_max",
        ),
        (
            "allocate",
            "PLUGIN_LIMIT_EXCEEDED",
            "plugins.limits.memory_bytes_max",
        ),
        ("error", "STRATEGY_FAILED", "this scorer always fails"),
    ];
    let voting = |mode: &str| {
        draft(&["answer:yes", "answer:no"])
            .strategy("sample-vote", json!({"stop": {"rule": "none"}}))
            .scorer("hostile-scorer", json!({"mode": mode}))
    };
    for (mode, reason, words) in cases {
        let done = client.run(voting(mode)).await.unwrap();
        let (has_reason, message) = failure(&done);
        assert_eq!(
            (done.state(), has_reason),
            (State::Failed, reason),
            "{mode}: {message}"
        );
        assert!(
            message.contains(words) && message.contains("hostile-scorer"),
            "{mode}: {message}"
        );
        assert_eq!(done.usage.unwrap().generations_completed, 2, "{mode}");
    }
    let done = client.run(voting("ok")).await.unwrap();
    assert_eq!(done.state(), State::Completed, "{done:?}");
    beside.ends_unaffected(&stub, &client).await.unwrap();
}
