//! Tries of a call, with growing waits between them.

use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::Error;
use conclave_core::retry::Retry;
use ring::rand::SystemRandom;
use tokio::time::sleep;

/// Tries until a try succeeds, fails for good, or was the last one.
pub(super) async fn persist<T, F>(
    retry: Retry,
    tries_max: u32,
    attempt: impl Fn() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut tries = 0;
    loop {
        let error = match attempt().await {
            Err(error) if error.is_retryable() => error,
            done => return done,
        };
        tries += 1;
        if tries >= tries_max {
            return Err(error);
        }
        tracing::debug!(error = %Chain(&error), tries, "a call to a Ray cluster failed");
        sleep(wait(retry, tries - 1)).await;
    }
}

fn wait(retry: Retry, n: u32) -> Duration {
    let random = ring::rand::generate::<[u8; 4]>(&SystemRandom::new());
    // A machine without randomness waits longest, as all do in the worst case.
    let random = random.map_or(u32::MAX, |random| u32::from_le_bytes(random.expose()));
    retry.wait(n, f64::from(random) / f64::from(u32::MAX), None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    const RETRY: Retry = Retry {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(4),
    };

    fn unavailable() -> Error {
        Error::Unavailable {
            address: "http://h:8265".to_owned(),
            source: "connection refused".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_between_tries_grow_and_are_bounded() {
        let tries = Cell::new(0);
        let started = Instant::now();
        let done: Result<(), Error> = persist(RETRY, 5, || {
            tries.set(tries.get() + 1);
            async { Err(unavailable()) }
        })
        .await;
        assert!(done.is_err() && tries.get() == 5);
        // At most 1, 2, 4 and 4 s; full jitter may make each of them anything below.
        let waited = started.elapsed();
        assert!(
            waited > Duration::ZERO && waited <= Duration::from_secs(11),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_fail_again_is_not_tried_again() {
        let tries = Cell::new(0);
        let done: Result<(), Error> = persist(RETRY, 5, || {
            tries.set(tries.get() + 1);
            async {
                Err(Error::Protocol {
                    address: "http://h:8265".to_owned(),
                    reason: "no JSON".to_owned(),
                })
            }
        })
        .await;
        assert!(done.is_err() && tries.get() == 1);
    }
}
