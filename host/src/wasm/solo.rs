//! One component by itself: run apart from the host's deliberations, whose places it does not take.

use std::future::Future;
use std::sync::Arc;

use conclave_core::ids::Digest;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::{Descriptor, Kind};
use conclave_core::runtime::{Error, PluginTask};
use conclave_core::session::Guest;
use wasmtime::Store;

use super::component::{ComponentError, Linked, Prepared};
use super::cpu::Meter;
use super::engine::Engine;
use super::instance::{self, State, ended};
use super::limits::PluginLimits;
use super::runtime;

/// A component that is compiled and linked, with all that an instance of it needs. Each call is a
/// fresh instance; clones are the same component.
#[derive(Clone)]
pub struct Solo {
    engine: wasmtime::Engine,
    limits: PluginLimits,
    prepared: Arc<Prepared>,
    digest: Digest,
}

impl Engine {
    /// Compiles a component, unless it was before, and links it.
    ///
    /// # Errors
    /// Every reason that was found why it cannot be a plugin, what it says of itself left out; or that it
    /// cannot be compiled now.
    pub async fn solo(&self, bytes: Arc<[u8]>) -> Result<Solo, ComponentError> {
        let digest = Digest::of(&bytes);
        let prepared = self.prepare(digest, bytes).await?;
        Ok(self.solo_of(prepared, digest))
    }

    pub(super) fn solo_of(&self, prepared: Arc<Prepared>, digest: Digest) -> Solo {
        Solo {
            engine: self.engine.clone(),
            limits: self.limits.clone(),
            prepared,
            digest,
        }
    }
}

impl Solo {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.prepared.world.kind
    }

    /// The digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn describe(&self) -> Result<Descriptor, Error> {
        let mut store = self.store(None);
        let meter = store.data().meter();
        let described = measured(&meter, self.prepared.describe(&mut store)).await;
        described.map_err(|error| ended(&error, &self.limits, store.data()))
    }

    /// Runs it as a strategy.
    ///
    /// # Errors
    /// As [`Runtime::deliberate`](conclave_core::runtime::Runtime::deliberate).
    pub async fn deliberate(&self, task: PluginTask, guest: Guest) -> Result<Proposal, Error> {
        let Linked::Strategy(linked) = &self.prepared.linked else {
            return Err(runtime::other_kind(Kind::Strategy));
        };
        let store = self.store(Some(guest));
        let meter = store.data().meter();
        let call = runtime::deliberate(Arc::clone(linked), store, &self.limits, task);
        measured(&meter, call).await
    }

    /// Runs it as a scorer.
    ///
    /// # Errors
    /// As [`Runtime::evaluate`](conclave_core::runtime::Runtime::evaluate).
    pub async fn evaluate(
        &self,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Score>, Error> {
        let Linked::Scorer(linked) = &self.prepared.linked else {
            return Err(runtime::other_kind(Kind::Scorer));
        };
        let store = self.store(Some(guest));
        let meter = store.data().meter();
        let call = runtime::evaluate(Arc::clone(linked), store, &self.limits, task, candidates);
        measured(&meter, call).await
    }

    fn store(&self, guest: Option<Guest>) -> Store<State> {
        let name = format!("sha256:{}", self.digest.short());
        instance::store(&self.engine, &self.limits, &name, guest)
    }
}

/// Runs a call where it is: nobody else's work waits on the thread of a rehearsal, which gives way.
async fn measured<F: Future>(meter: &Meter, call: F) -> F::Output {
    let mut call = Box::pin(call);
    std::future::poll_fn(|context| meter.poll(|| call.as_mut().poll(context))).await
}

impl std::fmt::Debug for Solo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solo")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
