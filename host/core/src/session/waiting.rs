//! How a plugin waits: for one generation, for a set of them, or for a time.

use crate::entry::Entry;
use crate::generation::{Failure, Generation};
use crate::ids::JobId;
use crate::live::lock;

use super::guest::Guest;
use super::jobs::{JobState, SetId};
use super::{State, Stopped};

/// What [`Guest::next`] brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A member of the set has finished.
    Completed {
        /// Its place in the set.
        index: u32,
        /// Its number in the deliberation.
        job: JobId,
        /// Its result.
        outcome: Result<Generation, Failure>,
    },
    /// The time passed first.
    TimedOut,
    /// The set holds no open job.
    Empty,
}

/// A generation's place in its set, its number and its result.
type Delivered = (u32, JobId, Result<Generation, Failure>);

impl Guest {
    /// Waits for a generation's result.
    ///
    /// # Errors
    /// [`Stopped`]; inside, the generation's failure.
    pub async fn wait(&self, job: JobId) -> Result<Result<Generation, Failure>, Stopped> {
        loop {
            let stirred = self.session.stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            {
                let state = &mut *lock(&self.session.state);
                state.check_open()?;
                self.end_wave(state);
                let Some(known) = state.jobs.get(job) else {
                    return Ok(Err(Failure::Rejected(format!("there is no job {job}"))));
                };
                let ready = match &known.state {
                    JobState::Done { result, .. } if known.delivered => {
                        return Ok(Result::clone(result));
                    }
                    JobState::Done { .. } => Some(job),
                    JobState::Cancelled => return Ok(Err(Failure::Cancelled)),
                    JobState::Open { .. } => None,
                };
                let what = || format!("wait for generation {job}");
                let choose = |recorded: Option<JobId>| {
                    ready.filter(|job| recorded.is_none_or(|recorded| recorded == *job))
                };
                if let Some((_, _, outcome)) = self.deliver(state, what, choose)? {
                    return Ok(outcome);
                }
            }
            stirred.await;
        }
    }

    /// Makes a job set.
    #[must_use]
    pub fn job_set(&self) -> SetId {
        lock(&self.session.state).jobs.new_set()
    }

    /// Forgets a job set that its plugin can no longer name. Its members go on.
    pub fn drop_set(&self, set: SetId) {
        lock(&self.session.state).jobs.drop_set(set);
    }

    /// Moves a job into a set; its index there.
    #[must_use]
    pub fn add(&self, set: SetId, job: JobId) -> u32 {
        lock(&self.session.state).jobs.add(set, job)
    }

    /// Waits for the next member of a set to finish.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn next(&self, set: SetId, timeout_ms: Option<u32>) -> Result<Event, Stopped> {
        let mut until_ms = None;
        loop {
            let stirred = self.session.stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            let timeout = {
                let state = &mut *lock(&self.session.state);
                state.check_open()?;
                self.end_wave(state);
                let now_ms = self.state_of(state).now_ms;
                let until_ms = *until_ms.get_or_insert(timeout_ms.map(|ms| now_ms + u64::from(ms)));
                if let Some(event) = self.look(state, set, until_ms)? {
                    return Ok(event);
                }
                until_ms.map(|until_ms| self.instant_of(until_ms))
            };
            match timeout {
                Some(timeout) => tokio::select! {
                    () = stirred => {}
                    () = self.session.ports.clock.sleep_until(timeout) => {}
                },
                None => stirred.await,
            }
        }
    }

    /// What a set can report now.
    fn look(
        &self,
        state: &mut State,
        set: SetId,
        until_ms: Option<u64>,
    ) -> Result<Option<Event>, Stopped> {
        if let Some((index, job, result)) = state.jobs.take_known(set) {
            let outcome = Result::clone(&result);
            return Ok(Some(Event::Completed {
                index,
                job,
                outcome,
            }));
        }
        if state.jobs.is_empty(set) {
            return Ok(Some(Event::Empty));
        }
        if let Some(until_ms) = until_ms {
            let timer = Entry::Timer {
                actor: self.actor,
                until_ms,
            };
            if self
                .state_of(state)
                .script
                .front()
                .is_some_and(|front| front.entry == timer)
            {
                self.announce(state, timer)?;
                self.catch_up(state);
                return Ok(Some(Event::TimedOut));
            }
        }
        let ready: Option<JobId> = match self.recorded_delivery(state) {
            Some(recorded) => state.jobs.is_ready_in(set, recorded).then_some(recorded),
            None => state.jobs.first_ready(set),
        };
        let what = || "wait for a set of generations".to_owned();
        if let Some((index, job, outcome)) = self.deliver(state, what, |_| ready)? {
            return Ok(Some(Event::Completed {
                index,
                job,
                outcome,
            }));
        }
        match until_ms {
            Some(until_ms) if self.session.log.now_ms() >= until_ms => {
                self.announce(
                    state,
                    Entry::Timer {
                        actor: self.actor,
                        until_ms,
                    },
                )?;
                self.catch_up(state);
                Ok(Some(Event::TimedOut))
            }
            _ => Ok(None),
        }
    }

    /// The generation whose delivery the journal holds next, if that is what it holds next.
    fn recorded_delivery(&self, state: &mut State) -> Option<JobId> {
        match &self.state_of(state).script.front()?.entry {
            Entry::Delivered { job, .. } => Some(*job),
            _ => None,
        }
    }

    /// Delivers the generation that `choose` names, given the delivery that the journal holds next.
    fn deliver(
        &self,
        state: &mut State,
        what: impl Fn() -> String,
        choose: impl Fn(Option<JobId>) -> Option<JobId>,
    ) -> Result<Option<Delivered>, Stopped> {
        let front = self.state_of(state).script.front().cloned();
        let recorded = self.recorded_delivery(state);
        let Some(job) = choose(recorded) else {
            return match front {
                Some(front) => Err(self.diverge(state, &front, &what())),
                None => Ok(None),
            };
        };
        if let (Some(front), None) = (&front, recorded) {
            return Err(self.diverge(state, front, &what()));
        }
        self.announce(
            state,
            Entry::Delivered {
                actor: self.actor,
                job,
            },
        )?;
        let delivered = state.jobs.deliver(job);
        self.catch_up(state);
        Ok(delivered.map(|(index, result)| (index, job, Result::clone(&result))))
    }

    /// Waits until a time in milliseconds since acceptance.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn sleep_until(&self, until_ms: u64) -> Result<(), Stopped> {
        let timer = Entry::Timer {
            actor: self.actor,
            until_ms,
        };
        loop {
            let stirred = self.session.stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            {
                let state = &mut *lock(&self.session.state);
                state.check_open()?;
                self.end_wave(state);
                let actor = self.state_of(state);
                if until_ms <= actor.now_ms {
                    return Ok(());
                }
                // A replay does not wait: the time has passed, or the plugin diverges.
                let replaying = !actor.script.is_empty();
                if replaying || self.session.log.now_ms() >= until_ms {
                    self.announce(state, timer)?;
                    self.catch_up(state);
                    return Ok(());
                }
            }
            tokio::select! {
                () = stirred => {}
                () = self.session.ports.clock.sleep_until(self.instant_of(until_ms)) => {}
            }
        }
    }
}
