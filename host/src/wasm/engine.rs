//! The wasmtime engine: how it is configured, what is linked, and what has been compiled.

use std::hash::{Hash as _, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_core::ids::Digest;
use conclave_core::session::Guest;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    WasmBacktraceDetails,
};

use super::artifacts::Artifacts;
use super::background::Background;
use super::compile::Compiler;
use super::compiled::Compiled;
use super::component::Prepared;
use super::instance::{self, State};
use super::limits::{PluginLimits, as_usize};
use super::ticker::Ticker;
use super::turns::Turns;
use super::work::{OnWork, Work};
use super::{timers, v0_1};

/// How plugins are run.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What each instance may use.
    pub limits: PluginLimits,
    /// Strategies that may be live at once; more wait. Each takes several memory mappings, of which
    /// Linux allows a process 65,530. A quarter as many scorers may be live beside them.
    pub instances_max: u32,
    /// Compiled components that are kept in memory. One of Python takes 35 MB.
    pub compiled_max: usize,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Components that are compiled at once; more wait.
    pub compilations_max: usize,
    /// Where compiled components are kept between starts of the host. Files there are believed only
    /// with a seal, whose key lies beside them: whoever can read it can run code in the host.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of machine code that are kept there.
    pub cache_bytes_max: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            limits: PluginLimits::default(),
            instances_max: 1_000,
            compiled_max: 32,
            compiler: Compiler::InProcess,
            compilations_max: 1,
            cache_dir: None,
            cache_bytes_max: 4 << 30,
        }
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the configuration.
    #[error("the plugin engine cannot be configured")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The cache of compiled components cannot be used.
    #[error("the cache of compiled plugins `{path}` cannot be used")]
    Cache {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread that plugins need beside the runtime's cannot be started.
    #[error("the threads of the plugin engine cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Compiles components and makes instances of them; one for the process.
pub struct Engine {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Linker<State>,
    pub(super) limits: PluginLimits,
    pub(super) compiled: Compiled<Prepared>,
    pub(super) artifacts: Option<Arc<Artifacts>>,
    pub(super) compiler: Compiler,
    pub(super) compiling: Arc<Semaphore>,
    /// One at a time prepares a component.
    pub(super) turns: Turns,
    on_work: Option<OnWork>,
    /// One component at a time is run by the check.
    pub(super) rehearsing: Semaphore,
    pub(super) strategies: Arc<Semaphore>,
    /// Apart from strategies, which hold their permit while they wait for a scorer.
    pub(super) scorers: Arc<Semaphore>,
    pub(super) background: Background,
    strategies_max: usize,
    scorers_max: usize,
    _ticker: Ticker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine and its epoch thread, which ends when the engine is dropped.
    ///
    /// # Errors
    /// When this machine cannot run it, or the cache directory cannot be used.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let mut options = options();
        let scorers_max = config.instances_max / 4 + 1;
        let pool = pool(&config.limits, config.instances_max, scorers_max);
        options.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&options).or_else(|error| {
            tracing::warn!(
                error = format!("{error:#}"),
                "no pool for plugin instances can be reserved, each is allocated on demand"
            );
            options.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            wasmtime::Engine::new(&options)
        });
        let engine = engine.map_err(|error| EngineError::Engine(error.into()))?;
        let artifacts = match &config.cache_dir {
            Some(dir) => Some(artifacts(dir, &engine, config.cache_bytes_max)?),
            None => None,
        };
        let linker = linker(&engine).map_err(|error| EngineError::Engine(error.into()))?;
        let background = Background::start().map_err(EngineError::Thread)?;
        let ticker = Ticker::start(engine.clone(), background.polled());
        Ok(Self {
            _ticker: ticker.map_err(EngineError::Thread)?,
            engine,
            linker,
            limits: config.limits,
            compiled: Compiled::new(config.compiled_max),
            artifacts,
            compiler: config.compiler,
            compiling: Arc::new(Semaphore::new(config.compilations_max.max(1))),
            turns: Turns::default(),
            on_work: None,
            rehearsing: Semaphore::new(1),
            strategies: Arc::new(Semaphore::new(as_usize(config.instances_max))),
            scorers: Arc::new(Semaphore::new(as_usize(scorers_max))),
            background,
            strategies_max: as_usize(config.instances_max),
            scorers_max: as_usize(scorers_max),
        })
    }

    /// Tells of what the engine does with components.
    #[must_use]
    pub fn measured(self, on_work: OnWork) -> Self {
        Self {
            on_work: Some(on_work),
            ..self
        }
    }

    pub(super) fn did(&self, work: &Work) {
        if let Some(on_work) = &self.on_work {
            on_work(work);
        }
    }

    /// What each instance may use.
    #[must_use]
    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// The instances that are live now: strategies, and scorers.
    #[must_use]
    pub fn live(&self) -> (usize, usize) {
        let live =
            |max: usize, semaphore: &Semaphore| max.saturating_sub(semaphore.available_permits());
        (
            live(self.strategies_max, &self.strategies),
            live(self.scorers_max, &self.scorers),
        )
    }

    /// Forgets what was made of a component, in memory and on disk; instances that run go on.
    pub fn forget(&self, digest: &Digest) {
        self.compiled.remove(digest);
        if let Some(artifacts) = &self.artifacts {
            artifacts.remove(digest);
        }
    }

    pub(super) fn store(&self, plugin: &str, guest: Option<Guest>) -> Store<State> {
        instance::store(&self.engine, &self.limits, plugin, guest)
    }
}

