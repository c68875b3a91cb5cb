//! From bytes to a component that is compiled, of a known world, and linked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::ids::Digest;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::{Descriptor, Kind};
use conclave_core::runtime::PluginTask;
use wasmtime::Store;
use wasmtime::component::Component;

use super::engine::Engine;
use super::instance::State;
use super::limits::{PluginLimits, key};
use super::world::World;
use super::{Refusal, outline, v0_1};

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
    pub(super) fn kind(&self) -> Kind {
        self.world.kind
    }

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
    ) -> Result<Arc<Prepared>, Refusal> {
        if let Some(prepared) = self.compiled.get(&digest) {
            return Ok(prepared);
        }
        let world = outline::look(&bytes, &self.limits)?;
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        // Whoever compiled before may have compiled this one.
        if let Some(prepared) = self.compiled.get(&digest) {
            return Ok(prepared);
        }
        let engine = self.engine.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            compile(&engine, &bytes)
        });
        let time = Duration::from_millis(self.limits.compile_ms_max);
        let component = match tokio::time::timeout(time, compiling).await {
            Ok(Ok(compiled)) => compiled?,
            Ok(Err(panicked)) => {
                return Err(Refusal::because(format!("cannot be compiled: {panicked}")));
            }
            Err(_) => {
                return Err(Refusal::because(format!(
                    "takes longer to compile than {} ms (`{}`)",
                    time.as_millis(),
                    key::COMPILE_MS
                )));
            }
        };
        let prepared = Arc::new(self.link(&component, world)?);
        self.compiled.insert(digest, Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Has a component compiled and in memory, so that the next call of it finds it there.
    ///
    /// # Errors
    /// When it cannot be a plugin here.
    pub async fn warm(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<(), Refusal> {
        self.prepare(digest, bytes).await.map(drop)
    }

    fn link(&self, component: &Component, world: World) -> Result<Prepared, Refusal> {
        let reasons = over_limits(component, &self.limits);
        if !reasons.is_empty() {
            return Err(Refusal { reasons });
        }
        let linked = self.linker.instantiate_pre(component);
        let linked = linked.and_then(|linked| v0_1::linked(world.kind, linked));
        match linked {
            Ok(linked) => Ok(Prepared { world, linked }),
            Err(error) => Err(Refusal::because(format!(
                "does not fit the {} world of contract {}: {error:#}",
                world.kind, world.contract
            ))),
        }
    }
}

fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Component, Refusal> {
    let refuse =
        |error: wasmtime::Error| Refusal::because(format!("cannot be compiled: {error:#}"));
    let component = Component::from_binary(engine, bytes).map_err(refuse)?;
    component.initialize_copy_on_write_image().map_err(refuse)?;
    Ok(component)
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
                "needs {needed} {what}, at most {max} are allowed (`{key}`)"
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
