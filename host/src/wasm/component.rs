//! From bytes to a component that is compiled, of a known world, and linked.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use conclave_core::ids::Digest;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::Descriptor;
use conclave_core::runtime::PluginTask;
use wasmtime::Store;
use wasmtime::component::Component;

use super::artifacts::Found;
use super::compile::Failure;
use super::engine::Engine;
use super::instance::State;
use super::limits::{PluginLimits, key};
use super::work::Work;
use super::world::World;
use super::{Refusal, code, outline, v0_1};

/// Why a component is not ready to run.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// It cannot be a plugin here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This host could not prepare it, for no fault of the component's that is known: the same may
    /// succeed later.
    #[error("{0}; try again later")]
    NotNow(String),
}

/// A plugin of some contract version, linked: what is left to do for a call is a fresh instance.
pub(super) enum Linked {
    Strategy(Arc<dyn Strategy>),
    Scorer(Arc<dyn Scorer>),
}

/// Tells what a plugin is.
#[async_trait]
pub(super) trait Describe: Send + Sync {
    async fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Descriptor>;
}

/// A strategy of one contract version; the inner error is the plugin's own.
#[async_trait]
pub(super) trait Strategy: Describe {
    async fn deliberate(
        &self,
        store: &mut Store<State>,
        task: PluginTask,
    ) -> wasmtime::Result<Result<Proposal, String>>;
}

/// A scorer of one contract version; the inner error is the plugin's own.
#[async_trait]
pub(super) trait Scorer: Describe {
    async fn evaluate(
        &self,
        store: &mut Store<State>,
        task: PluginTask,
        candidates: Vec<Candidate>,
    ) -> wasmtime::Result<Result<Vec<Score>, String>>;
}

/// What is kept of a component.
pub(super) struct Prepared {
    pub(super) world: World,
    pub(super) linked: Linked,
}

impl Prepared {
    pub(super) async fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Descriptor> {
        match &self.linked {
            Linked::Strategy(strategy) => strategy.describe(store).await,
            Linked::Scorer(scorer) => scorer.describe(store).await,
        }
    }
}

impl Engine {
    /// The component with this digest, compiled now unless it was before.
    pub(super) async fn prepare(
        &self,
        digest: Digest,
        bytes: Arc<[u8]>,
    ) -> Result<Arc<Prepared>, ComponentError> {
        if let Some(prepared) = self.compiled.get(&digest) {
            return Ok(prepared);
        }
        let world = self.world(Arc::clone(&bytes)).await?;
        let turn = self.turns.of(digest);
        let _turn = turn.lock().await;
        // Whoever was before may have prepared it.
        if let Some(prepared) = self.compiled.get(&digest) {
            return Ok(prepared);
        }
        let component = match self.kept(digest).await {
            Some(component) => component,
            None => self.compile(digest, bytes).await?,
        };
        Ok(self.link(digest, &component, world)?)
    }

    /// What needs no compiler is told at once.
    async fn world(&self, bytes: Arc<[u8]>) -> Result<World, Refusal> {
        let limits = self.limits.clone();
        let looked = tokio::task::spawn_blocking(move || outline::look(&bytes, &limits)).await;
        looked
            .unwrap_or_else(|panicked| Err(Refusal::because(format!("cannot be read: {panicked}"))))
    }

    /// Has a component compiled and in memory, so that the next call of it finds it there.
    ///
    /// # Errors
    /// When it cannot be a plugin here, or cannot be compiled now.
    pub async fn warm(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), ComponentError> {
        if self.prepared(digest).await.is_some() {
            return Ok(());
        }
        self.prepare(digest, bytes).await.map(drop)
    }

