//! The host's side of one deliberation: the heart of Conclave.
//!
//! A [`Session`] runs a strategy to its one verdict. Everything that a plugin can do is a method of
//! [`Guest`], and everything that it does or is told is an entry in the journal. So the journal *is*
//! the state: a session is always opened from its journal (that of a new one holds one entry), the
//! plugin is run from its start, and every effect that the journal holds is answered from it. Where
//! the journal ends, effects are performed and appended.
//!
//! Three rules carry the guarantees:
//!
//! - *Output commit*: whatever leaves the host (a generation, an update to a watcher, the outcome)
//!   waits until every entry before it is durable. The plugin itself does not wait: what it computes
//!   in memory can be computed again.
//! - *Completion and delivery are two facts*: a result that the host has and the plugin has not seen
//!   must not change the order in which the plugin sees results when it is run again.
//! - *Divergence is a failure*: a plugin that asks for something else than the journal holds is not
//!   deterministic, and its session fails naming the entry, what was expected and what came.

mod chance;
mod generation;
mod guest;
mod history;
mod jobs;
mod log;
mod scoring;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::entry::{Accepted, Entry, Record, SEMANTICS_VERSION};
use crate::generation::Failure;
use crate::ids::{Actor, DeliberationId, JobId};
use crate::inference::{self, Inference};
use crate::journal::{self, Journal};
use crate::live::{Handle, Wish, lock};
use crate::observer::Observers;
use crate::outcome::{Cause, CauseKind, Outcome, Proposal, Verdict};
use crate::plugin::Kind;
use crate::retry::Retry;
use crate::runtime::{self, PluginTask, Runtime};
use crate::slots::InFlight;
use crate::span::SessionSpans;
use crate::tasks::Tasks;
use crate::wave::Wave;

use self::chance::Chance;
pub use self::guest::Guest;
use self::history::{History, Script};
use self::jobs::Jobs;
pub use self::jobs::SetId;
use self::log::Log;
pub use self::waiting::Event;

