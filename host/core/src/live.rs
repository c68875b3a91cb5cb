//! The deliberations that this host holds: how others watch them, wait for them and stop them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::cluster::Placement;
use crate::entry::{Entry, Record};
use crate::execution::Execution;
use crate::ids::{DeliberationId, JobId};
use crate::inference::Progress;

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something was journaled; durable when a watcher sees it.
    Record(Arc<Record>),
    /// A model server sent a piece of an answer. Has no place in the journal, and is dropped for a
    /// watcher that does not keep up.
    Tokens {
        /// Which generation.
        job: JobId,
        /// Which attempt at it.
        attempt: u32,
        /// The piece.
        text: Arc<str>,
    },
}

/// What others want of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    #[default]
    Run,
    /// That it ends as cancelled, for this reason.
    Cancel(String),
    /// That it rests, to be resumed by the next start of the host.
    Pause,
}

/// Where a deliberation stands on this host.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// It runs, or is about to.
    #[default]
    Running,
    /// It ended, with this last record.
    Finished(Arc<Record>),
    /// This host lets it rest.
    Paused,
}

/// Updates that a watcher may fall behind before it reads from the journal again.
const UPDATES_BUFFERED: usize = 256;

/// A generation that is on its way.
#[derive(Clone, Debug)]
pub struct OpenGeneration {
    /// Its number.
    pub job: JobId,
    /// Whether it is known to have begun.
    pub is_running: bool,
    /// Where it runs, where that is known.
    pub placement: Option<Arc<Placement>>,
}

/// One deliberation that this host holds.
#[derive(Debug)]
pub struct Handle {
    accepted: Arc<Record>,
    durable: AtomicBool,
    sending: AtomicBool,
    /// Whether a generation of it has been seen to run in a place that is known.
    placed: AtomicBool,
    /// Generations on their way.
    open: Mutex<BTreeMap<JobId, Arc<Progress>>>,
    updates: Mutex<Option<broadcast::Sender<Update>>>,
    wish: watch::Sender<Wish>,
    standing: watch::Sender<Standing>,
}

impl Handle {
    fn new(accepted: Arc<Record>) -> Self {
        Self {
            accepted,
            durable: AtomicBool::new(false),
            sending: AtomicBool::new(false),
            placed: AtomicBool::new(false),
            open: Mutex::default(),
            updates: Mutex::new(None),
            wish: watch::Sender::new(Wish::Run),
            standing: watch::Sender::new(Standing::Running),
        }
    }

    /// The deliberation's first record.
    #[must_use]
    pub fn accepted(&self) -> &Record {
        &self.accepted
    }

