//! How long a fresh instance of a plugin takes to its first call of the host.
//!
//! In this process: the adapter of wasmtime runs in real sessions, on the fakes of the other ports.
//! The clock starts where the session calls the runtime, and stops in the first function of the
//! contract that the plugin calls, which is to log a line: the host makes an event of it, in the
//! same thread, that is caught here.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use conclave::wasm::{Components, Engine, EngineConfig, NoBytes, WasmRuntime};
use conclave_core::ids::Digest;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::PluginRef;
use conclave_core::runtime::{Error, PluginTask, Runtime};
use conclave_core::session::Guest;
use conclave_core::testkit::host::{Host, terms};
use conclave_core::testkit::inference::ScriptedInference;
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::view::State;
use conclave_tests::components::component;
use tracing::span;

use crate::numbers::Latencies;

/// Calls before anything is measured.
const WARM_UP: usize = 200;
/// Where the host logs what plugins write.
const PLUGIN_LOG: &str = "conclave::plugin";

/// Makes `count` calls of the plugin `hostile`, which logs a line at once, one after the other.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Latencies> {
    static STOPWATCH: OnceLock<Stopwatch> = OnceLock::new();
    let stopwatch = STOPWATCH.get_or_init(Stopwatch::default);
    tracing::subscriber::set_global_default(stopwatch)
        .context("another subscriber catches events")?;
    let engine = Arc::new(Engine::start(EngineConfig::default())?);
    let runtime = Timed {
        wasm: WasmRuntime::new(engine, Arc::new(Hostile)),
        stopwatch,
    };
    let inference = Arc::new(ScriptedInference::answering("yes"));
    let journal = MemoryJournal::default();
    let host = Host::idle(&journal, inference, Arc::new(runtime), terms());
    let mut latencies = Vec::with_capacity(count);
    for number in 0..WARM_UP + count {
        let accepted = host.accept(|draft| {
            draft.strategy_params = r#"{"mode": "log-flood", "count": 1}"#.to_owned();
        });
        let id = accepted.await;
        let view = host.follow.wait(&id).await?;
        ensure!(matches!(view.state, State::Completed(_)), "{view:?}");
        let took = stopwatch.take().context("the plugin logged nothing")?;
        if number >= WARM_UP {
            latencies.push(took);
        }
    }
    Ok(Latencies::of(latencies))
}

/// The component, whatever digest is asked for.
struct Hostile;

impl Components for Hostile {
    fn bytes(&self, _: &Digest) -> Result<Vec<u8>, NoBytes> {
        match component("hostile") {
            Ok(bytes) => Ok(bytes.to_owned()),
            Err(error) => Err(NoBytes::Gone(error.into())),
        }
    }
}

/// Starts the clock, and calls the runtime.
struct Timed {
    wasm: WasmRuntime,
    stopwatch: &'static Stopwatch,
}

#[async_trait]
impl Runtime for Timed {
    async fn deliberate(
        &self,
        strategy: &PluginRef,
        task: PluginTask,
        guest: Guest,
    ) -> Result<Proposal, Error> {
        self.stopwatch.start();
        self.wasm.deliberate(strategy, task, guest).await
    }

    async fn evaluate(
        &self,
        scorer: &PluginRef,
        task: PluginTask,
        candidates: Vec<Candidate>,
        guest: Guest,
    ) -> Result<Vec<Score>, Error> {
        self.wasm.evaluate(scorer, task, candidates, guest).await
    }
}

/// Stops at the first line that a plugin logs after its start.
#[derive(Debug, Default)]
struct Stopwatch(Mutex<Reading>);

#[derive(Clone, Copy, Debug, Default)]
enum Reading {
    #[default]
    Idle,
    Since(Instant),
    Took(Duration),
}

impl Stopwatch {
    fn start(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Reading::Since(Instant::now());
    }

    fn stop(&self) {
        let now = Instant::now();
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Reading::Since(start) = *reading {
            *reading = Reading::Took(now - start);
        }
    }

    fn take(&self) -> Option<Duration> {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *reading) {
            Reading::Took(took) => Some(took),
            _ => None,
        }
    }
}

impl tracing::Subscriber for &'static Stopwatch {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == PLUGIN_LOG
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.stop();
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
