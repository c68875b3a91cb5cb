//! What is accepted is durable and runs, once for each key; what is refused leaves no trace.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::clock::Clock;
use conclave_core::live::Live;
use conclave_core::outcome::Proposal;
use conclave_core::plugin::{self, Kind, PluginChoice};
use conclave_core::request::{self, Draft};
use conclave_core::run::RunDeliberation;
use conclave_core::runtime::{Error as RuntimeError, PluginTask};
use conclave_core::session::Guest;
use conclave_core::submit::{Error, Submission, SubmitDeliberation, Terms};
use conclave_core::testkit::host::{FixedPlugins, Host, draft, terms};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::{Fault, MemoryJournal};
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{Notes, SECOND, answer, ask_once, host, ports};

type Change = fn(&mut Draft);

fn answering() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::answering("seven"))
}

async fn plain() -> Host {
    host(&answering(), ScriptedRuntime::new(ask_once)).await
}

/// A submission under a key.
fn keyed(scope: &'static str, key: &str, change: impl FnOnce(&mut Draft)) -> Submission {
    let mut draft = draft();
    change(&mut draft);
    Submission {
        draft,
        idempotency: Some((scope, key.to_owned())),
        ..Submission::default()
    }
}

/// A host whose strategy notes each of its runs.
async fn counting(notes: &Notes) -> Host {
    async fn counted(notes: Notes, guest: Guest) -> Result<Proposal, RuntimeError> {
        notes.note(guest.deliberation());
        guest.sleep_until(1000).await?;
        Ok(answer("done"))
    }
    let notes = notes.clone();
    let strategy = move |_: PluginTask, guest| counted(notes.clone(), guest);
    host(&answering(), ScriptedRuntime::new(strategy)).await
}

#[tokio::test(start_paused = true)]
async fn the_same_submit_again_is_the_same_deliberation() {
    let notes = Notes::default();
    let host = counting(&notes).await;
    let first = host.submit.submit(keyed("Submit", "k", |_| ())).await;
    let first = first.expect("it is sound");
    assert!(!first.repeated);
    // While it runs, and after it has finished.
    for _ in 0..2 {
        let again = host.submit.submit(keyed("Submit", "k", |_| ())).await;
        let again = again.expect("it is the same");
        assert_eq!((again.id, again.repeated), (first.id.clone(), true));
        host.follow.wait(&first.id).await.expect("it finishes");
    }
    assert_eq!(notes.take(), [first.id.to_string()]);
    assert!(host.run.live().is_empty());
}

