//! How deliberations end, and what becomes of what is still open then.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_core::entry::{Entry, Record};
use conclave_core::follow;
use conclave_core::generation::Failure;
use conclave_core::outcome::{CauseKind, Completeness, Proposal, Verdict};
use conclave_core::plugin::Kind;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::runtime::{ScriptedRuntime, score};
use conclave_core::view::State;

use crate::support::{
    Notes, SECOND, answer, ask, ask_once, candidate, cause, generate, host, rejected, resume, run,
    sent, spent, through, verdict, winner,
};

/// Sends two tokens, and nothing more.
fn silent() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::new(|_, _| {
        Script::tokens(["two ", "tokens"]).then_hang()
    }))
}

fn answering() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::answering("seven"))
}

fn ends(records: &[Record]) -> Vec<&Result<conclave_core::generation::Generation, Failure>> {
    let ends = records.iter().filter_map(|record| match &record.entry {
        Entry::Completed { result, .. } => Some(result),
        _ => None,
    });
    ends.collect()
}

/// A bug in the host, or in the runtime, costs GPU time no longer than it must.
#[tokio::test(start_paused = true)]
async fn a_session_that_panics_rests_and_its_generations_are_aborted() {
    let inference = silent();
    let runtime = ScriptedRuntime::new(|_, guest| async move {
        ask(&guest, "a", "question")?;
        tokio::time::sleep(SECOND).await;
        unreachable!("this is a bug")
    });
    let host = host(&inference, runtime).await;
    let id = host.accept(|_| ()).await;
    let end = host.follow.wait(&id).await;
    assert!(matches!(end, Err(follow::Error::Resting(_))), "{end:?}");
    let aborted = |calls: &Vec<_>| !calls.is_empty();
    inference.until(aborted).await;
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    assert!(host.tasks.drained(SECOND).await, "no task is left");
}

