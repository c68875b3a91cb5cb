//! Time: tokio's clock, set to the wall clock once, so that tests can pause it and a wall clock that
//! jumps while the host runs moves no deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix: Duration,
}

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
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let unix = self.origin_unix + self.origin.elapsed();
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
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}
