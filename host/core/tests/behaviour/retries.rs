//! Failed generations are tried again where that can help, within their bounds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_core::entry::{Entry, Record};
use conclave_core::generation::Failure;
use conclave_core::ids::ModelName;
use conclave_core::inference;
use conclave_core::outcome::CauseKind;
use conclave_core::runtime::PluginTask;
use conclave_core::session::Guest;
use conclave_core::testkit::host::prompt;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::runtime::ScriptedRuntime;
use tokio::time::Instant;

use crate::support::{
    Notes, SECOND, answer, ask_once, attempts, cause, generate, host, overloaded, rejected, resume,
    sent, spent, through, winner,
};

type Times = Arc<Mutex<Vec<Instant>>>;

/// Plays a script a call, and notes when each call came.
fn timed(
    script: impl Fn(u32) -> Script + Send + Sync + 'static,
) -> (Arc<ScriptedInference>, Times) {
    let times = Times::default();
    let noted = Arc::clone(&times);
    let inference = ScriptedInference::new(move |_, call| {
        noted.lock().expect("no panic").push(Instant::now());
        script(call)
    });
    (Arc::new(inference), times)
}

/// The waits between the calls.
fn gaps(times: &Times) -> Vec<Duration> {
    let times = times.lock().expect("no panic");
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Runs [`ask_once`] with so many retries.
async fn run(
    inference: &Arc<ScriptedInference>,
    retries_max: u32,
    timeout: Duration,
) -> (conclave_core::view::View, Vec<Record>) {
    let host = host(inference, ScriptedRuntime::new(ask_once)).await;
    let change = |draft: &mut conclave_core::request::Draft| {
        draft.retries_max = Some(retries_max);
        draft.timeout = Some(timeout);
    };
    let id = host.accept(change).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    (view, host.records(&id))
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_is_tried_again_at_most_retries_max_times() {
    for retries_max in [0, 2] {
        let inference = Arc::new(ScriptedInference::new(|_, _| {
            Script::tokens(["lost"]).then_fail(overloaded(None))
        }));
        let (view, records) = run(&inference, retries_max, 300 * SECOND).await;
        let all: Vec<_> = (1..=retries_max + 1).map(|n| (1, n)).collect();
        assert_eq!(sent(&inference), all);
        assert_eq!(attempts(&records), all);
        assert_eq!(cause(&view).kind, CauseKind::AllAgentsFailed);
        let tries = format!("overloaded (status 429) (attempt {})", retries_max + 1);
        assert!(cause(&view).message.ends_with(&tries), "{}", cause(&view));
        assert_eq!(spent(&records).wasted_tokens, u64::from(retries_max) + 1);
        assert_eq!(spent(&records).generations_failed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_says_why_the_one_before_it_failed() {
    let scripts = [
        Script::tokens(["lost"]).then_fail(overloaded(None)),
        Script::answer("found"),
    ];
    let inference = Arc::new(ScriptedInference::in_turn(scripts));
    let (view, records) = run(&inference, 3, 300 * SECOND).await;
    assert_eq!(winner(&view), "found");
    let reasons = records.iter().filter_map(|record| match &record.entry {
        Entry::Attempt { after, .. } => Some(after.clone()),
        _ => None,
    });
    let text = "http://127.0.0.1:8000/ is overloaded (status 429) (attempt 1)";
    let reasons: Vec<_> = reasons.collect();
    assert_eq!(reasons[0], None);
    let Some(Failure::Unavailable(reason)) = &reasons[1] else {
        unreachable!("{reasons:?}");
    };
    assert_eq!(reason.replace(":8000 ", ":8000/ "), text);
    // Only the tokens of the attempt that failed are wasted.
    assert_eq!(spent(&records).wasted_tokens, 1);
    assert_eq!(spent(&records).completion_tokens, 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_cannot_pass_is_not_tried_again() {
    let inference = Arc::new(ScriptedInference::new(|_, _| Script::fail(rejected())));
    let (view, _) = run(&inference, 10, 300 * SECOND).await;
    assert_eq!(sent(&inference), [(1, 1)]);
    assert!(cause(&view).message.contains("the prompt is too long"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_comes_no_sooner_than_the_server_asks() {
    let (inference, times) = timed(|call| match call {
        1 => Script::fail(overloaded(Some(70 * SECOND))),
        _ => Script::answer("found"),
    });
    let (view, _) = run(&inference, 3, 300 * SECOND).await;
    assert_eq!(winner(&view), "found");
    let gaps = gaps(&times);
    assert!((70 * SECOND..71 * SECOND).contains(&gaps[0]), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_waits_grow_within_their_bounds() {
    let (inference, times) = timed(|_| Script::fail(overloaded(None)));
    run(&inference, 10, 1800 * SECOND).await;
    let gaps = gaps(&times);
    assert_eq!(gaps.len(), 10);
    for (retry, gap) in gaps.iter().enumerate() {
        let bound = Duration::from_millis(500 << retry).min(30 * SECOND);
        assert!(*gap <= bound + Duration::from_millis(2), "{retry}: {gap:?}");
    }
    // Jitter is full, so that single waits may be short; ten in a row are not.
    assert!(gaps.iter().sum::<Duration>() > 5 * SECOND, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cannot_come_before_the_deadline_fails_at_once() {
    let (inference, _) = timed(|_| Script::fail(overloaded(Some(100 * SECOND))));
    let (view, records) = run(&inference, 10, 50 * SECOND).await;
    assert_eq!(sent(&inference), [(1, 1)]);
    assert_eq!(cause(&view).kind, CauseKind::AllAgentsFailed);
    let text = "the deadline passes before it may be tried again";
    assert!(cause(&view).message.ends_with(text), "{}", cause(&view));
    assert!(records.last().is_some_and(|last| last.at_ms < 1000));
}

#[tokio::test(start_paused = true)]
async fn a_generations_own_deadline_ends_it_alone() {
    let notes = Notes::default();
    let told = notes.clone();
    let runtime = ScriptedRuntime::new(move |_: PluginTask, guest: Guest| {
        let notes = told.clone();
        async move {
            let _ = generate(&guest, "a", "first").await?;
            let mut request = prompt("b", "question");
            request.deadline_ms = Some(2000);
            let job = guest.submit(request)?.expect("it is sound");
            let end = guest.wait(job).await?.expect_err("it hangs");
            notes.note(format!("{} at {}", end.kind(), guest.elapsed_ms()));
            Ok(answer("done"))
        }
    });
    let (inference, _) = timed(|call| match call {
        1 => Script::answer("seven").after(10 * SECOND),
        _ => Script::tokens(["two ", "tokens"]).then_hang(),
    });
    let host = host(&inference, runtime).await;
    let id = host.accept(|_| ()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(winner(&view), "done");
    let told = notes.take();
    // Counted from its submit, not from the acceptance.
    let at: u64 = told[0]
        .rsplit(' ')
        .next()
        .and_then(|at| at.parse().ok())
        .expect("a time");
    assert!(told[0].starts_with("deadline_exceeded at "), "{told:?}");
    assert!((12_000..12_100).contains(&at), "{told:?}");
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    assert_eq!(view.spent.wasted_tokens, 2);
    assert_eq!(view.spent.generations_failed, 1);
    let calls = inference.calls();
    assert!(calls[1].request.timeout <= 2 * SECOND);
    assert!(calls[1].request.timeout > SECOND);
    assert!(calls[0].request.timeout > 299 * SECOND);
}

/// Nothing takes the request, but something may later.
fn not_yet() -> inference::Error {
    inference::Error::NoServer {
        model: ModelName::new("m"),
        reason: "its cluster is drained".to_owned(),
        retry_after: Some(5 * SECOND),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_waits_without_using_up_retries() {
    let (inference, times) = timed(|call| match call {
        20 => Script::answer("found"),
        _ => Script::fail(not_yet()),
    });
    let (view, records) = run(&inference, 0, 300 * SECOND).await;
    assert_eq!(winner(&view), "found");
    let gaps = gaps(&times);
    assert!(
        gaps.iter()
            .all(|gap| (5 * SECOND..6 * SECOND).contains(gap)),
        "{gaps:?}"
    );
    // It is one attempt, which a backend knows by one name.
    assert_eq!(attempts(&records), [(1, 1)]);
    let calls = inference.calls();
    assert!(calls.iter().all(|call| call.request.retries == 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_never_sent_ends_at_its_deadline_and_says_why() {
    let (inference, _) = timed(|_| Script::fail(not_yet()));
    let (view, records) = run(&inference, 0, 60 * SECOND).await;
    assert_eq!(cause(&view).kind, CauseKind::AllAgentsFailed);
    let why = cause(&view).message.clone();
    assert!(why.contains("its cluster is drained"), "{why}");
    let ended = records.last().map(|last| last.at_ms).unwrap_or_default();
    assert!((54_000..=60_000).contains(&ended), "{ended}");
    assert!(sent(&inference).len() > 8);
}

#[tokio::test(start_paused = true)]
async fn a_restart_gives_no_retries_back() {
    let failing = || {
        Arc::new(ScriptedInference::new(|_, _| {
            Script::fail(overloaded(None))
        }))
    };
    let (_, whole) = run(&failing(), 2, 300 * SECOND).await;
    let kept = through(&whole, |entry| {
        matches!(entry, Entry::Attempt { attempt: 2, .. })
    });
    let second = failing();
    let runtime = ScriptedRuntime::new(ask_once);
    let (view, records) = resume(&whole, kept, &second, runtime).await;
    // The third is the second again: its end was not durable. The fourth is the last retry.
    assert_eq!(sent(&second), [(1, 3), (1, 4)]);
    assert_eq!(attempts(&records).len(), 4);
    assert_eq!(cause(&view).kind, CauseKind::AllAgentsFailed);
}