/// What a session needs of the host.
#[derive(Clone)]
pub struct Ports {
    /// Where entries go.
    pub journal: Arc<dyn Journal>,
    /// Where generations run.
    pub inference: Arc<dyn Inference>,
    /// What runs plugins.
    pub runtime: Arc<dyn Runtime>,
    /// The time.
    pub clock: Clock,
    /// Where tasks are started.
    pub tasks: Tasks,
    /// Who is told of every entry.
    pub observers: Observers,
    /// What sessions run in, in a trace.
    pub spans: SessionSpans,
    /// How failed generations are tried again.
    pub retry: Retry,
    /// Bounds the generations that the host has in flight, over all sessions.
    pub in_flight: InFlight,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// How a run of a session ended.
#[derive(Debug)]
pub enum End {
    /// With a verdict; this is the journal's last record, and it is durable.
    Finished(Arc<Record>),
    /// Without one, because the host wants to stop. It can be resumed from its journal.
    Paused,
    /// Without one, because the journal does not take entries. It can be resumed when it does.
    Unwritable(journal::Error),
}

/// The session is over for this plugin: its instance must be ended at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Stopped;

/// One deliberation on its way to its verdict.
pub struct Session {
    accepted: Accepted,
    ports: Ports,
    handle: Arc<Handle>,
    log: Log,
    state: Mutex<State>,
    /// Wakes plugins that wait: a result has come, or a recorded effect was consumed.
    stirred: Notify,
}

/// What a plugin's calls change.
struct State {
    history: History,
    actors: BTreeMap<Actor, ActorState>,
    jobs: Jobs,
    last_job: JobId,
    score_calls: u32,
    /// What plugins put into the journal, and were about to when it became too much.
    journal_bytes: usize,
    /// Set when plugins may do no more: why, if they are to blame.
    stopped: Option<Option<Cause>>,
}

/// Where one plugin call stands.
struct ActorState {
    /// Its recorded effects that it has not repeated yet; empty when it is live.
    script: Script,
    /// The time of its last effect, in milliseconds since acceptance: the only time that it sees.
    now_ms: u64,
    chance: Chance,
    /// What it asked for since it last waited.
    wave: Arc<Wave>,
    /// Generations that were in flight when the journal ended. They are sent again once the replay
    /// has caught up.
    unsent: Vec<generation::Order>,
}

/// The names of the work that a deliberation had under way when its journal ended, and asks for again when
/// it is resumed: see [`Request::work_id`](crate::inference::Request::work_id).
pub(crate) fn open_work(id: &DeliberationId, records: &[Record]) -> Vec<String> {
    let open = History::of(records.to_vec()).open();
    open.map(|(job, retries)| inference::work_id(id, job, retries))
        .collect()
}

/// What ended the run.
enum Ending {
    Verdict(Verdict),
    Pause,
    Unwritable,
}

impl Session {
    /// Opens a session from its journal, whose first record is `Accepted` and whose last is not
    /// `Finished`.
    ///
    /// # Errors
    /// When the first record is another, or of a build that runs sessions otherwise.
    pub fn open(
        ports: Ports,
        handle: Arc<Handle>,
        records: Vec<Record>,
    ) -> Result<Arc<Self>, Unopenable> {
        let Some(Entry::Accepted(accepted)) = records.first().map(|record| &record.entry) else {
            return Err(Unopenable::Corrupt);
        };
        if accepted.semantics != SEMANTICS_VERSION {
            return Err(Unopenable::Semantics(accepted.semantics));
        }
        let accepted = Accepted::clone(accepted);
        let log = Log::continuing(
            accepted.id.clone(),
            ports.clock.clone(),
            accepted.accepted_at_ms,
            &records,
        );
        let journal_bytes = records
            .iter()
            .map(|record| record.entry.plugin_bytes())
            .sum();
        let state = State {
            history: History::of(records),
            actors: BTreeMap::new(),
            jobs: Jobs::default(),
            last_job: JobId(0),
            score_calls: 0,
            journal_bytes,
            stopped: None,
        };
        let session = Self {
            accepted,
            ports,
            handle,
            log,
            state: Mutex::new(state),
            stirred: Notify::new(),
        };
        session.begin(&mut lock(&session.state), Actor::STRATEGY, 0);
        Ok(Arc::new(session))
    }

    /// Runs to the verdict, or to where the host must stop.
    ///
    /// Call it once. Dropping the future leaves the session as a kill of the host would.
    pub async fn run(self: &Arc<Self>) -> End {
        let session = Arc::clone(self);
        let journal = Arc::clone(&self.ports.journal);
        let writer = self.ports.tasks.spawn("journal writer", async move {
            session
                .log
                .write(&*journal, &session.handle, &session.ports.observers)
                .await
        });
        let last = match self.ending().await {
            Ending::Verdict(verdict) => self.finish(verdict),
            Ending::Pause => self.pause(),
            Ending::Unwritable => {
                self.rest();
                None
            }
        };
        match writer.await {
            Ok(Ok(())) => match last {
                Some(record) => End::Finished(record),
                None => End::Paused,
            },
            Ok(Err(error)) => End::Unwritable(error),
            Err(error) => End::Unwritable(journal::Error::Unavailable(error.into())),
        }
    }

