use proptest::prelude::*;
use tokio::time::Instant;

use super::super::breaker::{Breaker, Verdict};
use super::*;

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: 10 * SECOND,
        calls_min: 10,
        failure_rate: 0.5,
        failures_in_a_row_max: 3,
        open: Backoff {
            base: 2 * SECOND,
            cap: 16 * SECOND,
        },
    }
}

fn failed() -> Verdict {
    Verdict::Failed("connection reset".to_owned())
}

/// A breaker that has opened, and when it lets a call pass.
fn opened(now: Instant) -> (Breaker, Instant) {
    let mut breaker = Breaker::new("s".to_owned(), &settings(), 0);
    for _ in 0..3 {
        let ticket = breaker.pass();
        breaker.report(ticket, &failed(), now);
    }
    let until = now + breaker.retry_in(now).expect("it is open");
    (breaker, until)
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_failures_in_a_row_and_tells_why_and_until_when() {
    let now = Instant::now();
    let mut breaker = Breaker::new("s".to_owned(), &settings(), 0);
    for verdict in [failed(), failed(), Verdict::Succeeded, failed(), failed()] {
        let ticket = breaker.pass();
        breaker.report(ticket, &verdict, now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }
    let ticket = breaker.pass();
    breaker.report(ticket, &failed(), now);
    let status = breaker.status(now);
    assert_eq!(status.state, BreakerState::Open);
    assert_eq!(status.cause.as_deref(), Some("connection reset"));
    assert_eq!(status.opened, 1);
    let retry_in = status.retry_in.unwrap();
    assert!((SECOND..=2 * SECOND).contains(&retry_in), "{retry_in:?}");
    assert!(!breaker.permits(now));
}

#[tokio::test(start_paused = true)]
async fn it_opens_by_the_rate_of_failures_in_the_window_and_not_before_enough_calls() {
    let start = Instant::now();
    let mut breaker = Breaker::new("s".to_owned(), &settings(), 0);
    let mut call = |verdict, after: u32| {
        let ticket = breaker.pass();
        breaker.report(ticket, &verdict, start + after * SECOND);
        breaker.state(start + after * SECOND)
    };
    // Every second call fails: half of them, but for nine calls nobody knows.
    for n in 0..9 {
        let verdict = if n % 2 == 0 {
            failed()
        } else {
            Verdict::Succeeded
        };
        assert_eq!(call(verdict, 0), BreakerState::Closed, "{n}");
    }
    // Out of the window, they count no more.
    for _ in 0..4 {
        assert_eq!(call(Verdict::Succeeded, 11), BreakerState::Closed);
        assert_eq!(call(failed(), 11), BreakerState::Closed);
    }
    assert_eq!(call(Verdict::Succeeded, 12), BreakerState::Closed);
    assert_eq!(call(failed(), 12), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn half_open_one_call_passes_at_a_time_and_decides() {
    let (mut breaker, until) = opened(Instant::now());
    assert!(!breaker.permits(until - Duration::from_millis(1)));
    assert!(breaker.permits(until));
    let probe = breaker.pass();
    assert!(!breaker.permits(until), "one at a time");
    assert_eq!(breaker.state(until), BreakerState::HalfOpen);
    breaker.report(probe, &Verdict::Nothing, until);
    assert!(breaker.permits(until), "a cancelled probe decides nothing");
    let probe = breaker.pass();
    breaker.report(probe, &Verdict::Succeeded, until);
    assert_eq!(breaker.state(until), BreakerState::Closed);
    assert_eq!(breaker.status(until).cause, None);
}

#[tokio::test(start_paused = true)]
async fn calls_from_before_a_transition_decide_nothing_after_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new("s".to_owned(), &settings(), 0);
    let late = [breaker.pass(), breaker.pass()];
    for _ in 0..3 {
        let ticket = breaker.pass();
        breaker.report(ticket, &failed(), now);
    }
    let until = now + breaker.retry_in(now).unwrap();
    breaker.report(late[0], &Verdict::Succeeded, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
    let probe = breaker.pass();
    breaker.report(late[1], &failed(), until);
    assert_eq!(breaker.state(until), BreakerState::HalfOpen);
    breaker.report(probe, &Verdict::Succeeded, until);
    assert_eq!(breaker.state(until), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_for_longer_each_time_up_to_the_cap_and_starts_anew_once_closed() {
    let (mut breaker, mut until) = opened(Instant::now());
    let mut bound = 2 * SECOND;
    for _ in 0..6 {
        bound = (bound * 2).min(16 * SECOND);
        let probe = breaker.pass();
        breaker.report(probe, &failed(), until);
        let wait = breaker.retry_in(until).unwrap();
        assert!((bound / 2..=bound).contains(&wait), "{wait:?} of {bound:?}");
        until += wait;
    }
    let probe = breaker.pass();
    breaker.report(probe, &Verdict::Succeeded, until);
    for _ in 0..3 {
        let ticket = breaker.pass();
        breaker.report(ticket, &failed(), until);
    }
    assert!(breaker.retry_in(until).unwrap() <= 2 * SECOND);
}

proptest! {
    #[test]
    fn half_open_never_passes_two(steps in prop::collection::vec((0_u8..4, 0_u64..3), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut now = Instant::now();
        let (mut breaker, _) = opened(now);
        let mut probes = Vec::new();
        for (step, secs) in steps {
            now += Duration::from_secs(secs);
            let was_closed = breaker.state(now) == BreakerState::Closed;
            match step {
                0 if breaker.permits(now) => {
                    let ticket = breaker.pass();
                    if !was_closed {
                        prop_assert!(probes.is_empty());
                        probes.push(ticket);
                    }
                }
                1..4 => if let Some(ticket) = probes.pop() {
                    let verdict = [Verdict::Succeeded, failed(), Verdict::Nothing];
                    breaker.report(ticket, &verdict[usize::from(step) - 1], now);
                },
                _ => (),
            }
        }
    }
}
