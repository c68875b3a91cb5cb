//! Where calls are polled, in which order, and how they end. The clock decides nothing here.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

use conclave_core::tasks::Tasks;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

use super::super::cpu::QUICK;
use super::super::limits::PluginLimits;
use super::*;

fn meter() -> Arc<Meter> {
    Meter::new(&PluginLimits::default())
}

/// Computes for longer than is quick, and yields as at a tick.
async fn compute() {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).unwrap(),
        )
    };
    let began = now();
    while now() - began < QUICK {}
    yield_once().await;
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn here() -> ThreadId {
    thread::current().id()
}

#[tokio::test]
async fn what_is_quick_stays_on_its_callers_thread() {
    let background = Background::on(1).unwrap();
    let threads = background.run(meter(), async {
        let mut threads = vec![here()];
        for _ in 0..100 {
            yield_once().await;
            threads.push(here());
            tokio::task::yield_now().await;
            threads.push(here());
        }
        threads
    });
    let threads = threads.await;
    assert!(threads.iter().all(|thread| *thread == here()));
}

#[tokio::test]
async fn the_ticker_learns_of_every_poll() {
    let background = Background::on(1).unwrap();
    let polled = background.polled();
    assert!(!polled.load(Ordering::Relaxed));
    background.run(meter(), async {}).await;
    assert!(polled.swap(false, Ordering::Relaxed));
    let seen = Arc::clone(&polled);
    let call = background.run(meter(), async move {
        compute().await;
        seen.swap(false, Ordering::Relaxed);
        yield_once().await;
    });
    call.await;
    assert!(polled.load(Ordering::Relaxed), "a turn was not told");
}

#[tokio::test]
async fn what_computes_for_long_goes_on_elsewhere() {
    let background = Background::on(1).unwrap();
    let call = background.run(meter(), async {
        let first = here();
        compute().await;
        (first, here(), thread::current().name().map(str::to_owned))
    });
    let (first, then, name) = call.await;
    assert_eq!(first, here());
    assert_ne!(then, here());
    assert_eq!(name.as_deref(), Some("conclave-plugins"));
}

/// One thread has both the call and the timer: were the call polled on it, this would not end.
#[tokio::test]
async fn a_timer_fires_while_a_call_computes_without_end() {
    let background = Background::on(1).unwrap();
    let rung = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&rung);
    let spin = background.run(meter(), async move {
        compute().await;
        while !seen.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let ring = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rung.store(true, Ordering::Relaxed);
    };
    tokio::join!(spin, ring);
}

#[tokio::test]
async fn calls_that_compute_take_turns() {
    let background = Background::on(1).unwrap();
    let counted = Arc::new(AtomicU64::new(0));
    let count = || {
        let counted = Arc::clone(&counted);
        background.run(meter(), async move {
            compute().await;
            counted.fetch_add(1, Ordering::Relaxed);
            // Without turns, the first to have the thread would wait for the other for ever.
            while counted.load(Ordering::Relaxed) < 2 {
                yield_once().await;
            }
        })
    };
    tokio::join!(count(), count());
}

/// A call that is only asked for what it has taken.
struct Took(u64);

impl Resume for Took {
    fn resume(self: Arc<Self>) -> bool {
        false
    }

    fn taken_ns(&self) -> u64 {
        self.0
    }
}

#[test]
fn who_took_least_is_next_and_then_who_came_first() {
    let queue = Queue::default();
    for taken_ns in [70, 20, 50, 20] {
        queue.push(Arc::new(Took(taken_ns)));
    }
    let order: Vec<_> = (0..4).map(|_| queue.next().unwrap().taken_ns()).collect();
    assert_eq!(order, [20, 20, 50, 70]);
    let [first, second] = [1, 2].map(|number| Turn {
        taken_ns: 20,
        number,
        call: Arc::new(Took(20)),
    });
    assert!(first < second);
}

/// Nobody else wakes it: what comes during a poll must not be lost.
#[tokio::test]
async fn what_is_woken_during_its_turn_gets_another() {
    let background = Background::on(1).unwrap();
    let call = background.run(meter(), async {
        compute().await;
        for _ in 0..100 {
            yield_once().await;
        }
    });
    call.await;
}

#[tokio::test]
async fn no_wake_up_is_lost_between_threads() {
    let background = Background::on(2).unwrap();
    let call = background.run(meter(), async {
        compute().await;
        for number in 0..2_000 {
            let (tell, told) = oneshot::channel();
            // The task is started in the caller's runtime, and answers while the call goes to wait.
            Tasks::default().spawn("answer", async move { tell.send(number) });
            assert_eq!(told.await, Ok(number));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
    call.await;
}

#[tokio::test]
async fn a_panic_comes_to_the_caller() {
    let background = Background::on(1).unwrap();
    let call = background.run(meter(), async {
        compute().await;
        unreachable!("it panics");
    });
    let ended: Result<(), _> = Tasks::default().spawn("caller", call).await;
    assert!(ended.unwrap_err().is_panic());
    // The thread lives on.
    background.run(meter(), compute()).await;
}

/// Tells of its drop.
struct Tell(mpsc::SyncSender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_with_its_turn() {
    let background = Background::on(1).unwrap();
    let (tell, told) = mpsc::sync_channel(1);
    let (computes, began) = oneshot::channel();
    let owned = Tell(tell);
    let call = background.run(meter(), async move {
        let _owned = owned;
        compute().await;
        computes.send(()).unwrap();
        loop {
            yield_once().await;
        }
    });
    tokio::select! {
        () = call => unreachable!("it computes without end"),
        began = began => began.unwrap(),
    }
    told.recv().unwrap();
}

#[tokio::test]
async fn a_call_that_waits_is_dropped_at_once() {
    let background = Background::on(1).unwrap();
    let (tell, told) = mpsc::sync_channel(1);
    let owned = Tell(tell);
    let mut call = background.run(meter(), async move {
        let _owned = owned;
        std::future::pending::<()>().await;
    });
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(told.try_recv(), Ok(()));
}