    /// Waits for what ends the session first.
    async fn ending(self: &Arc<Self>) -> Ending {
        let cancelled = lock(&self.state).history.cancel_requested.take();
        if let Some(reason) = cancelled {
            return Ending::Verdict(Verdict::Cancelled(reason));
        }
        let deadline = self.accepted.accepted_at_ms + self.accepted.deadline_ms();
        tokio::select! {
            biased;
            () = self.log.unwritable() => Ending::Unwritable,
            wish = self.handle.wished() => match wish {
                Wish::Cancel(reason) => {
                    self.log.append(Entry::CancelRequested { reason: reason.clone() });
                    Ending::Verdict(Verdict::Cancelled(reason))
                }
                Wish::Pause | Wish::Run => Ending::Pause,
            },
            () = self.ports.clock.sleep_until(self.ports.clock.instant_of(deadline)) => {
                Ending::Verdict(Verdict::Failed(self.deadline_passed()))
            }
            proposal = self.deliberate() => match proposal {
                Err(runtime::Error::Stopped) if self.blamed().is_none() => Ending::Unwritable,
                // Its generations have the same deadline, and may have told it first.
                _ if self.blamed().is_none() && self.log.now_ms() >= self.accepted.deadline_ms() => {
                    Ending::Verdict(Verdict::Failed(self.deadline_passed()))
                }
                proposal => Ending::Verdict(self.judge(proposal)),
            },
        }
    }

    /// Lets the session rest after a panic: what it has open ends, and the journal takes no more.
    pub fn give_up(&self) {
        self.rest();
        self.log.close();
    }

    async fn deliberate(self: &Arc<Self>) -> Result<Proposal, runtime::Error> {
        let guest = Guest::new(Arc::clone(self), Actor::STRATEGY);
        let params = self.accepted.request.strategy_params.to_string();
        let task = self.task(params);
        let runtime = &self.ports.runtime;
        runtime
            .deliberate(&self.accepted.strategy, task, guest)
            .await
    }

    /// What a plugin is given.
    fn task(&self, params: String) -> PluginTask {
        let mut task = self.accepted.request.task.clone();
        let allowed: BTreeSet<_> = self.accepted.metadata_allowed.iter().collect();
        task.metadata.retain(|key, _| allowed.contains(key));
        PluginTask { task, params }
    }

    /// Turns what the strategy returned into a verdict.
    fn judge(&self, proposal: Result<Proposal, runtime::Error>) -> Verdict {
        if let Some(cause) = self.blamed() {
            return Verdict::Failed(cause);
        }
        let strategy = self.who(Actor::STRATEGY);
        let tally = self.log.tally();
        let returned = matches!(proposal, Ok(_) | Err(runtime::Error::Refused(_)));
        if returned && let Some(cause) = self.left_over(Actor::STRATEGY) {
            return Verdict::Failed(cause);
        }
        let proposal = match proposal {
            Ok(proposal) => proposal,
            Err(error @ runtime::Error::Refused(_)) => {
                let cause = match tally.nothing_but_failures() {
                    Some(failure) => all_agents_failed(failure),
                    None => error.cause(&strategy).by(Kind::Strategy),
                };
                return Verdict::Failed(cause);
            }
            Err(error) => return Verdict::Failed(error.cause(&strategy).by(Kind::Strategy)),
        };
        if let Some(rule) = proposal.broken_rule() {
            let message = format!("{strategy} broke its contract: {rule}");
            let cause = Cause::new(CauseKind::PluginInvalid, message);
            return Verdict::Failed(cause.by(Kind::Strategy));
        }
        if let Some(failure) = tally.nothing_but_failures() {
            return Verdict::Failed(all_agents_failed(failure));
        }
        let agents = self.accepted.request.task.agents.iter();
        let completeness = tally.completeness(agents.map(|agent| &agent.id));
        Verdict::Completed(Box::new(Outcome {
            proposal,
            completeness,
        }))
    }

    fn deadline_passed(&self) -> Cause {
        let seconds = self.accepted.request.timeout.as_secs_f64();
        let mut message =
            format!("the deliberation did not finish within its timeout of {seconds} s");
        if let Some(failure) = self.log.tally().nothing_but_failures() {
            message =
                format!("{message}; no generation succeeded, the last failed with: {failure}");
        }
        Cause::new(CauseKind::DeadlineExceeded, message)
    }

