//! Runs a plugin's future, and turns the host's blocking waits into wake-ups.
//!
//! There is one future and one thread. When the future can do nothing more, the executor waits for
//! the next completion of the one job set that all jobs are in, or for the next timer, and wakes
//! whoever waits for it. Everything happens in the order in which the host delivers completions,
//! so a replay that delivers the same ones runs the same way. A wait costs the same whatever the
//! number of jobs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::{fmt, mem};

use crate::error::{Error, Failure};
use crate::host::{Event, Host};
use crate::types::{Generation, GenerationRequest};

/// The jobs and timers of one plugin instance.
pub(crate) struct Executor {
    host: Rc<dyn Host>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// By the index in the host's job set.
    jobs: Vec<Slot>,
    /// How many of them are open.
    open: usize,
    /// By deadline, and in the order in which they were set.
    timers: BTreeMap<TimerKey, Option<Waker>>,
    timers_set: u64,
}

enum Slot {
    Open(Option<Waker>),
    Finished(Result<Generation, Failure>),
    /// Taken, or cancelled.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TimerKey {
    deadline_ms: u32,
    number: u64,
}

impl Executor {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        Self {
            host,
            state: RefCell::default(),
        }
    }

    pub(crate) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// Runs a future to its end.
    ///
    /// Fails when the future waits for what can never come: no job is open and no timer is set.
    pub(crate) fn run<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        loop {
            while flag.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return Ok(output);
                }
            }
            self.wait()?;
        }
    }

    /// Waits for one completion or timer.
    fn wait(&self) -> Result<(), Error> {
        let (open, deadline_ms) = {
            let state = self.state.borrow();
            let first = state.timers.first_key_value();
            (state.open, first.map(|(key, _)| key.deadline_ms))
        };
        let left_ms = deadline_ms.map(|at| at.saturating_sub(self.host.elapsed_ms()));
        let event = match (open, left_ms) {
            (0, None) => {
                return Err(Error::new(
                    "deadlock: the plugin waits, but no generation is open and no timer is set",
                ));
            }
            (_, Some(0)) => Event::TimedOut,
            (0, Some(left_ms)) => {
                self.host.sleep(left_ms);
                Event::TimedOut
            }
            (_, timeout_ms) => self.host.next(timeout_ms),
        };
        match event {
            Event::Completed { index, outcome } => self.complete(index, outcome),
            Event::TimedOut => self.fire(deadline_ms.unwrap_or(0)),
            Event::Empty => Err(Error::new("the host lost a generation that is open")),
        }
    }

    fn complete(&self, index: u32, outcome: Result<Generation, Failure>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let slot = state.jobs.get_mut(index as usize);
        let Some(slot @ Slot::Open(_)) = slot else {
            return Err(Error::new(
                "the host finished a generation that is not open",
            ));
        };
        let open = mem::replace(slot, Slot::Finished(outcome));
        state.open -= 1;
        drop(state);
        if let Slot::Open(Some(waker)) = open {
            waker.wake();
        }
        Ok(())
    }

    /// Ends every timer that is due at `deadline_ms`, the earliest first.
    fn fire(&self, deadline_ms: u32) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let later = state.timers.split_off(&TimerKey {
            deadline_ms: deadline_ms.saturating_add(1),
            number: 0,
        });
        let due = mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().flatten().for_each(Waker::wake);
        Ok(())
    }

    pub(crate) fn submit(self: &Rc<Self>, request: GenerationRequest) -> Result<Job, Failure> {
        let submitted = self.host.submit(request)?;
        let index = submitted.index as usize;
        let mut state = self.state.borrow_mut();
        debug_assert_eq!(index, state.jobs.len(), "indices count from 0 without gaps");
        state.jobs.push(Slot::Open(None));
        state.open += 1;
        Ok(Job {
            id: submitted.id,
            index,
            executor: Rc::clone(self),
        })
    }

    pub(crate) fn sleep(self: &Rc<Self>, milliseconds: u32) -> Sleep {
        let deadline_ms = self.host.elapsed_ms().saturating_add(milliseconds);
        let mut state = self.state.borrow_mut();
        let key = TimerKey {
            deadline_ms,
            number: state.timers_set,
        };
        state.timers_set += 1;
        state.timers.insert(key, None);
        Sleep {
            key,
            executor: Rc::clone(self),
        }
    }
}

/// A generation that is running: await it for the result.
///
/// Dropping it before it has finished cancels the generation, in the model server too.
#[must_use = "dropping a job cancels its generation"]
pub struct Job {
    id: u32,
    index: usize,
    executor: Rc<Executor>,
}

impl Job {
    /// Its number in the deliberation, from 1, for [`Candidate::jobs`](crate::Candidate::jobs).
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Future for Job {
    type Output = Result<Generation, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.executor.state.borrow_mut();
        let slot = &mut state.jobs[self.index];
        match mem::replace(slot, Slot::Gone) {
            Slot::Finished(outcome) => Poll::Ready(outcome),
            Slot::Open(_) => {
                *slot = Slot::Open(Some(context.waker().clone()));
                Poll::Pending
            }
            // Polled again after its result: there is no other.
            Slot::Gone => Poll::Pending,
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut state = self.executor.state.borrow_mut();
        if let Slot::Open(_) = mem::replace(&mut state.jobs[self.index], Slot::Gone) {
            state.open -= 1;
            drop(state);
            let index = u32::try_from(self.index).expect("the host counts jobs in 32 bits");
            self.executor.host.cancel(index);
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A wait for a time. Dropping it ends the wait.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    key: TimerKey,
    executor: Rc<Executor>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.executor.state.borrow_mut().timers.get_mut(&self.key) {
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.executor.state.borrow_mut().timers.remove(&self.key);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline_ms", &self.key.deadline_ms)
            .finish_non_exhaustive()
    }
}

/// Whether the future wants to be polled.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