/// A generation has the deliberation's deadline too: what the strategy makes of that comes too late.
#[tokio::test(start_paused = true)]
async fn what_a_strategy_returns_behind_the_deadline_is_not_its_end() {
    let runtime = ScriptedRuntime::new(|_, _| async {
        // The clock moves, and nobody else is polled before this returns.
        let mut passing = Box::pin(tokio::time::advance(5 * SECOND));
        let _ = futures::poll!(passing.as_mut());
        Err(Error::Refused(
            "the generation's deadline passed".to_owned(),
        ))
    });
    let host = host(&answering(), runtime).await;
    let id = host.accept(|draft| draft.timeout = Some(5 * SECOND)).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(cause(&view).kind, CauseKind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_fails_the_deliberation_and_aborts_its_generations() {
    let inference = silent();
    let host = host(&inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|draft| draft.timeout = Some(5 * SECOND)).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(cause(&view).kind, CauseKind::DeadlineExceeded);
    assert_eq!(
        cause(&view).message,
        "the deliberation did not finish within its timeout of 5 s"
    );
    assert!(
        (5000..5100).contains(&view.last_at_ms),
        "{}",
        view.last_at_ms
    );
    let aborted = |calls: &Vec<_>| !calls.is_empty();
    inference.until(aborted).await;
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    assert_eq!(view.spent.wasted_tokens, 2);
    assert_eq!(view.spent.generations_cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_deliberation_aborts_its_generations() {
    let inference = silent();
    let host = host(&inference, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    inference.until(|calls| calls.len() == 1).await;
    tokio::time::sleep(SECOND).await;
    let view = host.follow.cancel(&id, "no longer needed".to_owned()).await;
    let view = view.expect("it is cancelled");
    assert_eq!(view.state, State::Cancelled("no longer needed".to_owned()));
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    let records = host.records(&id);
    through(
        &records,
        |entry| matches!(entry, Entry::CancelRequested { reason } if reason == "no longer needed"),
    );
    assert_eq!(ends(&records), [&Err(Failure::Cancelled)]);
    assert_eq!(spent(&records).wasted_tokens, 2);
    assert_eq!(spent(&records).generations_cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_the_journal_holds_is_fulfilled_after_a_restart() {
    let host = host(&silent(), ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    tokio::time::sleep(SECOND).await;
    let cancelled = host.follow.cancel(&id, "stop".to_owned()).await;
    cancelled.expect("it is cancelled");
    let whole = host.records(&id);
    let kept = through(&whole, |entry| {
        matches!(entry, Entry::CancelRequested { .. })
    });
    let second = answering();
    let (view, _) = resume(&whole, kept, &second, ScriptedRuntime::new(ask_once)).await;
    assert_eq!(view.state, State::Cancelled("stop".to_owned()));
    assert_eq!(sent(&second), []);
}

#[tokio::test(start_paused = true)]
async fn an_early_return_cancels_the_open_generations() {
    async fn hasty(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        let first = ask(&guest, "a", "question")?;
        ask(&guest, "b", "question")?;
        let text = guest.wait(first).await?.expect("it is answered").text;
        Ok(answer(&text))
    }
    let inference = Arc::new(ScriptedInference::new(|request, _| {
        match request.id.job.0 {
            1 => Script::answer("seven").after(SECOND),
            _ => Script::tokens(["never ", "ends ", "this"]).then_hang(),
        }
    }));
    let (view, records) = run(&inference, ScriptedRuntime::new(hasty)).await;
    assert_eq!(winner(&view), "seven");
    assert_eq!(inference.attempts(CallState::Aborted).len(), 1);
    assert_eq!(ends(&records)[1], &Err(Failure::Cancelled));
    let spent = spent(&records);
    assert_eq!((spent.generations, spent.generations_completed), (2, 1));
    assert_eq!((spent.generations_cancelled, spent.wasted_tokens), (1, 3));
    // Once for each generation.
    assert_eq!(ends(&records).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_allowed_metadata_reaches_a_plugin() {
    let notes = Notes::default();
    let look = {
        let notes = notes.clone();
        move |who: &str, task: &PluginTask| notes.note(format!("{who}: {:?}", task.task.metadata))
    };
    let graded = look.clone();
    let runtime = ScriptedRuntime::new(move |task: PluginTask, guest: Guest| {
        look("strategy", &task);
        async move {
            let _ = guest.score(vec![candidate("answer")]).await?;
            Ok(answer("done"))
        }
    });
    let runtime = runtime.with_scorer(move |task, _, _| {
        graded("scorer", &task);
        async { Ok(vec![score(1.0)]) }
    });
    let host = host(&answering(), runtime).await;
    let metadata = [("language", "en"), ("api_key", "secret")];
    let metadata: BTreeMap<_, _> = metadata
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let id = host.accept(|draft| draft.metadata = metadata.clone()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    let allowed = [
        "strategy: {\"language\": \"en\"}",
        "scorer: {\"language\": \"en\"}",
    ];
    assert_eq!(notes.take(), allowed);
    // The client's own record of what it asked for is whole.
    assert_eq!(view.accepted.request.task.metadata, metadata);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_answered_by_its_model_and_no_agent_by_the_tasks() {
    async fn poll(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        for agent in ["a", "b", ""] {
            let _ = generate(&guest, agent, "question").await?;
        }
        Ok(answer("done"))
    }
    let inference = answering();
    let host = host(&inference, ScriptedRuntime::new(poll)).await;
    let own = |draft: &mut conclave_core::request::Draft| {
        draft.agents[1].model = "model-b".to_owned();
    };
    let id = host.accept(own).await;
    host.follow.wait(&id).await.expect("it finishes");
    let calls = inference.calls();
    let models = calls.iter().map(|call| call.request.model.as_str());
    assert_eq!(
        models.collect::<Vec<_>>(),
        ["model-1", "model-b", "model-1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_proposal_that_breaks_the_contract_is_invalid() {
    let empty = || Proposal {
        ranked: Vec::new(),
        ..answer("")
    };
    let graded = |value: f64| {
        let mut proposal = answer("best");
        proposal.ranked[0].score = score(value);
        proposal
    };
    let proposals = [
        (empty(), "outcome.ranked is empty"),
        (graded(f64::NAN), "score.value is NaN"),
        (graded(1.5), "score.value is 1.5"),
        (graded(-0.1), "score.value is -0.1"),
    ];
    for (proposal, rule) in proposals {
        let runtime = ScriptedRuntime::new(move |_, _| {
            let proposal = proposal.clone();
            async { Ok(proposal) }
        });
        let (view, _) = run(&answering(), runtime).await;
        let cause = cause(&view);
        assert_eq!(cause.kind, CauseKind::PluginInvalid, "{cause}");
        let start = format!("strategy `scripted@1.0.0` broke its contract: {rule}");
        assert!(cause.message.starts_with(&start), "{cause}");
        assert_eq!(cause.by, Some(Kind::Strategy));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_strategy_fails_the_deliberation_under_its_name() {
    type End = fn() -> Error;
    let ends: [(End, CauseKind, &str); 3] = [
        (
            || Error::Refused("no majority".to_owned()),
            CauseKind::StrategyFailed,
            "no majority",
        ),
        (
            || Error::Trapped("unreachable".to_owned()),
            CauseKind::PluginTrapped,
            "unreachable",
        ),
        (
            || Error::LimitExceeded {
                limit: "plugins.memory",
                detail: "64 MiB".to_owned(),
            },
            CauseKind::PluginLimitExceeded,
            "plugins.memory",
        ),
    ];
    for (end, kind, text) in ends {
        let runtime = ScriptedRuntime::new(move |_, _| async move { Err(end()) });
        let (view, _) = run(&answering(), runtime).await;
        assert_eq!(cause(&view).kind, kind);
        assert_eq!(cause(&view).by, Some(Kind::Strategy));
        assert!(
            cause(&view)
                .message
                .starts_with("strategy `scripted@1.0.0`")
        );
        assert!(cause(&view).message.contains(text), "{}", cause(&view));
    }
}

#[tokio::test(start_paused = true)]
async fn when_every_generation_fails_all_agents_failed_whatever_the_strategy_returns() {
    for refuses in [false, true] {
        let inference = Arc::new(ScriptedInference::new(|_, _| Script::fail(rejected())));
        let runtime = ScriptedRuntime::new(move |_, guest: Guest| async move {
            for agent in ["a", "b"] {
                let failed = generate(&guest, agent, "question").await?;
                assert!(failed.is_err());
            }
            match refuses {
                true => Err(Error::Refused("nobody answered".to_owned())),
                false => Ok(answer("a guess")),
            }
        });
        let (view, records) = run(&inference, runtime).await;
        assert_eq!(cause(&view).kind, CauseKind::AllAgentsFailed);
        assert!(cause(&view).message.contains("the prompt is too long"));
        assert_eq!(spent(&records).generations_failed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_tells_how_many_agents_answered() {
    async fn poll(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        for agent in ["a", "b"] {
            let _ = generate(&guest, agent, "question").await?;
        }
        Ok(answer("done"))
    }
    let inference = ScriptedInference::in_turn([Script::answer("seven"), Script::fail(rejected())]);
    let (_, records) = run(&Arc::new(inference), ScriptedRuntime::new(poll)).await;
    let Verdict::Completed(outcome) = verdict(&records) else {
        unreachable!("it completes");
    };
    let expected = Completeness {
        agents: 3,
        agents_completed: 1,
        agents_failed: 1,
    };
    assert_eq!(outcome.completeness, expected);
}
