//! A host that stops lets its deliberations rest; the next one finishes them.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::Entry;
use conclave_core::follow;
use conclave_core::ids::JobId;
use conclave_core::live::{Live, Standing};
use conclave_core::outcome::Proposal;
use conclave_core::run::RunDeliberation;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::testkit::runtime::ScriptedRuntime;
use conclave_core::view::{State, View};

use crate::support::{
    SECOND, answer, ask, ask_once, cut, host, host_on, id_of, ports, run, sent, spent, until,
    winner,
};

async fn both(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let jobs = [ask(&guest, "a", "question")?, ask(&guest, "b", "question")?];
    let mut texts = Vec::new();
    for job in jobs {
        texts.push(guest.wait(job).await?.expect("it is answered").text);
    }
    Ok(answer(&texts.join(" ")))
}

/// Answers the first generation, and begins to answer the second.
fn first_model() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::new(|request, _| {
        match request.id.job.0 {
            1 => Script::answer("one").after(SECOND),
            _ => Script::tokens(["never ", "ends"]).then_hang(),
        }
    }))
}

fn answering(text: &str) -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::answering(text))
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_while_the_host_stops_rests_too() {
    let host = host(&answering("yes"), ScriptedRuntime::new(ask_once)).await;
    host.run.live().pause_all();
    let id = host.accept(|_| ()).await;
    let end = host.follow.wait(&id).await;
    assert!(matches!(end, Err(follow::Error::Resting(_))), "{end:?}");
    assert!(host.tasks.drained(SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_other_rules_rests_for_the_build_that_knows_them() {
    let inference = answering("yes");
    let runtime = ScriptedRuntime::new(ask_once);
    let (_, mut whole) = run(&inference, runtime.clone()).await;
    if let Entry::Accepted(accepted) = &mut whole[0].entry {
        accepted.semantics += 1;
    }
    let journal = cut(&whole, 2, Duration::ZERO).await;
    let host = host_on(&journal, &inference, runtime).await;
    let id = id_of(&whole);
    let end = host.follow.wait(&id).await;
    assert!(matches!(end, Err(follow::Error::Resting(_))), "{end:?}");
    assert_eq!(host.records(&id), whole[..2], "nothing is written");
}

#[tokio::test(start_paused = true)]
async fn a_paused_deliberation_is_finished_by_the_next_host() {
    let first = first_model();
    let old = host(&first, ScriptedRuntime::new(both)).await;
    let id = old.accept(|_| ()).await;
    until(&old, &id, |entry| matches!(entry, Entry::Delivered { .. })).await;
    old.run.live().pause_all();
    let end = old.follow.wait(&id).await;
    assert!(matches!(end, Err(follow::Error::Resting(_))), "{end:?}");
    assert!(old.tasks.drained(SECOND).await);
    assert!(old.run.live().is_empty());
    assert_eq!(first.attempts(CallState::Aborted).len(), 1);
    let kept = old.records(&id);
    let last = &kept.last().expect("it has records").entry;
    assert_eq!(*last, Entry::Paused { wasted_tokens: 2 });
    let is_end = |entry: &Entry| matches!(entry, Entry::Completed { job: JobId(2), .. });
    assert!(!kept.iter().any(|record| is_end(&record.entry)));

    let second = answering("two");
    let new = host_on(&old.journal, &second, ScriptedRuntime::new(both)).await;
    let view = new.follow.wait(&id).await.expect("it finishes");
    assert_eq!(winner(&view), "one two");
    assert_eq!(sent(&second), [(2, 2)]);
    let records = new.records(&id);
    assert_eq!(records[..kept.len()], kept);
    assert_eq!(spent(&records).wasted_tokens, 2);
    assert_eq!(spent(&records).generations, 2);
    assert_eq!(spent(&records).generations_completed, 2);
}

#[tokio::test(start_paused = true)]
async fn it_may_be_paused_again_and_again() {
    let mut old = host(&first_model(), ScriptedRuntime::new(both)).await;
    let id = old.accept(|_| ()).await;
    until(&old, &id, |entry| matches!(entry, Entry::Delivered { .. })).await;
    for stops in 1..=3 {
        old.run.live().pause_all();
        assert!(old.follow.wait(&id).await.is_err());
        let pauses = old.records(&id);
        let pauses = pauses.iter();
        let is_pause = |entry: &Entry| matches!(entry, Entry::Paused { .. });
        assert_eq!(
            pauses.filter(|record| is_pause(&record.entry)).count(),
            stops
        );
        let model = first_model();
        old = host_on(&old.journal, &model, ScriptedRuntime::new(both)).await;
        model.until(|calls| !calls.is_empty()).await;
        let attempt = u32::try_from(stops).expect("few") + 1;
        assert_eq!(sent(&model), [(2, attempt)]);
    }
    let view = old.follow.cancel(&id, String::new()).await;
    // What is sent is wasted once for each time that it was sent.
    assert_eq!(view.expect("it is cancelled").spent.wasted_tokens, 8);
}

#[tokio::test(start_paused = true)]
async fn a_paused_deliberation_keeps_its_deadline() {
    let old = host(&first_model(), ScriptedRuntime::new(both)).await;
    let id = old.accept(|draft| draft.timeout = Some(100 * SECOND)).await;
    until(&old, &id, |entry| matches!(entry, Entry::Delivered { .. })).await;
    old.run.live().pause_all();
    assert!(old.follow.wait(&id).await.is_err());
    let new = host_on(&old.journal, &first_model(), ScriptedRuntime::new(both)).await;
    let view = new.follow.wait(&id).await.expect("it finishes");
    assert!(matches!(view.state, State::Failed(_)));
    assert!(
        (100_000..100_100).contains(&view.last_at_ms),
        "{}",
        view.last_at_ms
    );
}

/// A journal with two deliberations, and a host with one place for them.
async fn crowded() -> (MemoryJournal, Arc<RunDeliberation>) {
    let old = host(&first_model(), ScriptedRuntime::new(ask_once)).await;
    for _ in 0..2 {
        old.accept(|_| ()).await;
    }
    old.run.live().pause_all();
    assert!(old.tasks.drained(SECOND).await);
    let hanging = Arc::new(ScriptedInference::new(|_, _| Script::hang()));
    let ports = ports(&old.journal, &hanging, ScriptedRuntime::new(ask_once));
    let run = RunDeliberation::new(ports, Live::default(), 1);
    let unfinished = run.unfinished().await.expect("the journal is readable");
    assert_eq!(unfinished.len(), 2);
    run.resume(unfinished).await;
    (old.journal.clone(), run)
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_place_is_known_and_runs_when_one_is_free() {
    let (_, run) = crowded().await;
    let all = run.live().all();
    tokio::time::sleep(SECOND).await;
    let sending = || all.iter().filter(|(_, handle)| handle.is_sending()).count();
    assert_eq!(sending(), 1);
    let (_, running) = all
        .iter()
        .find(|(_, handle)| handle.is_sending())
        .expect("one runs");
    running.wish(conclave_core::live::Wish::Cancel("next".to_owned()));
    running.ended().await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(sending(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_place_can_be_cancelled() {
    let (journal, run) = crowded().await;
    let all = run.live().all();
    tokio::time::sleep(SECOND).await;
    let waiting = all.iter().find(|(_, handle)| !handle.is_sending());
    let (id, waiting) = waiting.expect("one waits");
    waiting.wish(conclave_core::live::Wish::Cancel("enough".to_owned()));
    let end = waiting.ended().await;
    assert!(matches!(end, Standing::Finished(_)), "{end:?}");
    let view = View::of(&journal.records(id)).expect("it was accepted");
    assert_eq!(view.state, State::Cancelled("enough".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_place_rests_when_the_host_stops() {
    let (journal, run) = crowded().await;
    let all = run.live().all();
    tokio::time::sleep(SECOND).await;
    run.live().pause_all();
    for (id, handle) in all {
        assert!(matches!(handle.ended().await, Standing::Paused));
        let view = View::of(&journal.records(&id)).expect("it was accepted");
        assert!(!view.is_finished());
    }
    assert!(run.live().is_empty());
}