/// A proxy sets another correlation id for each call, an operator changes the defaults or removes
/// what was asked for, a host is full: what was accepted once is not refused again.
#[tokio::test(start_paused = true)]
async fn a_repeated_submit_is_answered_whatever_has_changed_since() {
    let journal = MemoryJournal::new();
    let (submit, run) = with_places(1, &journal, terms());
    let of = |correlation_id: &str| {
        keyed("Submit", "k", |draft| {
            draft.correlation_id = Some(correlation_id.to_owned());
        })
    };
    let first = submit.submit(of("1")).await.expect("it is sound");
    let other = submit.submit(keyed("Submit", "other", |_| ())).await;
    assert!(matches!(other, Err(Error::Full(_))), "{other:?}");
    let again = submit.submit(of("2")).await.expect("it is the same");
    assert_eq!((again.id, again.repeated), (first.id.clone(), true));

    let mut changed = terms();
    changed.policy.timeout_default = Duration::from_secs(7);
    changed.policy.strategy_default = PluginChoice::named("removed");
    changed.policy.endpoint_default = None;
    let (submit, _) = with_places(1, &journal, changed);
    let again = submit.submit(of("3")).await.expect("it is the same");
    assert_eq!((again.id, again.repeated), (first.id, true));
    assert_eq!(run.live().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_one_submit_says_and_the_other_leaves_to_the_host_is_no_difference() {
    let host = plain().await;
    let first = host.submit.submit(keyed("Submit", "k", |_| ())).await;
    let spelled_out = keyed("Submit", "k", |draft| {
        draft.timeout = Some(terms().policy.timeout_default);
    });
    let again = host
        .submit
        .submit(spelled_out)
        .await
        .expect("it is the same");
    assert_eq!((again.id, again.repeated), (first.expect("sound").id, true));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_of_its_scope_alone() {
    let host = plain().await;
    let mut ids = Vec::new();
    for scope in ["Submit", "Deliberate"] {
        let receipt = host.submit.submit(keyed(scope, "k", |_| ())).await;
        ids.push(receipt.expect("it is sound").id);
    }
    assert_ne!(ids[0], ids[1]);
    // Without a key, every submit is a deliberation of its own.
    assert_ne!(host.accept(|_| ()).await, host.accept(|_| ()).await);
}

#[tokio::test(start_paused = true)]
async fn another_request_under_a_key_is_a_conflict_that_names_the_fields() {
    let host = plain().await;
    let first = host.submit.submit(keyed("Submit", "k", |_| ())).await;
    let first = first.expect("it is sound");
    let stored = host.journal.stored();
    let other = keyed("Submit", "k", |draft| {
        draft.description = "Is 9 prime?".to_owned();
        draft.agents.pop();
        draft.retries_max = Some(1);
    });
    let error = host.submit.submit(other).await.expect_err("it differs");
    let text = error.to_string();
    let Error::Conflict {
        key,
        id,
        differences,
    } = error
    else {
        unreachable!("{text}");
    };
    assert_eq!((key.as_str(), id), ("k", first.id));
    assert_eq!(differences, ["task_description", "agents", "max_retries"]);
    assert!(text.ends_with("differs in: task_description, agents, max_retries"));
    assert!(host.journal.stored() <= stored + 4, "only the first runs");
    assert_eq!(host.follow.totals().await.expect("readable").accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_concurrent_submits_with_one_key_one_runs() {
    let notes = Notes::default();
    let host = counting(&notes).await;
    let submit = || host.submit.submit(keyed("Submit", "k", |_| ()));
    let (left, right) = futures::join!(submit(), submit());
    let (left, right) = (left.expect("sound"), right.expect("sound"));
    assert_eq!(left.id, right.id);
    assert!(left.repeated != right.repeated);
    host.follow.wait(&left.id).await.expect("it finishes");
    assert_eq!(notes.take(), [left.id.to_string()]);
    assert_eq!(host.follow.totals().await.expect("readable").accepted, 1);
    assert!(host.run.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_submit_records_nothing() {
    let host = plain().await;
    let broken: [Change; 4] = [
        |draft| draft.description = " ".to_owned(),
        |draft| draft.strategy = Some(PluginChoice::named("unknown")),
        |draft| draft.scorer_params = r#"{"count": 0}"#.to_owned(),
        |draft| draft.endpoint = "http://169.254.169.254".to_owned(),
    ];
    for change in broken {
        let refused = host.submit.submit(keyed("Submit", "k", change)).await;
        refused.expect_err("it breaks a rule");
    }
    assert_eq!(host.journal.stored(), 0);
    assert!(host.run.live().is_empty());
    // The key is still free.
    let receipt = host.submit.submit(keyed("Submit", "k", |_| ())).await;
    assert!(!receipt.expect("it is sound").repeated);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_plugin_is_refused_with_the_near_names() {
    let host = plain().await;
    let kinds: [(Change, Kind); 2] = [
        (
            |draft| draft.strategy = Some(PluginChoice::named("scirpted")),
            Kind::Strategy,
        ),
        (
            |draft| draft.scorer = Some(PluginChoice::named("scirpted")),
            Kind::Scorer,
        ),
    ];
    for (change, expected) in kinds {
        let error = host.submit.submit(keyed("Submit", "k", change)).await;
        let error = error.expect_err("it is unknown");
        let text = format!("no {expected} `scirpted` is loaded; did you mean `scripted`?");
        assert_eq!(error.to_string(), text);
        let Error::Plugin(plugin::Error::NotFound { kind, near, .. }) = error else {
            unreachable!("{text}");
        };
        assert_eq!((kind, near), (expected, vec!["scripted".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn params_that_do_not_fit_are_named_by_their_path() {
    let host = plain().await;
    let both = keyed("Submit", "k", |draft| {
        draft.strategy_params = r#"{"count": 0}"#.to_owned();
        draft.scorer_params = r#"{"count": "many"}"#.to_owned();
    });
    let error = host.submit.submit(both).await.expect_err("they do not fit");
    let Error::Request(request::Error::Invalid(violations)) = error else {
        unreachable!("{error}");
    };
    let fields = violations.iter().map(|violation| violation.field.as_str());
    let paths = ["strategy_params/count", "scorer_params/count"];
    assert_eq!(fields.collect::<Vec<_>>(), paths);
    assert!(
        violations[0].rule.contains("minimum of 1"),
        "{violations:?}"
    );
}

/// A submit to a host with so many places.
fn with_places(
    places_max: usize,
    journal: &MemoryJournal,
    terms: Terms,
) -> (SubmitDeliberation, Arc<RunDeliberation>) {
    let slow = Arc::new(ScriptedInference::new(|_, _| {
        Script::answer("seven").after(10 * SECOND)
    }));
    let ports = ports(journal, &slow, ScriptedRuntime::new(ask_once));
    let run = RunDeliberation::new(ports, Live::default(), places_max);
    let plugins = Arc::new(FixedPlugins::default());
    let port = Arc::new(journal.clone());
    let submit = SubmitDeliberation::new(port, plugins, Arc::clone(&run), Clock::system(), terms);
    (submit, run)
}

#[tokio::test(start_paused = true)]
async fn a_full_host_refuses_until_a_deliberation_ends() {
    let journal = MemoryJournal::new();
    let (submit, run) = with_places(1, &journal, terms());
    submit
        .submit(keyed("Submit", "1", |_| ()))
        .await
        .expect("there is a place");
    let error = submit.submit(keyed("Submit", "2", |_| ())).await;
    let error = error.expect_err("it is full");
    assert!(matches!(error, Error::Full(_)), "{error}");
    assert!(error.to_string().contains("`limits.deliberations_max`"));
    let running = run.live().all().pop().expect("one runs").1;
    running.ended().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    submit
        .submit(keyed("Submit", "2", |_| ()))
        .await
        .expect("the place is free again");
    assert!(run.live().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_when_nothing_was_accepted() {
    let journal = MemoryJournal::new();
    let (submit, run) = with_places(1, &journal, terms());
    journal.crash_after(0, Fault::Fail);
    for _ in 0..3 {
        let error = submit.submit(keyed("Submit", "1", |_| ())).await;
        let error = error.expect_err("the journal fails");
        assert!(matches!(error, Error::Journal(_)), "{error}");
        assert!(run.live().is_empty());
    }
    journal.revive();
    let receipt = submit.submit(keyed("Submit", "1", |_| ())).await;
    assert!(!receipt.expect("the place is free").repeated);
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_took_runs_when_nobody_waits_for_the_submit() {
    let notes = Notes::default();
    let host = counting(&notes).await;
    let mut submit = Box::pin(host.submit.submit(keyed("Submit", "k", |_| ())));
    assert!(futures::poll!(submit.as_mut()).is_pending());
    drop(submit);
    tokio::time::sleep(10 * SECOND).await;
    let totals = host.follow.totals().await.expect("readable");
    assert_eq!((totals.accepted, totals.completed), (1, 1));
    let again = host.submit.submit(keyed("Submit", "k", |_| ())).await;
    let again = again.expect("it is the same");
    assert!(again.repeated);
    assert_eq!(notes.take(), [again.id.to_string()]);
}
