//! What the journal holds is answered from it; where it ends, the deliberation goes on.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::entry::Entry;
use conclave_core::ids::{Actor, JobId};
use conclave_core::inference::Request;
use conclave_core::outcome::{CauseKind, Proposal, Score};
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::{Event, Guest};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::runtime::{ScriptedRuntime, score};
use tokio::time::Instant;

use crate::support::{
    Notes, SECOND, answer, ask, ask_once, candidate, cause, cut, generate, host_on, id_of, resume,
    run, sent, through, winner,
};

const MS: Duration = Duration::from_millis(1);

/// Answers each generation after its own time; the delays are those of generations 1, 2, ….
fn model(delays_ms: &'static [u32]) -> Arc<ScriptedInference> {
    Arc::new(ScriptedInference::new(move |request: &Request, _| {
        let job = request.id.job.0;
        let delay = delays_ms[job as usize - 1];
        Script::answer(&format!("answer {job}")).after(delay * MS)
    }))
}

#[tokio::test(start_paused = true)]
async fn results_that_were_not_delivered_are_delivered_in_journal_order() {
    async fn late(notes: Notes, guest: Guest) -> Result<Proposal, Error> {
        let set = guest.job_set();
        for agent in ["a", "b", "c"] {
            let _ = guest.add(set, ask(&guest, agent, "question")?);
        }
        guest.sleep_until(100).await?;
        while let Event::Completed { job, .. } = guest.next(set, None).await? {
            notes.note(job);
        }
        Ok(answer("done"))
    }
    let notes = Notes::default();
    let runtime = {
        let notes = notes.clone();
        ScriptedRuntime::new(move |_, guest| late(notes.clone(), guest))
    };
    let (_, whole) = run(&model(&[50, 70, 30]), runtime.clone()).await;
    assert_eq!(notes.take(), ["3", "1", "2"]);

    let is_last = |entry: &Entry| matches!(entry, Entry::Completed { job: JobId(2), .. });
    let kept = through(&whole, is_last);
    assert!(
        !whole[..kept]
            .iter()
            .any(|record| matches!(record.entry, Entry::Delivered { .. }))
    );
    let second = model(&[1, 1, 1]);
    resume(&whole, kept, &second, runtime.clone()).await;
    assert_eq!(notes.take(), ["3", "1", "2"]);
    assert_eq!(sent(&second), []);

    // Two are durable, one is in flight: what comes now comes last, however fast it is.
    let is_second = |entry: &Entry| matches!(entry, Entry::Completed { job: JobId(1), .. });
    let second = model(&[1, 1, 1]);
    resume(&whole, through(&whole, is_second), &second, runtime).await;
    assert_eq!(notes.take(), ["3", "1", "2"]);
    assert_eq!(sent(&second), [(2, 2)]);
}

async fn graded(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let scores = guest.score(vec![candidate("answer")]).await?;
    let grade = scores.expect("the scorer answers")[0].value;
    let last = generate(&guest, "b", "last word").await?;
    Ok(answer(&format!(
        "{grade}, {}",
        last.expect("it is answered").text
    )))
}

/// Asks two models, one after the other.
async fn judge(notes: Notes, guest: Guest) -> Result<Vec<Score>, Error> {
    notes.note("judging");
    for question in ["first", "second"] {
        let verdict = generate(&guest, "", question).await?;
        notes.note(verdict.expect("it is answered").text);
    }
    notes.note(guest.random_u32());
    Ok(vec![score(0.25)])
}

fn judged(notes: &Notes) -> ScriptedRuntime {
    let notes = notes.clone();
    ScriptedRuntime::new(graded).with_scorer(move |_, _, guest| judge(notes.clone(), guest))
}

