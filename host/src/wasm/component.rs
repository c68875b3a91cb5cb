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
use super::world::{World, world_of};
use super::{Refusal, v0_1};

/// A plugin of some contract version, linked: what is left to do for a call is a fresh instance.
pub(super) enum Linked {
    Strategy(Box<dyn Strategy>),
    Scorer(Box<dyn Scorer>),
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
        is_component(&bytes, &self.limits)?;
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
            Ok(Err(panicked)) => return Err(Refusal::because(format!("cannot be compiled: {panicked}"))),
            Err(_) => {
                return Err(Refusal::because(format!(
                    "takes longer to compile than {} ms (`{}`)",
                    time.as_millis(),
                    key::COMPILE_MS
                )));
            }
        };
        let prepared = Arc::new(self.link(&component)?);
        self.compiled.insert(digest, Arc::clone(&prepared));
        Ok(prepared)
    }

    fn link(&self, component: &Component) -> Result<Prepared, Refusal> {
        let mut reasons = over_limits(component, &self.limits);
        let world = match world_of(component, &self.engine) {
            Ok(world) => world,
            Err(refusal) => {
                reasons.extend(refusal.reasons);
                return Err(Refusal { reasons });
            }
        };
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
    let refuse = |error: wasmtime::Error| Refusal::because(format!("cannot be compiled: {error:#}"));
    let component = Component::from_binary(engine, bytes).map_err(refuse)?;
    component.initialize_copy_on_write_image().map_err(refuse)?;
    Ok(component)
}

/// Size and kind of the binary, from its first bytes.
fn is_component(bytes: &[u8], limits: &PluginLimits) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > limits.component_bytes_max {
        reasons.push(format!(
            "has {size} bytes, at most {} are allowed (`{}`)",
            limits.component_bytes_max,
            key::COMPONENT_BYTES
        ));
    }
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {}
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => reasons.push(
            "is a core module, a plugin must be a component: build it for the target wasm32-wasip2, \
             or with cargo component, componentize-py or jco"
                .to_owned(),
        ),
        _ => reasons.push("is not a WebAssembly binary, a plugin must be a component".to_owned()),
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Refusal { reasons })
    }
}

/// What the component needs from its start on, against the limits.
fn over_limits(component: &Component, limits: &PluginLimits) -> Vec<String> {
    const PAGE_BYTES: u64 = 64 << 10;
    // A component that imports modules does not know; importing them is refused for itself.
    let Some(required) = component.resources_required() else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    let mut check = |what: &str, needed: u64, max: u64, key: &str| {
        if needed > max {
            reasons.push(format!("needs {needed} {what}, at most {max} are allowed (`{key}`)"));
        }
    };
    let memory_bytes = required.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
    check("memories", required.num_memories.into(), limits.memories_max.into(), key::MEMORIES);
    check("bytes of memory", memory_bytes, limits.memory_bytes_max, key::MEMORY_BYTES);
    check("tables", required.num_tables.into(), limits.tables_max.into(), key::TABLES);
    check(
        "elements in a table",
        required.max_initial_table_size.unwrap_or(0),
        limits.table_elements_max.into(),
        key::TABLE_ELEMENTS,
    );
    reasons
}