/// What every engine has, and the one that compiles for it in a child: determinism, and a stop for code
/// that spins.
pub(super) fn options() -> Config {
    let mut options = Config::new();
    options
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Threads, shared memory and component-model async are not even compiled in; this spares
        // each store the state for the latter.
        .concurrency_support(false)
        // The contract knows 32 bits. What nobody needs is one thing less to go wrong.
        .wasm_memory64(false)
        // File and line in the backtrace of a trap, where the component has debugging information.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .memory_init_cow(true);
    options
}

/// Room for all instances that may be live, `describe` included.
fn pool(limits: &PluginLimits, strategies: u32, scorers: u32) -> PoolingAllocationConfig {
    /// Instances that the check, or a command, may have beside those of deliberations.
    const ASIDE: u32 = 4;
    let instances = strategies + scorers + ASIDE;
    let memory_bytes = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        // Each instance may take all that it is allowed: nobody else's start fails for it. What is
        // not taken is address space.
        .total_core_instances(instances.saturating_mul(limits.core_instances_max))
        .total_memories(instances.saturating_mul(limits.memories_max))
        .total_tables(instances.saturating_mul(limits.tables_max))
        .max_memory_size(memory_bytes)
        .max_memories_per_module(limits.memories_max)
        .max_tables_per_module(limits.tables_max)
        .table_elements(as_usize(limits.table_elements_max))
        // Pages that a slot keeps when it is freed: the next instance finds them mapped. Where the
        // kernel tells which were written (Linux 6.7), only those are cleared.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(64);
    pool
}

fn artifacts(
    dir: &Path,
    engine: &wasmtime::Engine,
    bytes_max: u64,
) -> Result<Arc<Artifacts>, EngineError> {
    let artifacts = Artifacts::open(dir, compatibility(engine), bytes_max);
    let artifacts = artifacts.map_err(|source| EngineError::Cache {
        path: dir.to_owned(),
        source,
    })?;
    Ok(Arc::new(artifacts))
}

/// What stands for everything that machine code depends on: the version of wasmtime, its settings, and
/// the processor.
fn compatibility(engine: &wasmtime::Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let digest = hasher.0.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unlike the hashers of the standard library, the same in every process and every build.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the whole digest is taken")
    }
}

/// Everything that a plugin of any served contract may import.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    timers::link(&mut linker)?;
    linker.allow_shadowing(false);
    v0_1::link(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_compiles_fits_every_engine_however_it_allocates() {
        let compiler = wasmtime::Engine::new(options().parallel_compilation(false)).unwrap();
        let hosts = [1, 4_000].map(|instances_max| {
            let config = EngineConfig {
                instances_max,
                ..EngineConfig::default()
            };
            Engine::start(config).unwrap()
        });
        for host in hosts {
            assert_eq!(compatibility(&host.engine), compatibility(&compiler));
        }
        let mut others = options();
        others.epoch_interruption(false);
        let others = wasmtime::Engine::new(&others).unwrap();
        assert_ne!(compatibility(&others), compatibility(&compiler));
    }

    #[test]
    fn a_pool_that_does_not_fit_the_address_space_is_replaced() {
        let engine = Engine::start(EngineConfig {
            instances_max: 1_000_000,
            ..EngineConfig::default()
        });
        assert!(engine.is_ok(), "{engine:?}");
    }
}