    /// Whether the journal has taken it. Until then it may still come to nothing.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    pub(crate) fn note_accepted(&self) {
        self.durable.store(true, Ordering::Relaxed);
    }

    /// Whether a generation of it has been sent since this host holds it.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed)
    }

    pub(crate) fn note_sending(&self) {
        self.sending.store(true, Ordering::Relaxed);
    }

    /// Whether a generation of it has begun, as far as that is known: one that waits in a cluster's queue
    /// has not.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        let Entry::Accepted(accepted) = &self.accepted.entry else {
            return false;
        };
        match accepted.request.execution {
            Execution::Direct => self.is_sending(),
            Execution::Pool | Execution::Job => {
                self.placed.load(Ordering::Relaxed) || !self.placements().is_empty()
            }
        }
    }

    /// Where its generations run now, as far as that is known.
    #[must_use]
    pub fn placements(&self) -> Vec<(JobId, Arc<Placement>)> {
        let open = self.open_generations().into_iter();
        open.filter_map(|one| Some((one.job, one.placement?)))
            .collect()
    }

    /// Its generations that are on their way, in the order of their numbers.
    #[must_use]
    pub fn open_generations(&self) -> Vec<OpenGeneration> {
        let open = lock(&self.open);
        open.iter()
            .map(|(job, progress)| {
                let placement = progress.placement();
                OpenGeneration {
                    job: *job,
                    is_running: placement.is_some() || progress.tokens() > 0,
                    placement,
                }
            })
            .collect()
    }

    pub(crate) fn note_open(&self, job: JobId, progress: &Arc<Progress>) {
        lock(&self.open).insert(job, Arc::clone(progress));
    }

    pub(crate) fn note_ended(&self, job: JobId) {
        let ended = lock(&self.open).remove(&job);
        if ended.is_some_and(|progress| progress.placement().is_some()) {
            self.placed.store(true, Ordering::Relaxed);
        }
    }

    /// Receives what happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        lock(&self.updates)
            .get_or_insert_with(|| broadcast::Sender::new(UPDATES_BUFFERED))
            .subscribe()
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        lock(&self.updates)
            .as_ref()
            .is_some_and(|updates| updates.receiver_count() > 0)
    }

    pub(crate) fn publish(&self, update: Update) {
        if let Some(updates) = lock(&self.updates).as_ref() {
            // An error means that nobody watches.
            let _ = updates.send(update);
        }
    }

    /// Asks for something. The first wish to end it stands.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_if_modified(|current| {
            let first = *current == Wish::Run;
            if first {
                *current = wish;
            }
            first
        });
    }

    /// Waits until somebody wants something else than that it runs.
    pub(crate) async fn wished(&self) -> Wish {
        let mut wish = self.wish.subscribe();
        let wish = wish.wait_for(|wish| *wish != Wish::Run).await;
        wish.expect("the sender is a field of self").clone()
    }

    /// Waits until the host wants that it rests.
    pub(crate) async fn paused(&self) {
        let mut wish = self.wish.subscribe();
        // The sender is a field of self, so this only ends by the wish.
        let _ = wish.wait_for(|wish| *wish == Wish::Pause).await;
    }

    pub(crate) fn stand(&self, standing: Standing) {
        self.standing.send_replace(standing);
        *lock(&self.updates) = None;
    }

    /// Where it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until the deliberation has finished or rests.
    pub async fn ended(&self) -> Standing {
        let mut standing = self.standing.subscribe();
        let ended = standing
            .wait_for(|standing| !matches!(standing, Standing::Running))
            .await;
        ended.expect("the sender is a field of self").clone()
    }
}

/// All deliberations that this host holds.
#[derive(Clone, Default)]
pub struct Live {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    handles: HashMap<DeliberationId, Arc<Handle>>,
    /// Whether all were told to rest: who comes later is told, too.
    pausing: bool,
}

impl Live {
    /// Holds a deliberation from now on.
    pub fn insert(&self, id: &DeliberationId, accepted: Arc<Record>) -> Arc<Handle> {
        let handle = Arc::new(Handle::new(accepted));
        let mut held = lock(&self.held);
        if held.pausing {
            handle.wish(Wish::Pause);
        }
        held.handles.insert(id.clone(), Arc::clone(&handle));
        handle
    }

    /// Lets go of a deliberation.
    pub fn remove(&self, id: &DeliberationId) {
        lock(&self.held).handles.remove(id);
    }

    /// The deliberation's handle, if this host holds it.
    #[must_use]
    pub fn get(&self, id: &DeliberationId) -> Option<Arc<Handle>> {
        lock(&self.held).handles.get(id).cloned()
    }

    /// All that it holds, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<(DeliberationId, Arc<Handle>)> {
        let held = lock(&self.held);
        let mut all: Vec<_> = held
            .handles
            .iter()
            .map(|(id, handle)| (id.clone(), Arc::clone(handle)))
            .collect();
        drop(held);
        all.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        all
    }

    /// How many it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.held).handles.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells every deliberation to rest, those that come later included.
    pub fn pause_all(&self) {
        let mut held = lock(&self.held);
        held.pausing = true;
        for handle in held.handles.values() {
            handle.wish(Wish::Pause);
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("len", &self.len()).finish()
    }
}

/// Locks what only short, panic-free sections hold.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
