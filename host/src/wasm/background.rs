//! Where instances go on that compute for long.
//!
//! An instance runs where it is called, on a worker of the async runtime, for as long as it is quick:
//! most never take more CPU time than [`QUICK`](super::cpu::QUICK). What takes more goes on here, a
//! tick at a time, on threads that leave the workers to timers, sockets and other sessions: there is
//! one core less than the machine has, and they are nicer than the workers. So a worker is held up by
//! an instance once in its life, for QUICK and a tick, however many spin.
//!
//! The next turn is for the call that has taken the least CPU time: one that computes a little does
//! not queue behind those that compute for ever (least attained service; Nuyens and Wierman, "The
//! foreground-background queue: A survey", 2008).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::Handle;

use super::cpu::Meter;

/// How much nicer the threads are than the rest of the host. Where all want the same core, a turn gets
/// a quarter of it, and whoever wakes up does not wait for it. With less than that, others would wait
/// for what a call locks in its session.
const NICER: i32 = 5;

/// The threads; they end when this is dropped.
pub(super) struct Background {
    queue: Arc<Queue>,
    polled: Arc<AtomicBool>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    turns: BinaryHeap<Reverse<Turn>>,
    /// Of the turn that was queued last.
    number: u64,
    closed: bool,
}

/// A call that wants to go on. Who took least, and then who came first, is next.
struct Turn {
    taken_ns: u64,
    number: u64,
    call: Arc<dyn Resume>,
}

impl Turn {
    fn place(&self) -> (u64, u64) {
        (self.taken_ns, self.number)
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Turn {}

impl Background {
    /// As many threads as the machine has cores, but for one, and at least one.
    pub(super) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::on(cores.saturating_sub(1).max(1))
    }

    fn on(threads: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("conclave-plugins".to_owned());
            thread.spawn(move || {
                give_way();
                while let Some(call) = queue.next() {
                    if Arc::clone(&call).resume() {
                        queue.push(call);
                    }
                }
            })?;
        }
        Ok(Self {
            queue,
            polled: Arc::default(),
        })
    }

    /// Is set whenever an instance is polled, wherever that is.
    pub(super) fn polled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.polled)
    }

    /// Runs a call of an instance, whose CPU time this meter counts. Dropping the future ends the
    /// call, at the end of its turn if it has one.
    ///
    /// Must be called in the async runtime that the call's timers and tasks are for.
    pub(super) fn run<F>(&self, meter: Arc<Meter>, call: F) -> Running<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let state = State {
            place: Place::Here(Box::pin(call)),
            woken: true,
            caller: None,
        };
        Running {
            queue: Arc::clone(&self.queue),
            call: Arc::new(Call {
                meter,
                polled: self.polled(),
                runtime: Handle::current(),
                state: Mutex::new(state),
            }),
        }
    }
}

