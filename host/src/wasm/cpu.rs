//! Charges an instance for the CPU time that it takes, and for no other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::limits::{LimitExceeded, PluginLimits, key};

/// How often the engine's epoch advances: how long an instance that is not quick computes at a stretch.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// CPU time within which an instance is quick: it is never made to yield. A strategy of Rust takes a
/// tenth of it in all, one of Python a half.
pub(super) const QUICK: Duration = Duration::from_millis(5);

/// Counts the CPU time of the thread while an instance is polled: waiting costs nothing, and neither
/// does a machine that is busy with something else.
///
/// One thread at a time polls the instance, so the numbers are never contended; they are atomic
/// because it is not always the same one.
#[derive(Debug)]
pub(super) struct Meter {
    /// Of polls that have ended, in nanoseconds.
    taken: AtomicU64,
    /// What the thread's clock showed when the present poll began.
    poll_began: AtomicU64,
    /// What was taken when the instance was seen to replay last: that is not charged.
    free: AtomicU64,
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
            taken: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            free: AtomicU64::new(0),
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

    /// What was used in polls that have ended, a replay left out.
    pub(super) fn used(&self) -> Duration {
        let free = self.free.load(Ordering::Relaxed);
        Duration::from_nanos(self.taken_ns().saturating_sub(free))
    }

    /// What was taken in polls that have ended, a replay not left out.
    pub(super) fn taken_ns(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the instance has taken so little that it need not leave its caller's thread.
    pub(super) fn is_quick(&self) -> bool {
        u128::from(self.taken_ns()) < QUICK.as_nanos()
    }

    /// Counts what a poll takes.
    pub(super) fn poll<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.poll_began.store(thread_cpu_ns(), Ordering::Relaxed);
        let polled = poll();
        self.taken.fetch_add(self.in_poll(), Ordering::Relaxed);
        polled
    }

    /// What the present poll has taken.
    fn in_poll(&self) -> u64 {
        thread_cpu_ns().saturating_sub(self.poll_began.load(Ordering::Relaxed))
    }

    /// Does not count what `future`, which is polled inside a measured one, takes in its polls.
    pub(super) fn exclude<F: Future>(self: &Arc<Self>, future: F) -> Excluded<F> {
        Excluded {
            meter: Arc::clone(self),
            future: Box::pin(future),
        }
    }

    /// Looks at the clock, at a tick of the epoch: whether the instance must let others run. A replay
    /// is free of charge, since a slower machine must not end a good session.
    pub(super) fn tick(&self, calls: u64, replaying: bool) -> Result<bool, LimitExceeded> {
        let taken = self.taken_ns() + self.in_poll();
        let is_quick = u128::from(taken) < QUICK.as_nanos();
        if replaying {
            self.free.store(taken, Ordering::Relaxed);
            self.slice_began.store(0, Ordering::Relaxed);
            return Ok(!is_quick);
        }
        let used = taken.saturating_sub(self.free.load(Ordering::Relaxed));
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
        Ok(!is_quick)
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

    /// Runs a future whose polls the meter counts.
    async fn measured<F: Future>(meter: &Meter, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| meter.poll(|| future.as_mut().poll(context))).await
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
        measured(&meter, async {
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
        measured(&meter, async {
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
        measured(&meter, async {
            spin(Duration::from_millis(20));
            assert!(meter.tick(0, true).is_ok());
            spin(Duration::from_millis(3));
            assert!(meter.tick(0, false).is_ok());
        })
        .await;
    }

    #[tokio::test]
    async fn what_takes_long_is_made_to_yield_also_in_a_replay() {
        for replaying in [false, true] {
            let meter = Meter::new(&PluginLimits::default());
            measured(&meter, async {
                assert!(!meter.tick(0, replaying).unwrap());
                spin(QUICK);
                assert!(meter.tick(0, replaying).unwrap());
            })
            .await;
            assert!(!meter.is_quick());
        }
    }
}
