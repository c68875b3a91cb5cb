//! Charges an instance for the CPU time that it takes, and for no other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::limits::{LimitExceeded, PluginLimits, key};

/// How often the engine's epoch advances: how long an instance may run before it lets others run.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Counts the CPU time of the thread while an instance is polled: waiting costs nothing, and neither
/// does a machine that is busy with something else.
///
/// One task owns the instance, so the numbers are never contended; they are atomic because wasmtime
/// wants its callbacks to be `Sync`.
#[derive(Debug)]
pub(super) struct Meter {
    /// Of polls that have ended, in nanoseconds.
    used: AtomicU64,
    /// What the thread's clock showed when the present poll began.
    poll_began: AtomicU64,
    /// Host calls that were seen at the last tick.
    calls_seen: AtomicU64,
    /// What was used at the last tick that saw another number of host calls.
    slice_began: AtomicU64,
    slice_max: Duration,
    total_max: Duration,
    created: Instant,
    /// From `created` to the instance's first instruction of its own, in nanoseconds; 0 before.
    instantiation: AtomicU64,
}

impl Meter {
    pub(super) fn new(limits: &PluginLimits) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            calls_seen: AtomicU64::new(0),
            slice_began: AtomicU64::new(0),
            slice_max: Duration::from_millis(limits.cpu_slice_ms_max),
            total_max: Duration::from_millis(limits.cpu_ms_max),
            created: Instant::now(),
            instantiation: AtomicU64::new(0),
        })
    }

    /// Takes note that the instance is there.
    pub(super) fn instantiated(&self) {
        let took = u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.instantiation.store(took.max(1), Ordering::Relaxed);
    }

    /// How long it took to make the instance, if it was made.
    pub(super) fn instantiation(&self) -> Option<Duration> {
        let took = self.instantiation.load(Ordering::Relaxed);
        (took > 0).then(|| Duration::from_nanos(took))
    }

    /// What was used in polls that have ended.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Counts what `future` takes in its polls.
    pub(super) fn measure<F: Future>(self: &Arc<Self>, future: F) -> Measured<F> {
        Measured {
            meter: Arc::clone(self),
            future: Box::pin(future),
        }
    }

    /// Does not count what `future`, which is polled inside a measured one, takes in its polls.
    pub(super) fn exclude<F: Future>(self: &Arc<Self>, future: F) -> Excluded<F> {
        Excluded {
            meter: Arc::clone(self),
            future: Box::pin(future),
        }
    }

    /// Looks at the clock, at a tick of the epoch: whether the instance ran long enough in this poll
    /// to let others run. A replay is free of charge, since a slower machine must not end a good
    /// session.
    pub(super) fn tick(&self, calls: u64, replaying: bool) -> Result<bool, LimitExceeded> {
        let now = thread_cpu_ns();
        let in_poll = now.saturating_sub(self.poll_began.load(Ordering::Relaxed));
        if replaying {
            self.used.store(0, Ordering::Relaxed);
            self.poll_began.store(now, Ordering::Relaxed);
            self.slice_began.store(0, Ordering::Relaxed);
            // The poll is as long as it was: always let others run.
            return Ok(true);
        }
        let used = self.used.load(Ordering::Relaxed) + in_poll;
        if self.calls_seen.swap(calls, Ordering::Relaxed) != calls {
            self.slice_began.store(used, Ordering::Relaxed);
        }
        let slice = used.saturating_sub(self.slice_began.load(Ordering::Relaxed));
        within(
            key::CPU_SLICE_MS,
            slice,
            self.slice_max,
            "between two host calls",
        )?;
        within(key::CPU_MS, used, self.total_max, "in all")?;
        Ok(u128::from(in_poll) >= TICK.as_nanos() / 2)
    }
}

/// A future whose polls are charged to a [`Meter`].
pub(super) struct Measured<F> {
    meter: Arc<Meter>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter
            .poll_began
            .store(thread_cpu_ns(), Ordering::Relaxed);
        let poll = self.future.as_mut().poll(context);
        let began = self.meter.poll_began.load(Ordering::Relaxed);
        let took = thread_cpu_ns().saturating_sub(began);
        self.meter.used.fetch_add(took, Ordering::Relaxed);
        poll
    }
}

/// A future whose polls are not charged to the [`Meter`] that measures its caller.
pub(super) struct Excluded<F> {
    meter: Arc<Meter>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Excluded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_cpu_ns();
        let poll = self.future.as_mut().poll(context);
        let took = thread_cpu_ns().saturating_sub(began);
        self.meter.poll_began.fetch_add(took, Ordering::Relaxed);
        poll
    }
}

fn within(
    limit: &'static str,
    used_ns: u64,
    max: Duration,
    over: &str,
) -> Result<(), LimitExceeded> {
    if u128::from(used_ns) <= max.as_nanos() {
        return Ok(());
    }
    let detail = format!(
        "at most {} ms of CPU time {over} are allowed",
        max.as_millis()
    );
    Err(LimitExceeded::new(limit, detail))
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(time: Duration) {
        let began = thread_cpu_ns();
        while u128::from(thread_cpu_ns() - began) < time.as_nanos() {}
    }

    fn limits() -> PluginLimits {
        PluginLimits {
            cpu_slice_ms_max: 5,
            cpu_ms_max: 12,
            ..PluginLimits::default()
        }
    }

    #[tokio::test]
    async fn computing_is_charged_and_waiting_is_not() {
        let meter = Meter::new(&limits());
        meter
            .measure(async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                assert!(meter.tick(0, false).is_ok(), "waiting was charged");
                spin(Duration::from_millis(6));
                let error = meter.tick(0, false).unwrap_err();
                assert_eq!(error.limit, "plugins.limits.cpu_slice_ms_max");
                assert_eq!(
                    error.detail,
                    "at most 5 ms of CPU time between two host calls are allowed"
                );
            })
            .await;
    }

    #[tokio::test]
    async fn host_calls_start_a_slice_but_not_the_total() {
        let meter = Meter::new(&limits());
        meter
            .measure(async {
                for calls in 1..=3 {
                    spin(Duration::from_millis(3));
                    assert!(meter.tick(calls, false).is_ok());
                }
                spin(Duration::from_millis(4));
                let error = meter.tick(4, false).unwrap_err();
                assert_eq!(error.limit, "plugins.limits.cpu_ms_max");
            })
            .await;
    }

    #[tokio::test]
    async fn a_replay_is_free() {
        let meter = Meter::new(&limits());
        meter
            .measure(async {
                spin(Duration::from_millis(20));
                assert!(meter.tick(0, true).is_ok());
                spin(Duration::from_millis(3));
                assert!(meter.tick(0, false).is_ok());
            })
            .await;
    }
}
