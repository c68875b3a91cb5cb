//! Time: tokio's clock, set to the wall clock once, so that tests can pause it and a wall clock that
//! jumps while the host runs moves no deadline. Or, for a rehearsal, a clock that nobody waits for:
//! see [`Clock::skipping`].

mod skipping;

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use self::skipping::Skipping;

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix: Duration,
    skipping: Option<Skipping>,
}

/// The time passed before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time has passed")]
pub struct Elapsed;

impl Clock {
    /// A clock that agrees with the system's wall clock now.
    #[must_use]
    pub fn system() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::starting_at(unix.unwrap_or_default())
    }

    /// A clock that shows this time since the Unix epoch now.
    #[must_use]
    pub fn starting_at(unix: Duration) -> Self {
        Self {
            origin: Instant::now(),
            origin_unix: unix,
            skipping: None,
        }
    }

    /// A clock that stands still at this time since the Unix epoch, until [`Clock::skip`] moves it to
    /// the next time that anybody sleeps for. Whoever calls that when nobody has anything else to do
    /// makes hours pass in no time, and the same in every run.
    #[must_use]
    pub fn skipping(unix: Duration) -> Self {
        Self {
            skipping: Some(Skipping::default()),
            ..Self::starting_at(unix)
        }
    }

    /// Moves a skipping clock to the earliest time that is slept for, and wakes who sleeps for it.
    pub fn skip(&self) {
        if let Some(skipping) = &self.skipping {
            skipping.skip();
        }
    }

    /// The time as tokio measures it.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.skipping {
            Some(skipping) => self.origin + skipping.passed(),
            None => Instant::now(),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let unix = self.origin_unix + self.now().duration_since(self.origin);
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant at which [`Clock::unix_ms`] begins to show this time, the same at every call; when
    /// the clock was set, if it was later already.
    #[must_use]
    pub fn instant_of(&self, unix_ms: u64) -> Instant {
        let ahead = Duration::from_millis(unix_ms).saturating_sub(self.origin_unix);
        // A time too far away to be an instant is as good as a day.
        self.origin
            .checked_add(ahead)
            .unwrap_or_else(|| self.now() + Duration::from_secs(86_400))
    }

    /// Waits until an instant.
    pub async fn sleep_until(&self, until: Instant) {
        match &self.skipping {
            Some(skipping) => {
                skipping
                    .sleep_until(until.duration_since(self.origin))
                    .await;
            }
            None => tokio::time::sleep_until(until).await,
        }
    }

    /// Waits for a time.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Waits for a future, at most until an instant; the future is polled first.
    ///
    /// # Errors
    /// [`Elapsed`] when the instant came first; the future is dropped then.
    pub async fn timeout_at<F: Future>(
        &self,
        until: Instant,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep_until(until) => Err(Elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_skipping_clock_stands_still_until_it_is_moved_to_the_next_sleeper() {
        let clock = Clock::skipping(DAY);
        let began = clock.now();
        let mut late = Box::pin(clock.sleep(DAY));
        let mut early = Box::pin(clock.sleep(DAY / 2));
        let dropped = Box::pin(clock.sleep(DAY / 4));
        assert!((&mut late).now_or_never().is_none());
        assert!((&mut early).now_or_never().is_none());
        drop(dropped);
        assert_eq!(clock.now(), began);
        clock.skip();
        assert_eq!(clock.now() - began, DAY / 2);
        assert!((&mut late).now_or_never().is_none());
        assert!((&mut early).now_or_never().is_some());
        clock.skip();
        assert!((&mut late).now_or_never().is_some());
        assert_eq!(clock.unix_ms(), 2 * 86_400_000);
        clock.skip();
        assert_eq!(clock.now() - began, DAY, "nobody sleeps");
    }

    #[test]
    fn a_timeout_drops_what_takes_longer() {
        let clock = Clock::skipping(DAY);
        let until = clock.now() + DAY;
        let ready = clock.timeout_at(until, std::future::ready(7));
        assert_eq!(ready.now_or_never(), Some(Ok(7)));
        let mut waiting = Box::pin(clock.timeout_at(until, std::future::pending::<()>()));
        assert!((&mut waiting).now_or_never().is_none());
        clock.skip();
        assert_eq!(waiting.now_or_never(), Some(Err(Elapsed)));
    }
}
