//! Each misbehaviour ends in its typed error, and a run beside it is not affected.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conclave_core::outcome::CauseKind;
use conclave_core::view::State;
use serde_json::{Value, json};

use super::{Bench, Compiler, PluginLimits, built, limits, program};

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
async fn calls_between_computing_do_not_lengthen_the_cpu_time_in_all() {
    let cause = cause_of(json!({"mode": "stutter"})).await;
    exceeds("cpu_ms_max", &cause);
}

/// CPU time decides, not the clock on the wall: how busy the machine is does not matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_computes_without_end_is_stopped_within_50_ms_of_its_budget() {
    let cases = [
        (json!({"mode": "spin"}), 300),
        (json!({"mode": "stutter"}), 900),
        // One instruction writes all of it, and no tick ends that.
        (json!({"mode": "fill", "bytes": 6 << 20}), 300),
        // The host takes the time, on the plugin's behalf.
        (json!({"mode": "long-strings", "bytes": 900_000}), 900),
        (json!({"mode": "overflow"}), 300),
    ];
    let taken = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&taken);
    let bench = Bench::measured(limits(), move |call| {
        told.lock().unwrap().push((call.result, call.cpu));
    });
    for (params, budget_ms) in cases {
        let cause = bench.run(params.clone()).await.unwrap_err();
        let (result, cpu) = taken.lock().unwrap().pop().unwrap();
        let late = cpu.saturating_sub(Duration::from_millis(budget_ms));
        assert!(late < Duration::from_millis(50), "{params}: {late:?} late");
        let stopped = ["limit_exceeded", "trapped"].contains(&result);
        assert!(stopped, "{params}: {cause:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_goes_on_while_a_plugin_computes() {
    let proposal = Bench::new(PluginLimits {
        cpu_slice_ms_max: 10_000,
        cpu_ms_max: 10_000,
        ..limits()
    })
    .run(json!({"mode": "clocks"}))
    .await
    .unwrap();
    for clock in ["elapsed", "monotonic", "system"] {
        assert_eq!(proposal.metadata[clock], "0", "{clock}");
    }
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

/// As when the system is short of memory for a moment.
#[tokio::test]
async fn a_component_whose_compiler_is_killed_is_compiled_later() {
    let dir = tempfile::tempdir().unwrap();
    let engine = wasmtime::Engine::new(&crate::wasm::engine::options()).unwrap();
    for name in ["hostile", "hostile-scorer"] {
        let code = engine.precompile_component(built(name)).unwrap();
        std::fs::write(dir.path().join(built(name).len().to_string()), code).unwrap();
    }
    // Killed the first two times; then it gives the machine code of the component of this size.
    let at = dir.path().display();
    let compiler = program(
        dir.path(),
        &format!(
            r#"for time in 1 2; do
                if ! [ -e {at}/killed-$time ]; then : > {at}/killed-$time; kill -9 $$; fi
            done
            exec /bin/cat {at}/$3"#
        ),
    );
    let bench = Bench::compiled_by(Compiler::Child(compiler));
    bench.run(json!({"mode": "ok"})).await.unwrap();
    assert!(dir.path().join("killed-2").exists());
}

/// One worker has all sessions and timers. That sound runs come to their end while spinners do not
/// shows that these leave it: nothing here depends on how quick the machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spinning_plugins_delay_no_timer_and_no_run_beside_them() {
    let bench = Bench::new(PluginLimits {
        cpu_slice_ms_max: 3_600_000,
        cpu_ms_max: 3_600_000,
        ..limits()
    });
    let mut spinning = Vec::new();
    for _ in 0..4 {
        spinning.push(bench.accept(&json!({"mode": "spin"}), &json!({})).await);
    }
    for _ in 0..20 {
        bench.run(json!({"mode": "ok"})).await.unwrap();
        let timer = json!({"mode": "timer", "milliseconds": 1});
        bench.run(timer).await.unwrap();
    }
    for id in spinning {
        let ended = bench.host.follow.cancel(&id, "enough".to_owned()).await;
        let ended = ended.unwrap().state;
        // They spun to the last.
        assert!(matches!(ended, State::Cancelled(_)), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_spins_has_left_its_place_when_its_session_is_over() {
    let bench = Bench::new(PluginLimits {
        cpu_slice_ms_max: 3_600_000,
        cpu_ms_max: 3_600_000,
        ..limits()
    });
    // Many more than may be live at once, one after the other: each gives its place back.
    for _ in 0..40 {
        let id = bench.accept(&json!({"mode": "spin"}), &json!({})).await;
        bench
            .host
            .follow
            .cancel(&id, "enough".to_owned())
            .await
            .unwrap();
    }
    bench.run(json!({"mode": "ok"})).await.unwrap();
}
