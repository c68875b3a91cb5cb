//! What a plugin can do: every host function of the contract lands here.

use std::sync::Arc;

use crate::entry::{Entry, JobInfo, Record, Remaining, digest_of};
use crate::generation::{Failure, GenerationRequest};
use crate::ids::{Actor, DeliberationId, JobId, ModelName, Seq};
use crate::live::lock;
use crate::outcome::{Cause, CauseKind};

use super::generation::Order;
use super::history::PastJob;
use super::jobs::{JobState, SetId};
use super::{ActorState, Session, State, Stopped, divergence, kind_of};

/// One plugin call's view of its session.
///
/// A plugin has one point of execution: methods are called one after another.
#[derive(Clone, Debug)]
pub struct Guest {
    pub(super) session: Arc<Session>,
    pub(super) actor: Actor,
}

/// Whether an effect was already in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Replayed,
    Live,
}

impl Guest {
    pub(super) fn new(session: Arc<Session>, actor: Actor) -> Self {
        Self { session, actor }
    }

    /// The deliberation.
    #[must_use]
    pub fn deliberation(&self) -> &DeliberationId {
        &self.session.accepted.id
    }

    /// Whether the journal still holds answers for this plugin. Until it does not, CPU is not limited
    /// (a slower machine must not trap a good session) and nothing is logged twice.
    #[must_use]
    pub fn replaying(&self) -> bool {
        self.awaited().is_some()
    }

    /// The journal's next entry of this plugin, which it is to repeat.
    #[must_use]
    pub fn awaited(&self) -> Option<Seq> {
        let state = lock(&self.session.state);
        let next = state.actors.get(&self.actor)?.script.front()?;
        Some(next.seq)
    }

    /// Asks for a generation. It is sent once the entries up to here are durable.
    ///
    /// # Errors
    /// [`Stopped`]; inside, why the request is refused: nothing is journaled then, since the same
    /// request is refused again in a replay.
    pub fn submit(&self, request: GenerationRequest) -> Result<Result<JobId, Failure>, Stopped> {
        let state = &mut *lock(&self.session.state);
        state.check_open()?;
        let model = match self.admit(state, &request) {
            Ok(model) => model,
            Err(failure) => return Ok(Err(failure)),
        };
        let job = JobId(state.last_job.0 + 1);
        let entry = Entry::Submitted {
            actor: self.actor,
            job,
            what: JobInfo::of(&request, model.clone()),
            request: digest_of(&request),
        };
        let origin = self.announce(state, entry)?;
        state.last_job = job;
        self.session.ports.observers.asked(job, &request);
        self.state_of(state).wave.asked();
        let past = match origin {
            Origin::Replayed => state.history.take_job(job),
            Origin::Live => PastJob::default(),
        };
        if let Some((at, result)) = past.completed {
            state
                .jobs
                .insert(job, self.actor, JobState::Done { at, result });
            self.catch_up(state);
            return Ok(Ok(job));
        }
        state
            .jobs
            .insert(job, self.actor, JobState::Open { run: None });
        // One that was cancelled later is not sent for the moment until that is replayed.
        if !past.cancelled {
            let actor = self.state_of(state);
            actor.wave.join();
            let order = Order {
                job,
                request,
                model,
                submitted_at_ms: actor.now_ms,
                attempts: past.attempts,
                retries: past.retries,
                actor: self.actor,
                wave: Arc::clone(&actor.wave),
            };
            actor.unsent.push(order);
        }
        self.catch_up(state);
        Ok(Ok(job))
    }

    /// Checks a request against the contract and the limits; the model that answers it.
    fn admit(&self, state: &State, request: &GenerationRequest) -> Result<ModelName, Failure> {
        if let Some(rule) = request.broken_rule() {
            return Err(Failure::Rejected(rule));
        }
        let task = &self.session.accepted.request.task;
        let agent = task.agents.iter().find(|agent| agent.id == request.agent);
        let model = match agent {
            Some(agent) => agent.model.clone(),
            None if request.agent.is_empty() => task.model.clone(),
            None => {
                let text = format!(
                    "agent is `{}`, the task has no agent of this id",
                    request.agent
                );
                return Err(Failure::Rejected(text));
            }
        };
        let limits = &self.session.accepted.limits;
        if state.last_job.0 >= limits.generations_max {
            let text = format!(
                "limits.generations_max ({}) is used up",
                limits.generations_max
            );
            return Err(Failure::BudgetExhausted(text));
        }
        if state.jobs.open() >= limits.open_generations_max {
            let text = format!(
                "limits.open_generations_max ({}) is used up: take results before asking for more",
                limits.open_generations_max
            );
            return Err(Failure::BudgetExhausted(text));
        }
        Ok(model)
    }

