//! What a scorer may do, and who is told when it does not.

use std::sync::Arc;

use conclave_core::entry::Entry;
use conclave_core::outcome::{Candidate, CauseKind, Proposal, Score};
use conclave_core::plugin::Kind;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::runtime::{ScriptedRuntime, score};

use crate::support::{
    Notes, SECOND, answer, ask, candidate, cause, generate, host, run, spent, winner,
};

type Scores = Result<Vec<Score>, Error>;
type Scorer = fn() -> Scores;

fn answering() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::answering("seven"))
}

/// Puts two candidates forward, and answers with what the scorer said of them.
async fn graded(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let scored = guest
        .score(vec![candidate("one"), candidate("two")])
        .await?;
    let text = match scored {
        Ok(scores) => format!(
            "{:?}",
            scores.iter().map(|score| score.value).collect::<Vec<_>>()
        ),
        Err(failure) => format!("{}: {failure}", failure.kind()),
    };
    Ok(answer(&text))
}

fn scored_by(scorer: fn() -> Scores) -> ScriptedRuntime {
    ScriptedRuntime::new(graded).with_scorer(move |_, _, _| async move { scorer() })
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_breaks_its_contract_fails_the_deliberation_under_its_name() {
    let confident = || {
        let mut scores = vec![score(0.5), score(0.5)];
        scores[1].confidence = Some(1.5);
        Ok(scores)
    };
    let broken: [(Scorer, &str); 6] = [
        (
            || Ok(vec![score(0.5), score(f64::NAN)]),
            "score.value is NaN",
        ),
        (
            || Ok(vec![score(0.5), score(f64::INFINITY)]),
            "score.value is inf",
        ),
        (|| Ok(vec![score(-0.1), score(0.5)]), "score.value is -0.1"),
        (
            || Ok(vec![score(0.5)]),
            "it returned 1 scores for 2 candidates",
        ),
        (
            || Ok(vec![score(0.5); 3]),
            "it returned 3 scores for 2 candidates",
        ),
        (confident, "score.confidence is 1.5"),
    ];
    for (scorer, rule) in broken {
        let (view, records) = run(&answering(), scored_by(scorer)).await;
        let cause = cause(&view);
        assert_eq!(cause.kind, CauseKind::PluginInvalid, "{cause}");
        let start = format!("scorer `scripted@1.0.0` broke its contract: {rule}");
        assert!(cause.message.starts_with(&start), "{cause}");
        assert_eq!(cause.by, Some(Kind::Scorer));
        let given = records
            .iter()
            .filter(|record| matches!(record.entry, Entry::Scored { .. }));
        assert_eq!(given.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_traps_fails_the_deliberation_under_its_name() {
    let traps = || Scores::Err(Error::Trapped("integer divide by zero".to_owned()));
    let (view, _) = run(&answering(), scored_by(traps)).await;
    assert_eq!(cause(&view).kind, CauseKind::PluginTrapped);
    assert_eq!(cause(&view).by, Some(Kind::Scorer));
    assert_eq!(
        cause(&view).message,
        "scorer `scripted@1.0.0` trapped: integer divide by zero"
    );
}

#[tokio::test(start_paused = true)]
async fn a_scorers_own_error_reaches_the_strategy_as_rejected() {
    let refuses = || Scores::Err(Error::Refused("the verdict is not JSON".to_owned()));
    let (view, _) = run(&answering(), scored_by(refuses)).await;
    assert_eq!(
        winner(&view),
        "rejected: scorer `scripted@1.0.0`: the verdict is not JSON"
    );
}

#[tokio::test(start_paused = true)]
async fn grades_reach_the_strategy_in_the_order_of_the_candidates() {
    let runtime = ScriptedRuntime::new(graded).with_scorer(|_, candidates: Vec<Candidate>, _| {
        let grade =
            |candidate: &Candidate| score(if candidate.content == "two" { 1.0 } else { 0.0 });
        let scores = candidates.iter().map(grade).collect();
        async move { Ok(scores) }
    });
    let (view, _) = run(&answering(), runtime).await;
    assert_eq!(winner(&view), "[0.0, 1.0]");
}

#[tokio::test(start_paused = true)]
async fn no_candidates_are_rejected_before_the_scorer_is_called() {
    let runtime = ScriptedRuntime::new(|_, guest: Guest| async move {
        let failure = guest.score(Vec::new()).await?.expect_err("it is refused");
        Ok(answer(&failure.to_string()))
    });
    let (view, records) = run(&answering(), runtime).await;
    assert_eq!(
        winner(&view),
        "candidates is empty, there must be at least one"
    );
    assert_eq!(records.len(), 2, "nothing is journaled for it");
}

#[tokio::test(start_paused = true)]
async fn what_a_scorer_leaves_open_is_cancelled_when_it_returns() {
    let notes = Notes::default();
    let inference = Arc::new(ScriptedInference::new(|request, _| {
        match request.id.job.0 {
            1 | 3 => Script::answer("seven").after(SECOND),
            _ => Script::tokens(["never ", "ends"]).then_hang(),
        }
    }));
    let (watched, told) = (Arc::clone(&inference), notes.clone());
    let strategy = move |_: PluginTask, guest: Guest| {
        let (inference, notes) = (Arc::clone(&watched), told.clone());
        async move {
            let _ = guest.score(vec![candidate("one")]).await?;
            let _ = generate(&guest, "a", "question").await?;
            notes.note(inference.attempts(CallState::Aborted).len());
            notes.note(guest.remaining()?.open_generations.unwrap_or(0));
            Ok(answer("done"))
        }
    };
    let runtime = ScriptedRuntime::new(strategy).with_scorer(|_, _, guest: Guest| async move {
        let first = ask(&guest, "", "is it good?")?;
        ask(&guest, "", "is it bad?")?;
        let _ = guest.wait(first).await?;
        Ok(vec![score(1.0)])
    });
    let (_, records) = run(&inference, runtime).await;
    assert_eq!(notes.take(), ["1", "64"]);
    assert_eq!(spent(&records).generations_cancelled, 1);
    assert_eq!(spent(&records).wasted_tokens, 2);
}

#[tokio::test(start_paused = true)]
async fn a_scorer_has_its_own_params_and_its_own_randomness() {
    let notes = Notes::default();
    let (strategy, scorer) = (notes.clone(), notes.clone());
    let runtime = ScriptedRuntime::new(move |task: PluginTask, guest: Guest| {
        strategy.note(format!("{} {}", task.params, guest.random_u32()));
        async move {
            for _ in 0..2 {
                let _ = guest.score(vec![candidate("one")]).await?;
            }
            Ok(answer("done"))
        }
    })
    .with_scorer(move |task, _, guest: Guest| {
        scorer.note(format!("{} {}", task.params, guest.random_u32()));
        async { Ok(vec![score(1.0)]) }
    });
    let host = host(&answering(), runtime).await;
    let params = |draft: &mut conclave_core::request::Draft| {
        draft.strategy_params = r#"{"count": 1}"#.to_owned();
        draft.scorer_params = r#"{"count": 2}"#.to_owned();
    };
    let id = host.accept(params).await;
    host.follow.wait(&id).await.expect("it finishes");
    let notes = notes.take();
    let (params, drawn): (Vec<_>, Vec<_>) =
        notes.iter().filter_map(|note| note.split_once(' ')).unzip();
    assert_eq!(
        params,
        [r#"{"count":1}"#, r#"{"count":2}"#, r#"{"count":2}"#]
    );
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2], "{drawn:?}");
}
