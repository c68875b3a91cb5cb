//! How long to wait before something is tried again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// Exponential backoff with equal jitter: half of a bound that doubles, and a random part of its other
/// half (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first wait.
    pub base: Duration,
    /// The bound of every wait.
    pub cap: Duration,
}

impl Backoff {
    /// How long to wait before try `n`, from 0; `jitter` is 0 to 1.
    #[must_use]
    pub fn wait(&self, n: u32, jitter: f64) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(n));
        let half = doubled.min(self.cap) / 2;
        half + half.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// A number of 0 to 1 that is another for other hosts (by their seeds), things and tries.
pub(super) fn jitter(seed: u64, what: &str, n: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, what, n).hash(&mut hasher);
    unit(hasher.finish())
}

/// Where a hash lies between 0 and 1.
pub(super) fn unit(hash: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits of it are exact, and enough"
    )]
    let (high, all) = ((hash >> 11) as f64, (1_u64 << 53) as f64);
    high / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_never_below_half_of_it() {
        let backoff = Backoff {
            base: Duration::from_secs(2),
            cap: Duration::from_secs(10),
        };
        let wait = |n, jitter| backoff.wait(n, jitter).as_secs();
        assert_eq!([0, 1, 2, 3, 90].map(|n| wait(n, 1.0)), [2, 4, 8, 10, 10]);
        assert_eq!([0, 1, 2, 3, 90].map(|n| wait(n, 0.0)), [1, 2, 4, 5, 5]);
    }

    #[test]
    fn jitter_is_spread_over_things_and_tries() {
        let all: Vec<f64> = (0..100).map(|n| jitter(7, "a", n)).collect();
        assert!(all.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        let mean = all.iter().sum::<f64>() / 100.0;
        assert!((0.35..0.65).contains(&mean), "{mean}");
        assert!(all[0] != jitter(8, "a", 0) && all[0] != jitter(7, "b", 0));
    }
}