    /// The component with this digest, if it was compiled and checked before.
    pub(super) async fn prepared(&self, digest: Digest) -> Option<Arc<Prepared>> {
        if let Some(prepared) = self.compiled.get(&digest) {
            return Some(prepared);
        }
        let turn = self.turns.of(digest);
        let _turn = turn.lock().await;
        if let Some(prepared) = self.compiled.get(&digest) {
            return Some(prepared);
        }
        let world = self.verdict(digest).await?.world()?;
        let component = self.kept(digest).await?;
        self.link(digest, &component, world).ok()
    }

    /// Loads the machine code that an earlier compilation left on disk.
    async fn kept(&self, digest: Digest) -> Option<Component> {
        let artifacts = Arc::clone(self.artifacts.as_ref()?);
        let engine = self.engine.clone();
        let loading = tokio::task::spawn_blocking(move || match artifacts.code(&digest) {
            Found::Good(code) => match code::load(&engine, &code) {
                Ok(component) => (Some(component), Work::HIT),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(%digest, error, "a compiled plugin cannot be loaded, and is compiled again");
                    artifacts.remove(&digest);
                    (None, Work::REFUSED)
                }
            },
            Found::Absent => (None, Work::MISS),
            Found::Refused => (None, Work::REFUSED),
        });
        let (component, result) = loading.await.unwrap_or((None, Work::REFUSED));
        self.did(&Work::Sought { result });
        component
    }

    /// Compiles a component when it is its turn, and keeps the machine code on disk.
    async fn compile(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<Component, ComponentError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let began = Instant::now();
        let compiling = self
            .compiler
            .compile(&self.engine, bytes, &self.limits, permit);
        let compiled = compiling.await;
        let took = began.elapsed();
        let result = compiled
            .as_ref()
            .map_or_else(Failure::result, |_| "compiled");
        self.did(&Work::Compiled { result, took });
        let code = compiled?;
        tracing::info!(%digest, took_ms = took.as_millis(), bytes = code.bytes().len(), "compiled a plugin");
        let (engine, artifacts) = (self.engine.clone(), self.artifacts.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let component = code::load(&engine, &code);
            if let (Ok(_), Some(artifacts)) = (&component, &artifacts) {
                artifacts.keep_code(&digest, &code);
            }
            component
        });
        // This host's compiler made it a moment ago: what fails is the machine, as where there is no
        // memory to map it to.
        let not_now = |error: String| ComponentError::NotNow(format!("cannot be loaded: {error}"));
        match loading.await {
            Ok(Ok(component)) => Ok(component),
            Ok(Err(error)) => Err(not_now(format!("{error:#}"))),
            Err(panicked) => Err(not_now(panicked.to_string())),
        }
    }

    fn link(
        &self,
        digest: Digest,
        component: &Component,
        world: World,
    ) -> Result<Arc<Prepared>, Refusal> {
        let reasons = over_limits(component, &self.limits);
        if !reasons.is_empty() {
            return Err(Refusal { reasons });
        }
        let linked = self.linker.instantiate_pre(component);
        let linked = linked.and_then(|linked| v0_1::linked(world.kind, linked));
        let linked = linked.map_err(|error| {
            Refusal::because(format!(
                "does not fit the {} world of contract {}: {error:#}",
                world.kind, world.contract
            ))
        })?;
        let prepared = Arc::new(Prepared { world, linked });
        self.compiled.insert(digest, Arc::clone(&prepared));
        Ok(prepared)
    }
}

/// What the component needs as a whole, against the limits.
fn over_limits(component: &Component, limits: &PluginLimits) -> Vec<String> {
    // A component that imports modules does not know; importing them is refused for itself.
    let Some(required) = component.resources_required() else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    let mut check = |what: &str, needed: u32, max: u32, key: &str| {
        if needed > max {
            reasons.push(format!(
                "needs {needed} {what}, at most {max} are allowed (`{key}`): build it from fewer modules, \
                 or raise the limit"
            ));
        }
    };
    check(
        "memories",
        required.num_memories,
        limits.memories_max,
        key::MEMORIES,
    );
    check(
        "tables",
        required.num_tables,
        limits.tables_max,
        key::TABLES,
    );
    reasons
}
