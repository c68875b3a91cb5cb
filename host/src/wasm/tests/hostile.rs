//! Each misbehaviour ends in its typed error, and a run beside it is not affected.

use std::time::{Duration, Instant};

use conclave_core::outcome::CauseKind;
use conclave_core::view::State;
use serde_json::{Value, json};

use super::{Bench, PluginLimits, limits};

/// The cause that a misbehaviour ends in; a sound run is started before it and ends after it.
async fn cause_of(params: Value) -> (CauseKind, String) {
    let bench = Bench::new(limits());
    let beside = bench
        .accept(&json!({"mode": "timer", "milliseconds": 200}), &json!({}))
        .await;
    let cause = bench.run(params).await.unwrap_err();
    let survivor = bench.end(&beside).await.unwrap();
    assert_eq!(survivor.ranked[0].candidate.content, "still here");
    (cause.kind, cause.message)
}

fn exceeds(limit: &str, (kind, message): &(CauseKind, String)) {
    assert_eq!(*kind, CauseKind::PluginLimitExceeded, "{message}");
    assert!(
        message.contains(&format!("`plugins.limits.{limit}`")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_run_answers() {
    let proposal = Bench::new(limits())
        .run(json!({"mode": "ok"}))
        .await
        .unwrap();
    assert_eq!(proposal.ranked[0].candidate.content, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_trap() {
    let (kind, message) = cause_of(json!({"mode": "trap"})).await;
    assert_eq!(kind, CauseKind::PluginTrapped);
    assert!(
        message.contains("trapped: wasm `unreachable` instruction executed"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_recursion_is_a_trap() {
    let (kind, message) = cause_of(json!({"mode": "overflow"})).await;
    assert_eq!(kind, CauseKind::PluginTrapped, "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spin_exceeds_the_cpu_time_between_host_calls() {
    let cause = cause_of(json!({"mode": "spin"})).await;
    exceeds("cpu_slice_ms_max", &cause);
    assert!(
        cause
            .1
            .contains("at most 300 ms of CPU time between two host calls"),
        "{}",
        cause.1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allocating_without_end_exceeds_the_memory() {
    exceeds(
        "memory_bytes_max",
        &cause_of(json!({"mode": "allocate"})).await,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_calls_exceeds_their_number() {
    exceeds("calls_max", &cause_of(json!({"mode": "call-flood"})).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_many_bytes_exceeds_those_of_a_call() {
    exceeds(
        "call_bytes_max",
        &cause_of(json!({"mode": "long-error", "bytes": 2 << 20})).await,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_the_log_are_dropped_and_the_run_goes_on() {
    for mode in ["log-flood", "print-flood"] {
        let proposal = Bench::new(limits())
            .run(json!({"mode": mode, "count": 1_000}))
            .await;
        assert!(proposal.is_ok(), "{mode}: {proposal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_strategy_is_its_own() {
    let (kind, message) = cause_of(json!({"mode": "error"})).await;
    assert_eq!(kind, CauseKind::StrategyFailed);
    assert!(message.ends_with("this strategy always fails"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_is_no_cpu_time() {
    let tight = PluginLimits {
        cpu_slice_ms_max: 50,
        cpu_ms_max: 100,
        ..limits()
    };
    for mode in ["sleep", "timer"] {
        let bench = Bench::new(tight.clone());
        let began = Instant::now();
        let proposal = bench.run(json!({"mode": mode, "milliseconds": 400})).await;
        assert!(proposal.is_ok(), "{mode}: {proposal:?}");
        assert!(
            began.elapsed() >= Duration::from_millis(400),
            "{mode} did not wait"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_scorer_misbehaves_is_told_to_the_strategy() {
    let bench = Bench::new(limits());
    for mode in ["trap", "spin", "allocate", "error"] {
        let strategy = json!({"mode": "score-flood", "count": 1});
        let id = bench.accept(&strategy, &json!({ "mode": mode })).await;
        let end = bench.end(&id).await;
        // What becomes of it is for the session to say; that it ends is for the runtime.
        let text = format!("{end:?}");
        let expected = match mode {
            "trap" => "unreachable",
            "spin" => "cpu_slice_ms_max",
            "allocate" => "memory_bytes_max",
            _ => "this scorer always fails",
        };
        assert!(text.contains(expected), "{mode}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_scorer_computes_is_not_charged_to_the_strategy() {
    let bench = Bench::new(PluginLimits {
        cpu_slice_ms_max: 1_500,
        cpu_ms_max: 1_500,
        ..limits()
    });
    // Together far more than one instance may take.
    let strategy = json!({"mode": "score-flood", "count": 40});
    let id = bench.accept(&strategy, &json!({"mode": "busy"})).await;
    let proposal = bench.end(&id).await.unwrap();
    assert_eq!(proposal.metadata["scored"], "40", "{proposal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_cannot_be_read_for_now_is_waited_for() {
    let bench = Bench::unreadable_at_first();
    bench.run(json!({"mode": "ok"})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinning_plugins_delay_no_timer() {
    // Spinners that took no turns would hold both workers for as long as this.
    let budget = Duration::from_secs(30);
    let budget_ms = u64::try_from(budget.as_millis()).unwrap();
    let bench = Bench::new(PluginLimits {
        cpu_slice_ms_max: budget_ms,
        cpu_ms_max: budget_ms,
        ..limits()
    });
    // Compiled before the clock runs.
    bench.run(json!({"mode": "ok"})).await.unwrap();
    let mut spinning = Vec::new();
    for _ in 0..4 {
        spinning.push(bench.accept(&json!({"mode": "spin"}), &json!({})).await);
    }
    let mut latest = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        latest = latest.max(began.elapsed());
    }
    for id in spinning {
        let ended = bench.host.follow.cancel(&id, "enough".to_owned()).await;
        let ended = ended.unwrap().state;
        // They spun to the last.
        assert!(matches!(ended, State::Cancelled(_)), "{ended:?}");
    }
    // Four spinners take turns of a tick on two workers, on a machine that others use too.
    assert!(latest < budget / 6, "a timer of 10 ms took {latest:?}");
}
