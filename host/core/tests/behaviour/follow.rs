//! Waiting, cancelling and counting: the use cases beside watching.

use std::sync::Arc;

use conclave_core::entry::Entry;
use conclave_core::follow;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal;
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{ask_once, host, sent, through, winner};
use crate::watch::polling;

#[tokio::test(start_paused = true)]
async fn waiting_gives_the_outcome_while_it_runs_and_after() {
    let (host, id) = polling().await;
    let (left, right) = futures::join!(host.follow.wait(&id), host.follow.wait(&id));
    let view = left.expect("it finishes");
    assert_eq!(winner(&view), "done");
    assert_eq!(view, right.expect("it finishes"));
    assert_eq!(view, host.follow.wait(&id).await.expect("it has finished"));
    assert_eq!(view, host.follow.get(&id).await.expect("it has finished"));
    assert_eq!(view.last.0, host.records(&id).len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_a_finished_deliberation_changes_nothing() {
    let (host, id) = polling().await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    let records = host.records(&id);
    let cancelled = host.follow.cancel(&id, "too late".to_owned()).await;
    assert_eq!(cancelled.expect("it has finished"), view);
    assert_eq!(host.records(&id), records);
}

#[tokio::test(start_paused = true)]
async fn of_two_cancels_the_first_reason_stands() {
    let hanging = Arc::new(ScriptedInference::new(|_, _| Script::hang()));
    let host = host(&hanging, ScriptedRuntime::new(ask_once)).await;
    let id = host.accept(|_| ()).await;
    let cancel = |reason: &str| host.follow.cancel(&id, reason.to_owned());
    let (left, right) = futures::join!(cancel("first"), cancel("second"));
    let view = left.expect("it is cancelled");
    assert_eq!(view, right.expect("it is cancelled"));
    let text = format!("{:?}", view.state);
    assert_eq!(text, "Cancelled(\"first\")");
    assert!(sent(&hanging).len() <= 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_deliberation_is_not_found() {
    let (host, _) = polling().await;
    let id = DeliberationId::new("deliberation-of-nobody");
    let follow = &host.follow;
    let errors = [
        follow.get(&id).await.map(drop),
        follow.wait(&id).await.map(drop),
        follow.cancel(&id, String::new()).await.map(drop),
        follow.watch(&id, Seq::START).await.map(drop),
    ];
    for end in errors {
        let error = end.expect_err("nobody accepted it");
        let is_not_found =
            matches!(&error, follow::Error::Journal(journal::Error::NotFound(of)) if *of == id);
        assert!(is_not_found, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_totals_and_the_active_follow_what_happens() {
    let (host, id) = polling().await;
    let active = host.follow.active();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].0, id);
    host.follow.wait(&id).await.expect("it finishes");
    assert!(host.follow.active().is_empty());
    let totals = host.follow.totals().await.expect("readable");
    assert_eq!((totals.accepted, totals.completed), (1, 1));
    let records = host.records(&id);
    let end = through(&records, |entry| matches!(entry, Entry::Finished { .. }));
    assert_eq!(end, records.len(), "it ends once");
}
