//! The limits that the session enforces, and the requests that it refuses.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::Entry;
use conclave_core::execution::Execution;
use conclave_core::generation::{GenerationRequest, Sampling};
use conclave_core::journal::Journal as _;
use conclave_core::limits::Limits;
use conclave_core::outcome::{CauseKind, Proposal};
use conclave_core::plugin::Kind;
use conclave_core::run::RunDeliberation;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::slots::InFlight;
use conclave_core::testkit::host::prompt;
use conclave_core::testkit::inference::{CallState, Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{
    Notes, SECOND, answer, ask, cause, cut, host, host_on, id_of, limited, ports, run,
};

fn answering() -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::answering("seven"))
}

/// Runs the strategy under limits; what it noted, and how many submits the journal holds.
async fn under<F>(
    limits: Limits,
    strategy: impl Fn(Notes, Guest) -> F + Send + Sync + 'static,
) -> (Vec<String>, usize)
where
    F: Future<Output = Result<Proposal, Error>> + Send + 'static,
{
    let notes = Notes::default();
    let told = notes.clone();
    let runtime = ScriptedRuntime::new(move |_, guest| strategy(told.clone(), guest));
    let host = limited(limits, &answering(), runtime);
    let id = host.accept(|_| ()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(crate::support::winner(&view), "done");
    let records = host.records(&id);
    let submits = records
        .iter()
        .filter(|record| matches!(record.entry, Entry::Submitted { .. }));
    (notes.take(), submits.count())
}

fn submit(notes: &Notes, guest: &Guest) -> Result<(), Error> {
    match guest.submit(prompt("a", "question"))? {
        Ok(job) => notes.note(job),
        Err(failure) => notes.note(format!("{}: {failure}", failure.kind())),
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn open_generations_are_limited_until_a_result_is_taken() {
    let limits = Limits {
        open_generations_max: 2,
        ..Limits::default()
    };
    let (notes, submits) = under(limits, |notes, guest| async move {
        let first = ask(&guest, "a", "question")?;
        submit(&notes, &guest)?;
        notes.note(guest.remaining()?.open_generations.unwrap_or(9));
        submit(&notes, &guest)?;
        // That it has finished is not enough: its result is still kept for the plugin.
        guest.sleep_until(1000).await?;
        submit(&notes, &guest)?;
        let _ = guest.wait(first).await?;
        notes.note(guest.remaining()?.open_generations.unwrap_or(9));
        submit(&notes, &guest)?;
        Ok(answer("done"))
    })
    .await;
    let refused = "budget_exhausted: limits.open_generations_max (2) is used up: take results before asking for more";
    assert_eq!(notes, ["2", "0", refused, refused, "1", "3"]);
    assert_eq!(submits, 3, "what is refused is not journaled");
}

#[tokio::test(start_paused = true)]
async fn generations_are_limited_in_all() {
    let limits = Limits {
        generations_max: 2,
        ..Limits::default()
    };
    let (notes, submits) = under(limits, |notes, guest| async move {
        for _ in 0..3 {
            notes.note(guest.remaining()?.generations.unwrap_or(9));
            submit(&notes, &guest)?;
        }
        Ok(answer("done"))
    })
    .await;
    let refused = "budget_exhausted: limits.generations_max (2) is used up";
    assert_eq!(notes, ["2", "1", "1", "2", "0", refused]);
    assert_eq!(submits, 2);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fills_the_journal_fails() {
    let limits = Limits {
        entries_max: 20,
        ..Limits::default()
    };
    let runtime = ScriptedRuntime::new(|_, guest: Guest| async move {
        for _ in 0..100 {
            guest.emit("still-here".to_owned(), "null".to_owned())?;
        }
        Ok(answer("done"))
    });
    let host = limited(limits, &answering(), runtime);
    let id = host.accept(|_| ()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    let cause = cause(&view);
    assert_eq!(cause.kind, CauseKind::PluginLimitExceeded);
    assert_eq!(cause.by, Some(Kind::Strategy));
    assert!(cause.message.contains("strategy `scripted@1.0.0` exceeded"));
    assert!(
        cause.message.contains("`limits.entries_max`: 20"),
        "{cause}"
    );
    assert_eq!(host.records(&id).len(), 21);
}

#[tokio::test(start_paused = true)]
async fn the_bytes_that_plugins_put_into_the_journal_are_limited_together() {
    let limits = Limits {
        journal_bytes_max: 1000,
        ..Limits::default()
    };
    let runtime = ScriptedRuntime::new(|_, guest: Guest| async move {
        let payload = format!("\"{}\"", "x".repeat(94));
        let graded = crate::support::candidate(&"x".repeat(500));
        let _ = guest.score(vec![graded]).await?;
        for _ in 0..100 {
            guest.emit("note".to_owned(), payload.clone())?;
        }
        Ok(answer("done"))
    });
    let host = limited(limits, &answering(), runtime.clone());
    let id = host.accept(|_| ()).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    let told = cause(&view);
    assert_eq!(told.kind, CauseKind::PluginLimitExceeded);
    let text = "strategy `scripted@1.0.0` exceeded the limit `limits.journal_bytes_max`: 1000";
    assert!(told.message.starts_with(text), "{told}");
    let records = host.records(&id);
    let emitted = records
        .iter()
        .filter(|record| matches!(record.entry, Entry::Emitted { .. }));
    assert_eq!(
        emitted.count(),
        3,
        "of 100 bytes each, beside the candidate and its score"
    );

    // A restart gives no more room.
    let kept = records.len() - 1;
    let journal = cut(&records, kept, Duration::ZERO).await;
    let host = host_on(&journal, &answering(), runtime).await;
    let view = host.follow.wait(&id).await.expect("it finishes");
    assert_eq!(cause(&view).kind, CauseKind::PluginLimitExceeded);
    assert_eq!(host.records(&id).len(), kept + 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_a_rule_is_rejected_and_not_journaled() {
    type Change = fn(&mut GenerationRequest);
    let broken: [(Change, &str); 13] = [
        (
            |request| request.agent = conclave_core::ids::AgentId::new("nobody"),
            "agent is `nobody`, the task has no agent of this id",
        ),
        (
            |request| request.messages.clear(),
            "messages must hold at least one message",
        ),
        (
            |request| request.sampling.stop = vec!["x".repeat(5 << 20)],
            "messages, stop texts and schema have 5242888 bytes, at most 4194304 are allowed",
        ),
        (
            |request| request.phase = "x".repeat(65),
            "phase has 65 characters, at most 64 are allowed",
        ),
        (
            |request| request.sampling.temperature = Some(2.5),
            "sampling.temperature is 2.5, it must be 0 to 2",
        ),
        (
            |request| request.sampling.temperature = Some(f32::NAN),
            "sampling.temperature is NaN, it must be 0 to 2",
        ),
        (
            |request| request.sampling.top_p = Some(0.0),
            "sampling.top-p is 0, it must be above 0 and at most 1",
        ),
        (
            |request| request.sampling.top_p = Some(1.5),
            "sampling.top-p is 1.5, it must be above 0 and at most 1",
        ),
        (
            |request| request.sampling.tokens_max = Some(0),
            "sampling.max-tokens is 0, it must be at least 1",
        ),
        (
            |request| request.sampling.stop = vec!["x".to_owned(); 17],
            "sampling.stop has 17 texts, at most 16 are allowed",
        ),
        (
            |request| request.sampling.logprobs = Some(21),
            "sampling.logprobs is 21, it must be 0 to 20",
        ),
        (
            |request| request.sampling.json_schema = Some("{".to_owned()),
            "sampling.json-schema is not JSON",
        ),
        (
            |request| request.sampling.temperature = Some(-0.1),
            "sampling.temperature is -0.1, it must be 0 to 2",
        ),
    ];
    let (notes, submits) = under(Limits::default(), move |notes, guest| async move {
        for (change, _) in broken {
            let mut request = prompt("a", "question");
            change(&mut request);
            let failure = guest.submit(request)?.expect_err("it breaks a rule");
            notes.note(format!("{}: {failure}", failure.kind()));
        }
        Ok(answer("done"))
    })
    .await;
    for ((_, rule), note) in broken.iter().zip(&notes) {
        assert!(note.starts_with(&format!("rejected: {rule}")), "{note}");
    }
    assert_eq!((notes.len(), submits), (broken.len(), 0));
}

#[tokio::test(start_paused = true)]
async fn sampling_at_its_bounds_is_taken() {
    let (_, submits) = under(Limits::default(), |_, guest| async move {
        for (temperature, logprobs) in [(0.0, 0), (2.0, 20)] {
            let mut request = prompt("a", "question");
            request.phase = "x".repeat(64);
            request.sampling = Sampling {
                temperature: Some(temperature),
                top_p: Some(1.0),
                tokens_max: Some(1),
                stop: vec!["x".to_owned(); 16],
                seed: Some(0),
                logprobs: Some(logprobs),
                json_schema: Some("{}".to_owned()),
            };
            let taken = guest.submit(request)?;
            taken.expect("it is sound");
        }
        Ok(answer("done"))
    })
    .await;
    assert_eq!(submits, 2);
}

#[tokio::test(start_paused = true)]
async fn an_emit_that_breaks_a_rule_fails_the_deliberation() {
    let large = format!("\"{}\"", "x".repeat(64 << 10));
    let broken = [
        ("two words", "1", CauseKind::PluginInvalid, "\"two words\""),
        ("", "1", CauseKind::PluginInvalid, "the kind"),
        ("note", "not JSON", CauseKind::PluginInvalid, "is not JSON"),
        (
            "note",
            &large,
            CauseKind::PluginLimitExceeded,
            "limits.emit_bytes_max is 65536",
        ),
    ];
    for (kind, payload, expected, text) in broken {
        let (kind, payload) = (kind.to_owned(), payload.to_owned());
        let runtime = ScriptedRuntime::new(move |_: PluginTask, guest: Guest| {
            let (kind, payload) = (kind.clone(), payload.clone());
            async move {
                guest.emit(kind, payload)?;
                Ok(answer("done"))
            }
        });
        let (view, records) = run(&answering(), runtime).await;
        assert_eq!(cause(&view).kind, expected);
        assert!(cause(&view).message.contains(text), "{}", cause(&view));
        assert_eq!(records.len(), 2);
    }
}

/// The host's own limit, over all deliberations.
#[tokio::test(start_paused = true)]
async fn generations_in_flight_are_limited_over_all_deliberations() {
    async fn two(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        let jobs = [ask(&guest, "a", "one")?, ask(&guest, "b", "two")?];
        for job in jobs {
            let _ = guest.wait(job).await?;
        }
        Ok(answer("done"))
    }
    let accepted = host(&answering(), ScriptedRuntime::new(two)).await;
    let id = accepted.accept(|_| ()).await;
    let journal: MemoryJournal = cut(&accepted.records(&id), 1, SECOND).await;
    let slow = Arc::new(ScriptedInference::new(|_, _| {
        Script::answer("seven").after(10 * SECOND)
    }));
    let mut ports = ports(&journal, &slow, ScriptedRuntime::new(two));
    ports.in_flight = InFlight::new(1);
    let run = RunDeliberation::new(ports, Default::default(), 8);
    run.resume(run.unfinished().await.expect("readable")).await;
    let handle = run.live().all().pop().expect("it runs").1;
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(slow.calls().len(), 1);
    handle.ended().await;
    assert_eq!(slow.attempts(CallState::Finished).len(), 2);
    assert_eq!(id_of(&journal.records(&id)), id);
}

/// Asks for three generations at once, each with a wish of its own.
async fn three(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let mut jobs = Vec::new();
    for (agent, own) in [("a", Some(200)), ("b", None), ("c", Some(0))] {
        let mut request = prompt(agent, "?");
        request.priority = own;
        jobs.push(
            guest
                .submit(request)?
                .map_err(|failure| Error::Refused(failure.to_string()))?,
        );
    }
    for job in jobs {
        let _ = guest.wait(job).await?;
    }
    Ok(answer("done"))
}

/// The order in which generations are sent when one may be in flight.
#[tokio::test(start_paused = true)]
async fn generations_wait_in_the_order_of_their_priorities() {
    let accepted = host(&answering(), ScriptedRuntime::new(three)).await;
    let slow = Arc::new(ScriptedInference::new(|_, _| {
        Script::answer("seven").after(SECOND)
    }));
    let journal = MemoryJournal::new();
    for priority in [0, 9, 4] {
        let id = accepted
            .accept(|draft| draft.priority = Some(priority))
            .await;
        let created = journal.create(&id, &accepted.records(&id)[0], None).await;
        created.expect("the journal takes it");
    }
    let mut ports = ports(&journal, &slow, ScriptedRuntime::new(three));
    ports.in_flight = InFlight::new(1);
    let slots = Arc::clone(ports.in_flight.of(Execution::Direct));
    // Nothing is sent before all have asked.
    let held = slots.acquire(Default::default()).await;
    let run = RunDeliberation::new(ports, Default::default(), 8);
    run.resume(run.unfinished().await.expect("readable")).await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(slots.waiting(), 9);
    drop(held);
    let all = run.live().all();
    for (_, handle) in &all {
        handle.ended().await;
    }
    let order: Vec<_> = slow
        .calls()
        .iter()
        .map(|call| {
            let at = all
                .iter()
                .position(|(id, _)| *id == call.request.id.deliberation);
            (at, call.request.id.job.0)
        })
        .collect();
    let rank = |at: usize| [3, 2, 1].map(|job| (Some(at), job));
    assert_eq!(order, [rank(1), rank(2), rank(0)].concat());
}
