//! When what failed is tried again.

use std::time::Duration;

/// How long to wait before another try: exponential backoff with full jitter
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), and never sooner
/// than the server asks by `Retry-After`.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The bound of the first wait; it doubles with each further one.
    pub base: Duration,
    /// The bound of every wait.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// How long to wait before retry `n` (from 0); `jitter` is 0 to 1.
    #[must_use]
    pub fn wait(&self, n: u32, jitter: f64, retry_after: Option<Duration>) -> Duration {
        let bound = self
            .base
            .saturating_mul(2_u32.saturating_pow(n))
            .min(self.cap);
        bound.mul_f64(jitter).max(retry_after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_heed_retry_after() {
        let retry = Retry {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(5),
        };
        let wait = |n| retry.wait(n, 1.0, None).as_secs();
        assert_eq!(
            [wait(0), wait(1), wait(2), wait(3), wait(40)],
            [1, 2, 4, 5, 5]
        );
        assert_eq!(retry.wait(3, 0.0, None), Duration::ZERO);
        let asked = Some(Duration::from_secs(60));
        assert_eq!(retry.wait(0, 1.0, asked), Duration::from_secs(60));
    }
}