    /// Cancels a job whose result this plugin has not been given; another is left as it is.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn cancel(&self, job: JobId) -> Result<(), Stopped> {
        let state = &mut *lock(&self.session.state);
        let known = state.jobs.get(job);
        let jobs = match known {
            Some(known) if known.is_undelivered() => vec![job],
            _ => Vec::new(),
        };
        self.cancel_jobs(state, &jobs).map(drop)
    }

    /// Cancels one member of a set. An unknown index does nothing.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn cancel_in(&self, set: SetId, index: u32) -> Result<(), Stopped> {
        let state = &mut *lock(&self.session.state);
        let jobs = state.jobs.cancellable(set, Some(index));
        self.cancel_jobs(state, &jobs).map(drop)
    }

    /// Cancels all members of a set that were not reported; how many those were.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn cancel_rest(&self, set: SetId) -> Result<u32, Stopped> {
        let state = &mut *lock(&self.session.state);
        let jobs = state.jobs.cancellable(set, None);
        self.cancel_jobs(state, &jobs)
    }

    fn cancel_jobs(&self, state: &mut State, jobs: &[JobId]) -> Result<u32, Stopped> {
        state.check_open()?;
        if jobs.is_empty() {
            return Ok(0);
        }
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let entry = Entry::Cancelled {
            actor: self.actor,
            jobs: jobs.to_vec(),
        };
        self.announce(state, entry)?;
        self.state_of(state)
            .unsent
            .retain(|order| !jobs.contains(&order.job));
        for (job, run) in state.jobs.cancel(jobs) {
            self.session.abandon(job, run);
        }
        self.catch_up(state);
        Ok(count)
    }

    /// What is left of the limits.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn remaining(&self) -> Result<Remaining, Stopped> {
        let state = &mut *lock(&self.session.state);
        state.check_open()?;
        if let Some(front) = self.state_of(state).script.front().cloned() {
            return match front.entry {
                Entry::Budget { remaining, .. } => {
                    self.announce(state, front.entry.clone())?;
                    self.catch_up(state);
                    Ok(remaining)
                }
                _ => Err(self.diverge(state, &front, "ask for the remaining budget")),
            };
        }
        let accepted = &self.session.accepted;
        let limits = &accepted.limits;
        let wall_ms = accepted
            .deadline_ms()
            .saturating_sub(self.session.log.now_ms());
        let remaining = Remaining {
            generations: Some(limits.generations_max.saturating_sub(state.last_job.0)),
            tokens: None,
            wall_ms: Some(u32::try_from(wall_ms).unwrap_or(u32::MAX)),
            open_generations: Some(
                limits
                    .open_generations_max
                    .saturating_sub(state.jobs.open()),
            ),
        };
        self.announce(
            state,
            Entry::Budget {
                actor: self.actor,
                remaining,
            },
        )?;
        Ok(remaining)
    }

    /// Milliseconds from acceptance to this plugin's last effect.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        let state = lock(&self.session.state);
        state
            .actors
            .get(&self.actor)
            .map_or(0, |actor| actor.now_ms)
    }

    /// The wall-clock time of this plugin's last effect, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.session.accepted.accepted_at_ms + self.elapsed_ms()
    }

    /// The next number of the contract's generator, 0 to 2^31-1.
    #[must_use]
    pub fn random_u32(&self) -> u32 {
        self.state_of(&mut lock(&self.session.state))
            .chance
            .random_u32()
    }

    /// The next bytes of WASI's generator.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.state_of(&mut lock(&self.session.state))
            .chance
            .fill(bytes);
    }

    /// Tells watchers something.
    ///
    /// # Errors
    /// [`Stopped`], also when the kind or the payload breaks a rule of the contract, which fails the
    /// session: the plugin has no other way to learn of it.
    pub fn emit(&self, kind: String, payload: String) -> Result<(), Stopped> {
        let state = &mut *lock(&self.session.state);
        state.check_open()?;
        let word = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        if kind.is_empty() || kind.len() > 64 || !kind.chars().all(word) {
            let rule =
                format!("emit: the kind {kind:?} must be 1 to 64 letters, digits, `-`, `_` or `.`");
            return Err(self.blame(state, Cause::new(CauseKind::PluginInvalid, rule)));
        }
        let bytes_max = self.session.accepted.limits.emit_bytes_max;
        if payload.len() > bytes_max as usize {
            let rule = format!(
                "emit: the payload has {} bytes, limits.emit_bytes_max is {bytes_max}",
                payload.len()
            );
            return Err(self.blame(state, Cause::new(CauseKind::PluginLimitExceeded, rule)));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&payload) {
            let rule = format!("emit: the payload of `{kind}` is not JSON: {error}");
            return Err(self.blame(state, Cause::new(CauseKind::PluginInvalid, rule)));
        }
        self.announce(
            state,
            Entry::Emitted {
                actor: self.actor,
                kind,
                payload,
            },
        )?;
        self.catch_up(state);
        Ok(())
    }

    /// Takes the effect's entry from the journal, or appends it.
    pub(super) fn announce(&self, state: &mut State, entry: Entry) -> Result<Origin, Stopped> {
        if let Some(front) = self.state_of(state).script.front().cloned() {
            if front.entry != entry {
                return Err(self.diverge(state, &front, &entry.describe()));
            }
            let actor = self.state_of(state);
            actor.script.pop_front();
            actor.now_ms = front.at_ms;
            return Ok(Origin::Replayed);
        }
        self.charge(state, &entry)?;
        let record = self.session.log.append(entry).ok_or(Stopped)?;
        self.state_of(state).now_ms = record.at_ms;
        Ok(Origin::Live)
    }

    /// Bounds what plugins put into the journal, over all runs of the session.
    fn charge(&self, state: &mut State, entry: &Entry) -> Result<(), Stopped> {
        let limits = &self.session.accepted.limits;
        let (entries_max, bytes_max) = (limits.entries_max, limits.journal_bytes_max);
        state.journal_bytes += entry.plugin_bytes();
        let exceeded = if self.session.log.last().0 >= u64::from(entries_max) {
            format!("`limits.entries_max`: {entries_max} journal entries")
        } else if state.journal_bytes > bytes_max as usize {
            format!("`limits.journal_bytes_max`: {bytes_max} bytes in the journal")
        } else {
            return Ok(());
        };
        let message = format!("{} exceeded the limit {exceeded}", self.who());
        Err(self.blame(state, Cause::new(CauseKind::PluginLimitExceeded, message)))
    }

    /// Sends what was in flight when the journal ended, once this plugin has caught up with it.
    pub(super) fn catch_up(&self, state: &mut State) {
        let actor = self.state_of(state);
        if actor.script.is_empty() {
            for order in std::mem::take(&mut actor.unsent) {
                self.session.send(state, order);
            }
        }
    }

    /// The plugin waits: what it asked for is one wave.
    pub(super) fn end_wave(&self, state: &mut State) {
        let actor = self.state_of(state);
        actor.wave = actor.wave.next();
    }

    pub(super) fn diverge(&self, state: &mut State, expected: &Record, actual: &str) -> Stopped {
        self.blame(state, divergence(&self.who(), expected, actual))
    }

    /// Fails the session, by the fault of this plugin unless the cause names another.
    pub(super) fn blame(&self, state: &mut State, cause: Cause) -> Stopped {
        let by = cause.by.unwrap_or_else(|| kind_of(self.actor));
        state.stopped.get_or_insert(Some(cause.by(by)));
        Stopped
    }

    pub(super) fn who(&self) -> String {
        self.session.who(self.actor)
    }

    pub(super) fn state_of<'s>(&self, state: &'s mut State) -> &'s mut ActorState {
        let actor = state.actors.get_mut(&self.actor);
        actor.expect("a guest is made after its actor has begun")
    }

    pub(super) fn instant_of(&self, at_ms: u64) -> tokio::time::Instant {
        let accepted_at_ms = self.session.accepted.accepted_at_ms;
        self.session
            .ports
            .clock
            .instant_of(accepted_at_ms.saturating_add(at_ms))
    }
}

impl State {
    pub(super) fn check_open(&self) -> Result<(), Stopped> {
        match self.stopped {
            None => Ok(()),
            Some(_) => Err(Stopped),
        }
    }
}
