//! A plugin that does something else when it is run again fails its deliberation, and the message
//! says where, what was expected and what came.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::{Entry, Record};
use conclave_core::ids::{Actor, JobId};
use conclave_core::outcome::{Candidate, CauseKind, Proposal, Score};
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::runtime::{ScriptedRuntime, score};
use conclave_core::view::View;

use crate::support::{
    answer, ask, attempts, candidate, cause, generate, id_of, resume, run, sent, through,
};

/// What one run of the strategy does; every field is an effect, or leads to one.
#[derive(Clone, Copy, Debug)]
struct Plan {
    question: &'static str,
    waits_for_first: bool,
    sleeps_until_ms: u64,
    payload: &'static str,
    graded: &'static str,
    cancels: u32,
    ends: Option<&'static str>,
    asks_for_budget: bool,
}

const PLAN: Plan = Plan {
    question: "question",
    waits_for_first: true,
    sleeps_until_ms: 10_000,
    payload: "1",
    graded: "candidate",
    cancels: 2,
    ends: None,
    asks_for_budget: false,
};

async fn follow(plan: Plan, guest: Guest) -> Result<Proposal, Error> {
    let first = ask(&guest, "a", plan.question)?;
    let others = [ask(&guest, "b", "second")?, ask(&guest, "c", "third")?];
    if plan.waits_for_first {
        let _ = guest.wait(first).await?;
    } else {
        let _ = guest.wait(others[0]).await?;
    }
    // A real plugin computes here; whatever was sent too early would be on its way by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    guest.sleep_until(plan.sleeps_until_ms).await?;
    guest.emit("note".to_owned(), plan.payload.to_owned())?;
    match plan.ends {
        Some("return") => return Ok(answer("early")),
        Some(error) => return Err(Error::Refused(error.to_owned())),
        None => {}
    }
    if plan.asks_for_budget {
        guest.remaining()?;
    }
    let _ = guest.score(vec![candidate(plan.graded)]).await?;
    guest.cancel(JobId(plan.cancels))?;
    Ok(answer("done"))
}

fn planned(plan: Plan) -> ScriptedRuntime {
    ScriptedRuntime::new(move |_, guest| follow(plan, guest))
}

/// Answers the first generation, and never the others.
fn model() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::new(|request, _| {
        match request.id.job.0 {
            1 => Script::answer("one").after(Duration::from_millis(20)),
            _ => Script::hang(),
        }
    }))
}

/// Runs the plan, cuts off the end, and resumes with another plan.
async fn resumed_with(plan: Plan) -> (Vec<Record>, Vec<Record>, View, Arc<ScriptedInference>) {
    let (_, whole) = run(&model(), planned(PLAN)).await;
    let kept = through(&whole, |entry| matches!(entry, Entry::Cancelled { .. }));
    let inference = model();
    let (view, resumed) = resume(&whole, kept, &inference, planned(plan)).await;
    (whole, resumed, view, inference)
}

async fn check(plan: Plan, expected: impl Fn(&Entry) -> bool, actual: &str) {
    let (whole, resumed, view, inference) = resumed_with(plan).await;
    let cause = cause(&view);
    assert_eq!(cause.kind, CauseKind::NondeterministicPlugin, "{cause}");
    let expected = &whole[through(&whole, expected) - 1];
    let start = format!(
        "nondeterministic plugin: strategy `scripted@1.0.0` diverged from its journal at entry {}: expected to {}, actual: {actual}",
        expected.seq,
        expected.entry.describe(),
    );
    assert!(cause.message.starts_with(&start), "{cause}\n{start}");
    assert_eq!(sent(&inference), [], "sent before the replay had caught up");
    assert_eq!(attempts(&resumed), attempts(&whole));
}

#[tokio::test(start_paused = true)]
async fn the_same_plan_does_not_diverge() {
    let (_, _, view, _) = resumed_with(PLAN).await;
    assert_eq!(crate::support::winner(&view), "done");
}

#[tokio::test(start_paused = true)]
async fn another_prompt_diverges_at_its_submit() {
    let plan = Plan {
        question: "another question",
        ..PLAN
    };
    let is_first = |entry: &Entry| matches!(entry, Entry::Submitted { .. });
    check(plan, is_first, "submit generation 1 (agent `a`").await;
}

#[tokio::test(start_paused = true)]
async fn another_order_of_waiting_diverges_at_the_delivery() {
    let plan = Plan {
        waits_for_first: false,
        ..PLAN
    };
    let is_delivery = |entry: &Entry| matches!(entry, Entry::Delivered { .. });
    check(plan, is_delivery, "wait for generation 2").await;
}

