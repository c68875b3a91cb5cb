//! Runs plugins on wasmtime: the adapter behind the port `Runtime`.

use conclave_core::chain::Chain;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::ids::Digest;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::{Kind, PluginRef};
use conclave_core::runtime::{Error, PluginTask, Runtime};
use conclave_core::session::Guest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;
use wasmtime::Store;

use super::call::{OnCall, Open};
use super::component::{ComponentError, Linked, Prepared, Scorer, Strategy};
use super::engine::Engine;
use super::instance::{State, ended};
use super::limits::PluginLimits;

/// How long to wait before a component that cannot be read is tried again.
const READ_RETRY: Duration = Duration::from_millis(500);

/// The same for one that cannot be compiled now; each time twice as long, since a compilation is what a
/// machine that is short of something has least use for.
const COMPILE_RETRY: Duration = Duration::from_millis(500);
const COMPILE_RETRY_MAX: Duration = Duration::from_secs(30);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Has the bytes of components.
pub trait Components: Send + Sync {
    /// The component with this digest, verified to have it.
    ///
    /// # Errors
    /// See [`NoBytes`].
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, NoBytes>;
}

/// Why a component has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum NoBytes {
    /// It is missing or damaged: an operator must put it back.
    #[error("the component is not there")]
    Gone(#[source] Source),
    /// The disk, or the lack of a file handle, keeps it from being read for now.
    #[error("the component cannot be read for now")]
    Unreadable(#[source] Source),
}

/// Runs each call of a plugin in a fresh instance.
///
/// A component is loaded when it is first needed, from the machine code that the check left on disk, or
/// else by being compiled; it is then kept for as long as it is among those most recently used.
pub struct WasmRuntime {
    engine: Arc<Engine>,
    components: Arc<dyn Components>,
    on_call: Option<OnCall>,
}

impl std::fmt::Debug for WasmRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmRuntime")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// A plugin is of the other kind than the one it is run as.
#[derive(Debug, thiserror::Error)]
#[error("the component is not a {0}")]
struct OtherKind(Kind);

impl WasmRuntime {
    /// A runtime for the components of this store.
    #[must_use]
    pub fn new(engine: Arc<Engine>, components: Arc<dyn Components>) -> Self {
        Self {
            engine,
            components,
            on_call: None,
        }
    }

    /// Tells of every call that ends.
    #[must_use]
    pub fn measured(self, on_call: OnCall) -> Self {
        Self {
            on_call: Some(on_call),
            ..self
        }
    }

    /// The component, ready to run. While it cannot be compiled, the deliberation waits as it does for
    /// its bytes.
    async fn prepared(&self, digest: Digest) -> Result<Arc<Prepared>, Error> {
        let mut wait = COMPILE_RETRY;
        loop {
            if let Some(prepared) = self.engine.prepared(digest).await {
                return Ok(prepared);
            }
            let bytes = self.bytes(digest).await?;
            match self.engine.prepare(digest, bytes.into()).await {
                Ok(prepared) => return Ok(prepared),
                Err(error @ ComponentError::Refused(_)) => {
                    return Err(Error::Unavailable(error.into()));
                }
                Err(ComponentError::NotNow(reason)) => {
                    tracing::warn!(%digest, reason, "a component cannot be compiled now; trying again");
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(COMPILE_RETRY_MAX);
                }
            }
        }
    }

    /// Reads a component. While it cannot be read, the deliberation waits, for its deadline at the
    /// longest: that is no fault of its own.
    async fn bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        loop {
            let components = Arc::clone(&self.components);
            let read = tokio::task::spawn_blocking(move || components.bytes(&digest)).await;
            match read {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(NoBytes::Gone(source))) => return Err(Error::Unavailable(source)),
                Ok(Err(NoBytes::Unreadable(source))) => {
                    tracing::warn!(%digest, error = %Chain(&*source), "a component cannot be read; trying again");
                    tokio::time::sleep(READ_RETRY).await;
                }
                Err(panicked) => return Err(Error::Unavailable(panicked.into())),
            }
        }
    }
}

/// Runs a strategy in the instance that this store is for.
pub(super) async fn deliberate(
    strategy: Arc<dyn Strategy>,
    mut store: Store<State>,
    limits: &PluginLimits,
    task: PluginTask,
) -> Result<Proposal, Error> {
    let result = strategy.deliberate(&mut store, task).await;
    answered(result, limits, &store)
}

/// Runs a scorer in the instance that this store is for.
pub(super) async fn evaluate(
    scorer: Arc<dyn Scorer>,
    mut store: Store<State>,
    limits: &PluginLimits,
    task: PluginTask,
    candidates: Vec<Candidate>,
) -> Result<Vec<Score>, Error> {
    let result = scorer.evaluate(&mut store, task, candidates).await;
    answered(result, limits, &store)
}

fn answered<T>(
    result: wasmtime::Result<Result<T, String>>,
    limits: &PluginLimits,
    store: &Store<State>,
) -> Result<T, Error> {
    match result {
        Ok(answer) => answer.map_err(Error::Refused),
        Err(error) => Err(ended(&error, limits, store.data())),
    }
}

/// The error of a plugin that is run as what it is not.
pub(super) fn other_kind(wanted: Kind) -> Error {
    Error::Unavailable(OtherKind(wanted).into())
}

#[async_trait]
impl Runtime for WasmRuntime {
    async fn deliberate(
        &self,
        strategy: &PluginRef,
        task: PluginTask,
        guest: Guest,
    ) -> Result<Proposal, Error> {
        let prepared = self.prepared(strategy.digest).await?;
        let Linked::Strategy(linked) = &prepared.linked else {
            return Err(other_kind(Kind::Strategy));
        };
        let linked = Arc::clone(linked);
        let permit = permit(&self.engine.strategies).await;
        let store = self.engine.store(&strategy.to_string(), Some(guest));
        let meter = store.data().meter();
        let open = Open::new(Kind::Strategy, strategy, &meter, self.on_call.as_ref());
        let limits = self.engine.limits.clone();
        // It owns what it needs: dropped in the middle of a turn, it lives to the end of that.
        let call = async move {
            let _permit = permit;
            deliberate(linked, store, &limits, task).await
        };
        let call = call.instrument(open.span());
        let result = self.engine.background.run(Arc::clone(&meter), call);
        open.run(result).await
    }

    async fn evaluate(
        &self,
        scorer: &PluginRef,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Score>, Error> {
        let prepared = self.prepared(scorer.digest).await?;
        let Linked::Scorer(linked) = &prepared.linked else {
            return Err(other_kind(Kind::Scorer));
        };
        let linked = Arc::clone(linked);
        let permit = permit(&self.engine.scorers).await;
        let store = self.engine.store(&scorer.to_string(), Some(guest));
        let meter = store.data().meter();
        let open = Open::new(Kind::Scorer, scorer, &meter, self.on_call.as_ref());
        let limits = self.engine.limits.clone();
        let call = async move {
            let _permit = permit;
            evaluate(linked, store, &limits, task, candidates).await
        };
        let call = call.instrument(open.span());
        let result = self.engine.background.run(Arc::clone(&meter), call);
        open.run(result).await
    }
}

/// Leave to have one instance more. The wait is bounded by the deliberation's deadline, at which the
/// session drops the call.
async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    permit.expect("the semaphore is never closed")
}
