//! The runtime against plugins that misbehave, in real sessions.

mod determinism;
mod hostile;
mod refusals;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use conclave_core::ids::{DeliberationId, Digest};
use conclave_core::inference::Inference;
use conclave_core::outcome::{Cause, Proposal};
use conclave_core::testkit::host::{Host, terms};
use conclave_core::testkit::inference::ScriptedInference;
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::view::State;
use serde_json::{Value, json};

use super::{
    Compiler, Components, Engine, EngineConfig, NoBytes, PluginCall, PluginLimits, WasmRuntime,
};

/// The components in `tests/plugins`, built once.
fn built(name: &str) -> &'static [u8] {
    static BUILT: OnceLock<HashMap<String, Vec<u8>>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let components = conclave_plugin_build::build(&["hostile", "hostile-scorer"]).unwrap();
        let read = |path| std::fs::read(path).unwrap();
        components
            .into_iter()
            .map(|component| (component.name, read(component.path)))
            .collect()
    });
    &built[name]
}

/// A program in this directory that does what a shell is told.
pub(super) fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("compiler");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(&path);
    let mut file = file.unwrap();
    write!(file, "#!/bin/sh\n{script}\n").unwrap();
    path
}

/// The testkit's host pins the digests of these texts, whatever the components are.
#[derive(Default)]
struct Pinned {
    /// How many reads fail before one succeeds.
    unreadable: AtomicU32,
}

impl Components for Pinned {
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, NoBytes> {
        let left = |left: u32| left.checked_sub(1);
        if self.unreadable.fetch_update(Relaxed, Relaxed, left).is_ok() {
            return Err(NoBytes::Unreadable("too many open files".into()));
        }
        let name = match digest {
            digest if *digest == Digest::of(b"strategy") => "hostile",
            digest if *digest == Digest::of(b"scorer") => "hostile-scorer",
            _ => return Err(NoBytes::Gone("unknown".into())),
        };
        Ok(built(name).to_owned())
    }
}

/// Limits that tests can reach in little time.
fn limits() -> PluginLimits {
    PluginLimits {
        memory_bytes_max: 16 << 20,
        call_bytes_max: 1 << 20,
        calls_max: 100_000,
        cpu_slice_ms_max: 300,
        cpu_ms_max: 900,
        log_bytes_max: 4 << 10,
        ..PluginLimits::default()
    }
}

fn runtime(limits: PluginLimits) -> WasmRuntime {
    runtime_with(limits, Pinned::default())
}

fn runtime_with(limits: PluginLimits, components: Pinned) -> WasmRuntime {
    let engine = Engine::start(EngineConfig {
        limits,
        instances_max: 16,
        ..EngineConfig::default()
    });
    WasmRuntime::new(Arc::new(engine.unwrap()), Arc::new(components))
}

/// A host whose strategy and scorer are the hostile ones.
struct Bench {
    host: Host,
}

impl Bench {
    fn new(limits: PluginLimits) -> Self {
        Self::on(
            &MemoryJournal::default(),
            limits,
            Arc::new(ScriptedInference::answering("7")),
        )
    }

    fn on(journal: &MemoryJournal, limits: PluginLimits, inference: Arc<dyn Inference>) -> Self {
        let host = Host::idle(journal, inference, Arc::new(runtime(limits)), terms());
        Self { host }
    }

    /// One that tells of every call that ended.
    fn measured(
        limits: PluginLimits,
        on_call: impl Fn(&PluginCall<'_>) + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime(limits).measured(Arc::new(on_call));
        let inference = Arc::new(ScriptedInference::answering("7"));
        let journal = MemoryJournal::default();
        Self {
            host: Host::idle(&journal, inference, Arc::new(runtime), terms()),
        }
    }

    /// One whose components can be read at the third try.
    fn unreadable_at_first() -> Self {
        let components = Pinned {
            unreadable: AtomicU32::new(2),
        };
        let runtime = Arc::new(runtime_with(limits(), components));
        let inference = Arc::new(ScriptedInference::answering("7"));
        let journal = MemoryJournal::default();
        Self {
            host: Host::idle(&journal, inference, runtime, terms()),
        }
    }

    /// One whose components are compiled by this.
    fn compiled_by(compiler: Compiler) -> Self {
        let engine = Engine::start(EngineConfig {
            limits: limits(),
            instances_max: 16,
            compiler,
            ..EngineConfig::default()
        });
        let components = Arc::new(Pinned::default());
        let runtime = WasmRuntime::new(Arc::new(engine.unwrap()), components);
        let inference = Arc::new(ScriptedInference::answering("7"));
        let journal = MemoryJournal::default();
        Self {
            host: Host::idle(&journal, inference, Arc::new(runtime), terms()),
        }
    }

    async fn accept(&self, strategy: &Value, scorer: &Value) -> DeliberationId {
        let accepted = self.host.accept(|draft| {
            draft.strategy_params = strategy.to_string();
            draft.scorer_params = scorer.to_string();
            draft.timeout = Some(Duration::from_secs(60));
        });
        accepted.await
    }

    async fn end(&self, id: &DeliberationId) -> Result<Proposal, Cause> {
        let view = self.host.follow.wait(id).await.unwrap();
        match view.state {
            State::Completed(outcome) => Ok(outcome.proposal),
            State::Failed(cause) => Err(cause),
            other => unreachable!("{other:?}"),
        }
    }

    /// Runs the hostile strategy with these params to its end.
    async fn run(&self, params: Value) -> Result<Proposal, Cause> {
        let id = self.accept(&params, &json!({})).await;
        self.end(&id).await
    }
}