#[tokio::test(start_paused = true)]
async fn another_time_diverges_at_its_timer() {
    for sleeps_until_ms in [9_999, 20_000] {
        let plan = Plan {
            sleeps_until_ms,
            ..PLAN
        };
        let actual = Entry::Timer {
            actor: Actor::STRATEGY,
            until_ms: sleeps_until_ms,
        };
        let is_timer = |entry: &Entry| matches!(entry, Entry::Timer { .. });
        check(plan, is_timer, &actual.describe()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_payload_diverges_at_its_emit() {
    let plan = Plan {
        payload: "2",
        ..PLAN
    };
    let actual = Entry::Emitted {
        actor: Actor::STRATEGY,
        kind: "note".to_owned(),
        payload: "2".to_owned(),
    };
    let is_emit = |entry: &Entry| matches!(entry, Entry::Emitted { .. });
    check(plan, is_emit, &actual.describe()).await;
}

#[tokio::test(start_paused = true)]
async fn an_early_return_diverges_at_the_first_effect_left_over() {
    let plan = Plan {
        ends: Some("return"),
        ..PLAN
    };
    let is_scoring = |entry: &Entry| matches!(entry, Entry::Scoring { .. });
    check(plan, is_scoring, "return").await;
}

#[tokio::test(start_paused = true)]
async fn an_early_error_of_the_strategy_diverges_too() {
    let plan = Plan {
        ends: Some("no answer is good enough"),
        ..PLAN
    };
    let is_scoring = |entry: &Entry| matches!(entry, Entry::Scoring { .. });
    check(plan, is_scoring, "return").await;
}

#[tokio::test(start_paused = true)]
async fn other_candidates_diverge_at_their_scoring() {
    let plan = Plan {
        graded: "another candidate",
        ..PLAN
    };
    let is_scoring = |entry: &Entry| matches!(entry, Entry::Scoring { .. });
    check(plan, is_scoring, "score 1 candidate (").await;
}

#[tokio::test(start_paused = true)]
async fn another_cancelled_generation_diverges_at_its_cancel() {
    let plan = Plan { cancels: 3, ..PLAN };
    let is_cancel = |entry: &Entry| matches!(entry, Entry::Cancelled { .. });
    check(plan, is_cancel, "cancel generation 3").await;
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_effect_diverges_where_it_comes() {
    let plan = Plan {
        asks_for_budget: true,
        ..PLAN
    };
    let is_scoring = |entry: &Entry| matches!(entry, Entry::Scoring { .. });
    check(plan, is_scoring, "ask for the remaining budget").await;
}

async fn one_candidate(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let _ = guest.score(vec![candidate("answer")]).await?;
    Ok(answer("done"))
}

type Scores = Result<Vec<Score>, Error>;

/// Asks a model twice.
async fn judge(guest: Guest, question: &'static str) -> Scores {
    let _ = generate(&guest, "", question).await?;
    let _ = generate(&guest, "", "second").await?;
    Ok(vec![score(0.5)])
}

fn judged(question: &'static str) -> ScriptedRuntime {
    ScriptedRuntime::new(one_candidate)
        .with_scorer(move |_, _: Vec<Candidate>, guest| judge(guest, question))
}

/// A journal that ends in the middle of the scorer's call.
async fn in_the_scorer() -> (Vec<Record>, usize) {
    let inference = Arc::new(ScriptedInference::answering("good"));
    let (_, whole) = run(&inference, judged("first")).await;
    let kept = through(&whole, |entry| matches!(entry, Entry::Delivered { .. }));
    (whole, kept)
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_asks_something_else_diverges_under_its_own_name() {
    let (whole, kept) = in_the_scorer().await;
    let inference = Arc::new(ScriptedInference::answering("good"));
    let (view, _) = resume(&whole, kept, &inference, judged("changed")).await;
    let cause = cause(&view);
    assert_eq!(cause.kind, CauseKind::NondeterministicPlugin);
    let start = "nondeterministic plugin: scorer `scripted@1.0.0` diverged from its journal at entry 3: expected to submit generation 1";
    assert!(cause.message.starts_with(start), "{cause}");
    assert!(cause.message.contains("actual: submit generation 1"));
    assert_eq!(sent(&inference), [], "for {}", id_of(&whole));
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_returns_early_diverges_under_its_own_name() {
    let (whole, kept) = in_the_scorer().await;
    let inference = Arc::new(ScriptedInference::answering("good"));
    let runtime =
        ScriptedRuntime::new(one_candidate).with_scorer(|_, _, _| async { Ok(vec![score(0.5)]) });
    let (view, _) = resume(&whole, kept, &inference, runtime).await;
    let cause = cause(&view);
    assert_eq!(cause.kind, CauseKind::NondeterministicPlugin);
    assert!(cause.message.contains("scorer `scripted@1.0.0` diverged"));
    assert!(cause.message.ends_with("actual: return"), "{cause}");
}

/// What could not even start has not diverged: the operator must put the plugin back.
#[tokio::test(start_paused = true)]
async fn a_scorer_that_can_no_longer_be_loaded_is_not_called_nondeterministic() {
    let (whole, kept) = in_the_scorer().await;
    let inference = Arc::new(ScriptedInference::answering("good"));
    let runtime = ScriptedRuntime::new(one_candidate).with_scorer(|_, _, _| async {
        Scores::Err(Error::Unavailable("its file is gone".into()))
    });
    let (view, _) = resume(&whole, kept, &inference, runtime).await;
    let cause = cause(&view);
    assert_eq!(cause.kind, CauseKind::PluginUnavailable, "{cause}");
    assert!(cause.message.contains("its file is gone"), "{cause}");
}
