//! Where a rehearsal runs: on a thread of its own, which gives way to the host's, and whose clock skips to the next time that is waited
//! for whenever nobody on it has anything to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use conclave_core::clock::Clock;
use conclave_core::entry::{Entry, Record};
use conclave_core::generation::GenerationRequest;
use conclave_core::ids::{JobId, Seq};
use conclave_core::live::{Live, Wish};
use conclave_core::notebook::Notebook;
use conclave_core::observer::Observers;
use conclave_core::outcome::Verdict;
use conclave_core::retry::Retry;
use conclave_core::session::{Ports, Session, Unopenable};
use conclave_core::slots::InFlight;
use conclave_core::span::SessionSpans;
use conclave_core::tasks::Tasks;
use tokio::sync::oneshot;

use super::answers::{Answers, Asked, ModelServer};
use super::cast::{Cast, Lead, Score};
use super::logged::Logged;
use crate::wasm::give_way;

/// One deliberation that is to be run to its end.
#[derive(Clone)]
pub struct Play {
    /// What its journal holds already; the first record is `Accepted`, the last is not `Finished`.
    pub records: Vec<Record>,
    /// The part of the strategy.
    pub strategy: Lead,
    /// The part of the scorer.
    pub scorer: Score,
    /// What comes of generations.
    pub answers: Arc<dyn Answers>,
    /// When its client cancels it, in milliseconds since acceptance.
    pub cancel_at_ms: Option<u64>,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play").finish_non_exhaustive()
    }
}

/// A deliberation that was run.
#[derive(Clone, Debug)]
pub struct Played {
    /// All of its journal; the last record is `Finished`.
    pub records: Vec<Record>,
    /// What plugins asked for, in a replay too.
    pub requests: BTreeMap<JobId, GenerationRequest>,
    /// How it ended.
    pub verdict: Verdict,
    /// The entry of its past that the strategy had not come to when it ended by itself.
    pub ended_before: Option<Seq>,
    /// What plugins logged, but for what its past holds already.
    pub log: Vec<String>,
    /// Generations that still ran at the model server after the end.
    pub leaked: usize,
    /// In real time.
    pub took: Duration,
}

/// Why a deliberation cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Unplayable {
    /// What its journal holds is no beginning.
    #[error(transparent)]
    Unopenable(#[from] Unopenable),
    /// This machine has no thread for it.
    #[error("no thread can be started for it")]
    Thread(#[source] std::io::Error),
    /// It broke down, for a fault of the host.
    #[error("the rehearsal broke down: {0}")]
    Broken(String),
}

/// Runs a deliberation to its end, whatever time it would take, and the same in every run.
///
/// # Errors
/// When it cannot be begun. How the plugin does is the verdict's to tell.
pub async fn play(play: Play) -> Result<Played, Unplayable> {
    let (ended, played) = oneshot::channel();
    // None of the runtime's: a thread that has given way does so for good.
    let thread = thread::Builder::new().name("conclave-stage".to_owned());
    let stage = thread.spawn(move || {
        give_way();
        // Whoever waited may be gone.
        let _ = ended.send(on_stage(play));
    });
    stage.map_err(Unplayable::Thread)?;
    played
        .await
        .unwrap_or_else(|_| Err(Unplayable::Broken("its thread panicked".to_owned())))
}

fn on_stage(play: Play) -> Result<Played, Unplayable> {
    let began = Instant::now();
    let Some(Entry::Accepted(accepted)) = play.records.first().map(|record| &record.entry) else {
        return Err(Unopenable::Corrupt.into());
    };
    // Time goes on where the journal ends.
    let passed_ms = play.records.last().map_or(0, |record| record.at_ms);
    let now = Duration::from_millis(accepted.accepted_at_ms.saturating_add(passed_ms));
    let clock = Clock::skipping(now);
    let idle = clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        // Called when every task of this thread waits, and for nothing but the clock: there is no
        // network, no disk and no other thread here.
        .on_thread_park(move || idle.skip())
        .build()
        .map_err(Unplayable::Thread)?;
    let logged = Logged::default();
    let _guard = logged.listen();
    let mut played = runtime.block_on(act(play, clock))?;
    played.log = logged.take();
    played.took = began.elapsed();
    Ok(played)
}

async fn act(play: Play, clock: Clock) -> Result<Played, Unplayable> {
    let Some(first) = play.records.first().cloned() else {
        return Err(Unopenable::Corrupt.into());
    };
    let Entry::Accepted(accepted) = &first.entry else {
        return Err(Unopenable::Corrupt.into());
    };
    let (id, accepted_at_ms) = (accepted.id.clone(), accepted.accepted_at_ms);
    let notebook = Arc::new(Notebook::of(id.clone(), play.records.clone()));
    let (asked, open) = (Asked::default(), Arc::new(AtomicUsize::new(0)));
    let tasks = Tasks::default();
    let server = ModelServer {
        answers: play.answers,
        asked: asked.clone(),
        clock: clock.clone(),
        open: Arc::clone(&open),
    };
    let ended_before = Arc::new(OnceLock::new());
    let cast = Cast {
        strategy: play.strategy,
        scorer: play.scorer,
        ended_before: Arc::clone(&ended_before),
    };
    let ports = Ports {
        journal: notebook.clone(),
        inference: Arc::new(server),
        runtime: Arc::new(cast),
        clock: clock.clone(),
        tasks: tasks.clone(),
        observers: Observers::new(vec![Arc::new(asked.clone())]),
        spans: SessionSpans::default(),
        retry: Retry::default(),
        in_flight: InFlight::new(1_024),
    };
    let handle = Live::default().insert(&id, Arc::new(first));
    let session = Session::open(ports, Arc::clone(&handle), play.records)?;
    if let Some(cancel_at_ms) = play.cancel_at_ms {
        let until = clock.instant_of(accepted_at_ms.saturating_add(cancel_at_ms));
        tasks.spawn("cancel", async move {
            clock.sleep_until(until).await;
            handle.wish(Wish::Cancel("the rehearsal cancels it".to_owned()));
        });
    }
    let end = Box::pin(session.run()).await;
    // What was aborted is dropped when its task is polled next.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let records = notebook.records();
    let Some(Entry::Finished { verdict, .. }) = records.last().map(|record| &record.entry) else {
        return Err(Unplayable::Broken(format!("it ended in {end:?}")));
    };
    Ok(Played {
        verdict: verdict.clone(),
        requests: asked.all(),
        ended_before: ended_before.get().copied(),
        log: Vec::new(),
        leaked: open.load(Ordering::Relaxed),
        took: Duration::ZERO,
        records,
    })
}