/// Has this thread give way to the rest of the host, for as long as it lives: only the privileged may
/// take that back.
pub(crate) fn give_way() {
    // On Linux these are the priorities of the thread. It has that of whoever started it.
    let own = getpriority_process(None);
    let nicer = own.and_then(|own| setpriority_process(None, own.saturating_add(NICER)));
    if let Err(error) = nicer {
        tracing::debug!(%error, "plugins that compute run at the host's own priority");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // The threads are not waited for: a call may own the last handle of what owns this.
        let mut waiting = self.queue.waiting();
        waiting.closed = true;
        waiting.turns.clear();
        drop(waiting);
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn push(&self, call: Arc<dyn Resume>) {
        let mut waiting = self.waiting();
        if waiting.closed {
            return;
        }
        waiting.number += 1;
        let turn = Turn {
            taken_ns: call.taken_ns(),
            number: waiting.number,
            call,
        };
        waiting.turns.push(Reverse(turn));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for the next turn; nothing when there will be none.
    fn next(&self) -> Option<Arc<dyn Resume>> {
        let mut waiting = self.waiting();
        loop {
            if let Some(Reverse(turn)) = waiting.turns.pop() {
                return Some(turn.call);
            }
            if waiting.closed {
                return None;
            }
            let changed = self.changed.wait(waiting);
            waiting = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread knows of a call.
trait Resume: Send + Sync {
    /// Lets it compute until it waits, ends, or yields at a tick; whether it wants another turn.
    fn resume(self: Arc<Self>) -> bool;

    /// CPU time that it has taken up to now.
    fn taken_ns(&self) -> u64;
}

/// A call of an instance, as its caller waits for it.
pub(super) struct Running<T: Send + 'static> {
    queue: Arc<Queue>,
    call: Arc<Call<T>>,
}

struct Call<T> {
    meter: Arc<Meter>,
    polled: Arc<AtomicBool>,
    /// Where timers and tasks of the call belong, wherever it is polled.
    runtime: Handle,
    state: Mutex<State<T>>,
}

struct State<T> {
    place: Place<T>,
    /// Whether what the call waits for has come since it was polled last.
    woken: bool,
    caller: Option<Waker>,
}

type Instance<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the call is.
enum Place<T> {
    /// With its caller: it waits for something, or is quick.
    Here(Instance<T>),
    /// In the queue.
    Queued(Instance<T>),
    /// Being polled.
    Polled,
    /// Over, or ended by a panic.
    Ended(thread::Result<T>),
    /// Nobody wants it any more.
    Dropped,
}

impl<T: Send + 'static> Future for Running<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let call = &self.call;
        let mut state = call.state();
        let instance = match std::mem::replace(&mut state.place, Place::Polled) {
            Place::Ended(ended) => {
                drop(state);
                return Poll::Ready(ended.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            Place::Here(instance) if state.woken => instance,
            elsewhere => {
                state.place = elsewhere;
                state.caller = Some(context.waker().clone());
                return Poll::Pending;
            }
        };
        state.caller = Some(context.waker().clone());
        if !call.meter.is_quick() {
            state.place = Place::Queued(instance);
            drop(state);
            self.queue.push(Arc::clone(call) as Arc<dyn Resume>);
            return Poll::Pending;
        }
        drop(state);
        let (instance, poll) = call.poll(instance);
        if poll.is_ready() {
            return poll;
        }
        let mut state = call.state();
        state.place = Place::Here(instance);
        if state.woken {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for Running<T> {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut self.call.state().place, Place::Dropped);
        drop(place);
    }
}

impl<T: Send + 'static> Call<T> {
    fn poll(self: &Arc<Self>, mut instance: Instance<T>) -> (Instance<T>, Poll<T>) {
        self.state().woken = false;
        self.polled.store(true, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(self));
        let mut context = Context::from_waker(&waker);
        let poll = self.meter.poll(|| instance.as_mut().poll(&mut context));
        (instance, poll)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Resume for Call<T> {
    fn resume(self: Arc<Self>) -> bool {
        let mut state = self.state();
        let instance = match std::mem::replace(&mut state.place, Place::Polled) {
            Place::Queued(instance) => instance,
            elsewhere => {
                state.place = elsewhere;
                return false;
            }
        };
        drop(state);
        let _runtime = self.runtime.enter();
        let place = match catch_unwind(AssertUnwindSafe(|| self.poll(instance))) {
            Ok((_, Poll::Ready(output))) => Place::Ended(Ok(output)),
            Ok((instance, Poll::Pending)) => Place::Here(instance),
            Err(panic) => Place::Ended(Err(panic)),
        };
        let mut state = self.state();
        if matches!(state.place, Place::Dropped) {
            drop(state);
            drop(place);
            return false;
        }
        match place {
            Place::Here(instance) if state.woken => {
                state.place = Place::Queued(instance);
                return true;
            }
            Place::Here(_) => state.place = place,
            ended => {
                state.place = ended;
                let caller = state.caller.take();
                drop(state);
                if let Some(caller) = caller {
                    caller.wake();
                }
            }
        }
        false
    }

    fn taken_ns(&self) -> u64 {
        self.meter.taken_ns()
    }
}

impl<T: Send + 'static> Wake for Call<T> {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        state.woken = true;
        // Elsewhere, it is seen when the poll is over.
        if matches!(state.place, Place::Here(_)) {
            let caller = state.caller.clone();
            drop(state);
            if let Some(caller) = caller {
                caller.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests;
