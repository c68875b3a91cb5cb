//! What a backend learns of a generation beside its prompt: its wave, how urgent it is, and the name of
//! the work, which a restart of the host does not change.

use std::sync::Arc;

use conclave_core::entry::Entry;
use conclave_core::outcome::Proposal;
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::runtime::{ScriptedRuntime, score};
use futures::future::FutureExt as _;

use crate::support::{SECOND, answer, ask, candidate, overloaded, resume, run, through};

/// Asks for two, takes one, asks for another one, and takes the rest.
async fn in_two_waves(_: PluginTask, guest: Guest) -> Result<Proposal, Error> {
    let first = ask(&guest, "a", "one")?;
    let second = ask(&guest, "a", "two")?;
    let _ = guest.wait(first).await?;
    let third = ask(&guest, "a", "three")?;
    let _ = guest.wait(second).await?;
    let _ = guest.wait(third).await?;
    Ok(answer("done"))
}

/// The number, the size and the name of the work of each call, in the order of the generations.
fn waves(inference: &ScriptedInference) -> Vec<(u32, u32, String)> {
    let mut calls = inference.calls();
    calls.sort_by_key(|call| call.request.id.job);
    calls
        .iter()
        .map(|call| {
            let wave = &call.request.wave;
            assert!(wave.closed().now_or_never().is_some(), "the plugin waited");
            let work = call.request.work_id();
            let (_, work) = work.split_once('-').expect("ids begin with a word");
            let (_, work) = work.split_once('-').expect("then the deliberation");
            (wave.id().1, wave.size(), work.to_owned())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_between_two_waits_is_one_wave_over_a_restart_too() {
    let slow = || {
        let inference = ScriptedInference::new(|request, _| {
            Script::answer("seven").after(request.id.job.0 * SECOND)
        });
        Arc::new(inference)
    };
    let first_run = slow();
    let (_, whole) = run(&first_run, ScriptedRuntime::new(in_two_waves)).await;
    let told = |wave, size, work: &str| (wave, size, work.to_owned());
    assert_eq!(
        waves(&first_run),
        [told(0, 2, "1-0"), told(0, 2, "2-0"), told(1, 1, "3-0")]
    );
    // The host is killed when the first of the wave has ended: the second is a wave of its own.
    let kept = through(&whole, |entry| matches!(entry, Entry::Completed { .. }));
    let second_run = slow();
    resume(
        &whole,
        kept,
        &second_run,
        ScriptedRuntime::new(in_two_waves),
    )
    .await;
    assert_eq!(waves(&second_run), [told(0, 1, "2-0"), told(1, 1, "3-0")]);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_tried_again_because_it_failed_has_another_name() {
    let inference =
        ScriptedInference::in_turn([Script::fail(overloaded(None)), Script::answer("seven")]);
    let inference = Arc::new(inference);
    run(&inference, ScriptedRuntime::new(crate::support::ask_once)).await;
    let works: Vec<_> = inference
        .calls()
        .iter()
        .map(|call| (call.request.id.attempt, call.request.retries))
        .collect();
    assert_eq!(works, [(1, 0), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_fewer_calls_of_a_judge_are_open_the_sooner_an_engine_shall_work_on_them() {
    let strategy = |_, guest: Guest| async move {
        let job = ask(&guest, "a", "question")?;
        let _ = guest.wait(job).await?;
        let _ = guest.score(vec![candidate("one")]).await?;
        Ok(answer("done"))
    };
    let scorer = |_, _, guest: Guest| async move {
        let first = ask(&guest, "a", "grade")?;
        let second = ask(&guest, "a", "grade")?;
        let _ = guest.wait(first).await?;
        let _ = guest.wait(second).await?;
        let third = ask(&guest, "a", "grade")?;
        let _ = guest.wait(third).await?;
        Ok(vec![score(1.0)])
    };
    let inference = Arc::new(ScriptedInference::answering("seven"));
    run(
        &inference,
        ScriptedRuntime::new(strategy).with_scorer(scorer),
    )
    .await;
    let mut calls = inference.calls();
    calls.sort_by_key(|call| call.request.id.job);
    let own: Vec<_> = calls.iter().map(|call| call.request.rank.own).collect();
    assert_eq!(own, [None, Some(1), Some(2), Some(1)]);
}