#[tokio::test(start_paused = true)]
async fn a_durable_grade_is_answered_without_its_scorer_and_its_job_numbers_stay_used() {
    let notes = Notes::default();
    let (view, whole) = run(&model(&[1, 1, 1]), judged(&notes)).await;
    assert_eq!(winner(&view), "0.25, answer 3");
    notes.take();
    let kept = through(&whole, |entry| matches!(entry, Entry::Scored { .. }));
    let second = model(&[1, 1, 1]);
    let (view, resumed) = resume(&whole, kept, &second, judged(&notes)).await;
    assert_eq!(winner(&view), "0.25, answer 3");
    assert_eq!(notes.take(), [""; 0], "the scorer ran again");
    assert_eq!(sent(&second), [(3, 1)]);
    assert_eq!(resumed.len(), whole.len());
}

#[tokio::test(start_paused = true)]
async fn a_scorer_that_was_interrupted_is_replayed_and_goes_on() {
    let notes = Notes::default();
    let (_, whole) = run(&model(&[1, 1, 1]), judged(&notes)).await;
    let told = notes.take();
    let scorer = Actor(1);
    let is_first =
        |entry: &Entry| matches!(entry, Entry::Delivered { actor, .. } if *actor == scorer);
    let second = model(&[1, 1, 1]);
    let kept = through(&whole, is_first);
    let (view, _) = resume(&whole, kept, &second, judged(&notes)).await;
    assert_eq!(winner(&view), "0.25, answer 3");
    assert_eq!(notes.take(), told, "it sees what it saw before");
    assert_eq!(sent(&second), [(2, 1), (3, 1)]);
}

/// Notes all that is neither in the journal by itself nor the plugin's own: chance, time, limits.
async fn curious(notes: Notes, guest: Guest) -> Result<Proposal, Error> {
    let look = || {
        let mut bytes = [0; 4];
        guest.fill_random(&mut bytes);
        let (random, elapsed) = (guest.random_u32(), guest.elapsed_ms());
        notes.note(format!("{random} {bytes:?} {elapsed} {}", guest.unix_ms()));
    };
    look();
    let _ = generate(&guest, "a", "question").await?;
    look();
    notes.note(format!("{:?}", guest.remaining()?));
    guest.sleep_until(5000).await?;
    look();
    Ok(answer("done"))
}

