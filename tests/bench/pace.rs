//! Calls at a fixed rate, whatever becomes of those before: an open loop.
//!
//! The latency of a call counts from the moment at which it was due, so that a host which holds up
//! one call is charged for all that were due meanwhile, and no omission is coordinated with it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Calls that are due and not begun; at 200 a second this is some five seconds of them.
const DUE_MAX: usize = 1_024;

/// How long the calls took, and what they answered.
pub(crate) type Answered<T> = Vec<(Duration, T)>;

/// Makes `count` calls, so many a second, and waits for all of their answers.
pub(crate) async fn paced<T, F, Call>(
    rate: u32,
    count: usize,
    call: F,
) -> anyhow::Result<Answered<T>>
where
    T: Send + 'static,
    F: Fn(usize) -> Call,
    Call: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let mut dues = dues(rate, count);
    let mut calls = JoinSet::new();
    let mut answered = Vec::new();
    loop {
        tokio::select! {
            due = dues.recv() => {
                let Some((number, due)) = due else { break };
                let call = call(number);
                calls.spawn(async move {
                    let answer = call.await;
                    (due.elapsed(), answer)
                });
            }
            Some(done) = calls.join_next() => {
                let (took, answer) = done?;
                answered.push((took, answer?));
            }
        }
    }
    while let Some(done) = calls.join_next().await {
        let (took, answer) = done?;
        answered.push((took, answer?));
    }
    Ok(answered)
}

/// The numbers of the calls, each with the moment at which it is due, at that moment. A thread keeps
/// the time: tokio's timers are exact to a millisecond only, which is much beside a call's latency.
fn dues(rate: u32, count: usize) -> mpsc::Receiver<(usize, Instant)> {
    let (tell, dues) = mpsc::channel(DUE_MAX);
    let every = Duration::from_secs(1) / rate.max(1);
    std::thread::spawn(move || {
        let mut due = Instant::now() + Duration::from_millis(50);
        for number in 0..count {
            while let Some(early) = due.checked_duration_since(Instant::now()) {
                if early.is_zero() {
                    break;
                }
                std::thread::park_timeout(early);
            }
            // Nobody listens any more when the calls have failed, or are not needed.
            if tell.blocking_send((number, due)).is_err() {
                return;
            }
            due += every;
        }
    });
    dues
}