    /// Ends the session for good: aborts what is open, and appends the last entry.
    fn finish(&self, verdict: Verdict) -> Option<Arc<Record>> {
        self.stop(None);
        let open = lock(&self.state).jobs.close(None);
        for (job, run) in open {
            self.abandon(job, run);
        }
        let spent = self.log.tally().spent();
        self.log.seal(Entry::Finished { verdict, spent })
    }

    /// Lets the session rest, to be resumed from its journal.
    fn pause(&self) -> Option<Arc<Record>> {
        let wasted_tokens = self.rest();
        self.log.seal(Entry::Paused { wasted_tokens });
        None
    }

    /// Aborts what is open without journaling an end, so that it is sent again; the tokens that it
    /// had given.
    fn rest(&self) -> u64 {
        self.stop(None);
        let open = lock(&self.state).jobs.close(None);
        let runs = open.into_iter().filter_map(|(_, run)| run);
        runs.map(|run| u64::from(run.abort())).sum()
    }

    /// Journals that a generation ended because nobody wants it any more, and aborts it.
    fn abandon(&self, job: JobId, run: Option<jobs::Run>) {
        self.handle.note_ended(job);
        let wasted_tokens = run.map_or(0, jobs::Run::abort);
        self.log.append(Entry::Completed {
            job,
            result: Err(Failure::Cancelled),
            wasted_tokens,
        });
    }

    /// Lets plugins do no more. The first blame stands.
    fn stop(&self, blame: Option<Cause>) {
        let mut state = lock(&self.state);
        if state.stopped.is_none() {
            state.stopped = Some(blame);
        }
        drop(state);
        self.stirred.notify_waiters();
    }

    fn blamed(&self) -> Option<Cause> {
        lock(&self.state).stopped.clone().flatten()
    }

    /// Starts a plugin call: with what the journal holds of it.
    fn begin(&self, state: &mut State, actor: Actor, now_ms: u64) {
        let script = state.history.take_script(actor);
        let actor_state = ActorState {
            script,
            now_ms,
            chance: Chance::new(self.accepted.seed, actor),
            wave: Wave::first(actor),
            unsent: Vec::new(),
        };
        state.actors.insert(actor, actor_state);
    }

    /// The divergence of a plugin that returned while the journal held more of it.
    fn left_over(&self, actor: Actor) -> Option<Cause> {
        let state = lock(&self.state);
        let expected = state.actors.get(&actor)?.script.front()?;
        let cause = divergence(&self.who(actor), expected, "return");
        Some(cause.by(kind_of(actor)))
    }

    /// The plugin, for messages.
    fn who(&self, actor: Actor) -> String {
        match actor {
            Actor::STRATEGY => format!("strategy `{}`", self.accepted.strategy),
            _ => format!("scorer `{}`", self.accepted.scorer),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.accepted.id)
            .finish_non_exhaustive()
    }
}

/// Why a session cannot be opened from its journal.
#[derive(Debug, thiserror::Error)]
pub enum Unopenable {
    /// The journal is damaged.
    #[error("the first entry of the journal is not `accepted`")]
    Corrupt,
    /// Another build must go on with it: this one would replay it otherwise than it ran.
    #[error(
        "the session runs by version {0} of the rules, this build knows {SEMANTICS_VERSION}: \
         start the build that accepted it"
    )]
    Semantics(u32),
}

/// Which of a deliberation's two plugins an actor is a call of.
fn kind_of(actor: Actor) -> Kind {
    match actor {
        Actor::STRATEGY => Kind::Strategy,
        _ => Kind::Scorer,
    }
}

fn all_agents_failed(last: &Failure) -> Cause {
    let message = format!("no generation succeeded; the last failed with: {last}");
    Cause::new(CauseKind::AllAgentsFailed, message)
}

fn divergence(who: &str, expected: &Record, actual: &str) -> Cause {
    let message = format!(
        "nondeterministic plugin: {who} diverged from its journal at entry {}: expected to {}, actual: {actual}",
        expected.seq,
        expected.entry.describe(),
    );
    Cause::new(CauseKind::NondeterministicPlugin, message)
}