#[tokio::test(start_paused = true)]
async fn chance_time_and_budget_repeat_exactly() {
    let notes = Notes::default();
    let runtime = {
        let notes = notes.clone();
        ScriptedRuntime::new(move |_, guest| curious(notes.clone(), guest))
    };
    let (_, whole) = run(&model(&[1500]), runtime.clone()).await;
    let told = notes.take();
    assert!(told[1].contains(" 1500 "), "{told:?}");
    assert_eq!(
        told.iter().filter(|note| note.contains(" 5000 ")).count(),
        1
    );
    // The wall clock of the second host differs: virtual time has not passed there.
    resume(&whole, whole.len() - 1, &model(&[1]), runtime.clone()).await;
    assert_eq!(notes.take(), told);
    run(&model(&[1500]), runtime).await;
    let drawn = |told: &[String]| told[0].split("]").next().map(str::to_owned);
    let other = notes.take();
    assert_ne!(drawn(&other), drawn(&told), "both draw the same numbers");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_was_cancelled_is_not_sent_again() {
    async fn fickle(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        let unwanted = ask(&guest, "a", "unwanted")?;
        let wanted = ask(&guest, "b", "wanted")?;
        guest.sleep_until(10).await?;
        guest.cancel(unwanted)?;
        let text = guest.wait(wanted).await?.expect("it is answered").text;
        let end = guest.wait(unwanted).await?.expect_err("it was cancelled");
        Ok(answer(&format!("{text}, {end}")))
    }
    let runtime = ScriptedRuntime::new(fickle);
    let (_, whole) = run(&model(&[9000, 50]), runtime.clone()).await;
    let after_cancel = through(&whole, |entry| matches!(entry, Entry::Cancelled { .. }));
    // Without and with the end that the host journals for it.
    for kept in [after_cancel, after_cancel + 1] {
        let second = model(&[9000, 50]);
        let (view, resumed) = resume(&whole, kept, &second, runtime.clone()).await;
        assert_eq!(winner(&view), "answer 2, cancelled");
        assert_eq!(sent(&second), [(2, 2)], "cut at {kept}");
        let is_end = |entry: &Entry| matches!(entry, Entry::Completed { job: JobId(1), .. });
        let ends = resumed.iter().filter(|record| is_end(&record.entry));
        assert_eq!(ends.count(), 1, "cut at {kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_set_is_empty_and_its_members_go_on() {
    let runtime = ScriptedRuntime::new(|_, guest| async move {
        let (dropped, other) = (guest.job_set(), guest.job_set());
        let job = ask(&guest, "a", "question")?;
        let _ = guest.add(dropped, job);
        guest.drop_set(dropped);
        assert_ne!(guest.job_set(), other, "its number is not given again");
        assert_eq!(guest.next(dropped, None).await?, Event::Empty);
        let generation = guest.wait(job).await?.expect("it is answered");
        Ok(answer(&generation.text))
    });
    let (view, _) = run(&model(&[10]), runtime).await;
    assert_eq!(winner(&view), "answer 1");
}

#[tokio::test(start_paused = true)]
async fn downtime_counts_for_a_timer() {
    async fn patient(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        let _ = generate(&guest, "a", "question").await?;
        guest.sleep_until(60_000).await?;
        Ok(answer(&guest.elapsed_ms().to_string()))
    }
    let runtime = ScriptedRuntime::new(patient);
    let (view, whole) = run(&model(&[10]), runtime.clone()).await;
    assert_eq!(winner(&view), "60000");
    let kept = through(&whole, |entry| matches!(entry, Entry::Delivered { .. }));
    for (down, left) in [(45, 15), (90, 0)] {
        let journal = cut(&whole, kept, down * SECOND).await;
        let started = Instant::now();
        let host = host_on(&journal, &model(&[10]), runtime.clone()).await;
        let view = host.follow.wait(&id_of(&whole)).await.expect("it finishes");
        let elapsed: u64 = winner(&view).parse().expect("it is a number");
        let timer = 60_000.max(u64::from(down) * 1000);
        assert!((timer..timer + 5000).contains(&elapsed), "{elapsed}");
        let waited = started.elapsed();
        assert!(waited <= left * SECOND + 10 * MS, "{waited:?}");
        assert!(waited + 5 * SECOND >= left * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn downtime_counts_against_the_deadline() {
    let (_, whole) = run(&model(&[10]), ScriptedRuntime::new(ask_once)).await;
    let kept = through(&whole, |entry| matches!(entry, Entry::Attempt { .. }));
    let journal = cut(&whole, kept, 301 * SECOND).await;
    let (inference, started) = (model(&[10]), Instant::now());
    let host = host_on(&journal, &inference, ScriptedRuntime::new(ask_once)).await;
    let view = host.follow.wait(&id_of(&whole)).await.expect("it finishes");
    assert_eq!(cause(&view).kind, CauseKind::DeadlineExceeded);
    assert!(started.elapsed() < SECOND);
    assert_eq!(sent(&inference), []);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_replaying_up_to_the_end_of_the_journal_and_no_further() {
    async fn chatty(notes: Notes, guest: Guest) -> Result<Proposal, Error> {
        for number in 0..4 {
            notes.note(guest.replaying());
            guest.emit("number".to_owned(), number.to_string())?;
        }
        notes.note(guest.replaying());
        Ok(answer("done"))
    }
    let notes = Notes::default();
    let runtime = {
        let notes = notes.clone();
        ScriptedRuntime::new(move |_, guest| chatty(notes.clone(), guest))
    };
    let (_, whole) = run(&model(&[]), runtime.clone()).await;
    assert_eq!(notes.take(), ["false"; 5]);
    resume(&whole, 3, &model(&[]), runtime).await;
    assert_eq!(notes.take(), ["true", "true", "false", "false", "false"]);
}
