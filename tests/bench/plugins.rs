//! What plugins cost in each language: to compile, to load, to start, to keep; and what a call of the
//! host and the epochs cost.
//!
//! All in this process, with the host's allocator: the adapter of wasmtime runs in real sessions, on
//! the fakes of the other ports.

mod components;
mod epochs;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use conclave::wasm::{Engine, EngineConfig, PluginCall, PluginLimits, WasmRuntime};
use conclave_core::testkit::host::{Host, terms};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_tests::components::component;
use conclave_tests::memory::resident_bytes;
use conclave_tests::patience::within;
use serde::Serialize;

use self::components::{Component, Fixed};
use self::epochs::Epochs;
use crate::numbers::Latencies;

/// Calls before anything is measured.
const WARM_UP: usize = 20;
/// Host calls of the plugin whose calls are counted.
const HOST_CALLS: u32 = 200_000;
/// How often the time of a host call is measured.
const HOST_CALL_RUNS: usize = 5;
/// Instances that are kept at once, to see what one takes.
const KEPT: usize = 64;
/// How long what was freed may take to be given back.
const SETTLING: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Plugins {
    pub(crate) languages: Vec<Language>,
    /// Languages of which no component was found, and how to make one.
    pub(crate) missing: Vec<String>,
    /// CPU time from a guest to a host function and back, in nanoseconds, the least of some runs.
    pub(crate) host_call_ns: f64,
    pub(crate) epochs: Vec<Epochs>,
}

/// What a component of one language costs.
#[derive(Debug, Serialize)]
pub(crate) struct Language {
    pub(crate) component: String,
    pub(crate) bytes: usize,
    /// To check it where it was never seen: to compile it, mostly.
    pub(crate) cold: Duration,
    /// To check it where it was compiled before a restart.
    pub(crate) cached: Duration,
    /// To make an instance.
    pub(crate) instantiation: Latencies,
    /// CPU time of a whole call, with three generations.
    pub(crate) cpu: Latencies,
    /// Resident bytes of an instance that waits for a generation, its session included.
    pub(crate) resident: f64,
}

impl Language {
    /// How many instances fit into one GiB.
    fn density(&self) -> f64 {
        f64::from(1 << 30) / self.resident.max(1.0)
    }
}

/// Measures each component with a quarter of `count` calls, at most 1,000.
pub(crate) async fn measure(count: usize, files: &[std::path::PathBuf]) -> anyhow::Result<Plugins> {
    let (components, missing) = components::find(files)?;
    let calls = count.div_ceil(4).min(1_000);
    let mut languages = Vec::new();
    for component in components {
        let measured = Box::pin(language(&component, calls)).await;
        languages.push(measured.with_context(|| format!("with `{}`", component.name))?);
    }
    Ok(Plugins {
        languages,
        missing,
        host_call_ns: host_call_ns().await?,
        epochs: epochs::measure().map_err(|error| anyhow!("{error:#}"))?,
    })
}

async fn language(component: &Component, calls: usize) -> anyhow::Result<Language> {
    let cache = tempfile::tempdir()?;
    let engine = || {
        Engine::start(EngineConfig {
            cache_dir: Some(cache.path().to_owned()),
            instances_max: 128,
            ..EngineConfig::default()
        })
    };
    let cold = check(&engine()?, component).await?;
    // Another engine, as after a restart of the host.
    let engine = Arc::new(engine()?);
    let cached = check(&engine, component).await?;
    let (instantiation, cpu) = run(&engine, component, calls).await?;
    Ok(Language {
        component: component.name.clone(),
        bytes: component.bytes.len(),
        cold,
        cached,
        instantiation,
        cpu,
        resident: resident(&engine, component).await?,
    })
}

async fn check(engine: &Engine, component: &Component) -> anyhow::Result<Duration> {
    let bytes = Arc::clone(&component.bytes);
    let began = Instant::now();
    engine.check(bytes).await?;
    Ok(began.elapsed())
}

/// What calls told when they ended: the time to make the instance, and its CPU time.
type Told = Arc<Mutex<Vec<(Duration, Duration)>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn telling(engine: &Arc<Engine>, component: &Component) -> (WasmRuntime, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let fixed = Arc::new(Fixed(Arc::clone(&component.bytes)));
    let runtime = WasmRuntime::new(Arc::clone(engine), fixed);
    let runtime = runtime.measured(Arc::new(move |call: &PluginCall<'_>| {
        lock(&tell).push((call.instantiation.unwrap_or_default(), call.cpu));
    }));
    (runtime, told)
}

/// Runs deliberations one after the other, whose generations are answered at once.
async fn run(
    engine: &Arc<Engine>,
    component: &Component,
    calls: usize,
) -> anyhow::Result<(Latencies, Latencies)> {
    let (runtime, told) = telling(engine, component);
    let inference = Arc::new(ScriptedInference::answering("yes"));
    let journal = MemoryJournal::default();
    let host = Host::idle(&journal, inference, Arc::new(runtime), terms());
    for _ in 0..WARM_UP + calls {
        let id = host.accept(|_| ()).await;
        host.follow.wait(&id).await?;
    }
    let told = lock(&told).split_off(WARM_UP);
    ensure!(
        told.iter()
            .all(|(instantiation, _)| !instantiation.is_zero()),
        "a call had no instance"
    );
    let (instantiation, cpu) = told.into_iter().unzip();
    Ok((Latencies::of(instantiation), Latencies::of(cpu)))
}

/// Bytes that one more instance takes while it waits.
async fn resident(engine: &Arc<Engine>, component: &Component) -> anyhow::Result<f64> {
    let (runtime, _) = telling(engine, component);
    let inference = Arc::new(ScriptedInference::new(|_, _| Script::hang()));
    let journal = MemoryJournal::default();
    let host = Host::idle(&journal, inference.clone(), Arc::new(runtime), terms());
    let pid = std::process::id();
    // The first have what is there once; the difference is made by the others.
    let mut at = [0_u64; 2];
    let mut ids = Vec::new();
    for resident in &mut at {
        for _ in 0..KEPT / 2 {
            ids.push(host.accept(|_| ()).await);
            let begun = ids.len();
            let waiting = inference.until(move |calls| {
                let asked: std::collections::BTreeSet<_> = calls
                    .iter()
                    .map(|call| call.request.id.deliberation.clone())
                    .collect();
                asked.len() == begun
            });
            within("the first generation of each", waiting).await?;
        }
        tokio::time::sleep(SETTLING).await;
        *resident = resident_bytes(pid)?;
    }
    for id in ids {
        host.follow.cancel(&id, "it is measured".to_owned()).await?;
    }
    let [before, after] = at;
    Ok(after.saturating_sub(before) as f64 / (KEPT / 2) as f64)
}

/// The plugin `hostile` asks for the time again and again: what many calls take above few.
async fn host_call_ns() -> anyhow::Result<f64> {
    let hostile = Component {
        name: "hostile".to_owned(),
        bytes: component("hostile")?.into(),
    };
    let engine = Arc::new(Engine::start(EngineConfig {
        limits: PluginLimits {
            cpu_slice_ms_max: 60_000,
            cpu_ms_max: 60_000,
            ..PluginLimits::default()
        },
        ..EngineConfig::default()
    })?);
    let (runtime, told) = telling(&engine, &hostile);
    let inference = Arc::new(ScriptedInference::answering("yes"));
    let journal = MemoryJournal::default();
    let host = Host::idle(&journal, inference, Arc::new(runtime), terms());
    let mut least = f64::INFINITY;
    for _ in 0..HOST_CALL_RUNS {
        let mut cpu = [Duration::ZERO; 2];
        for (cpu, count) in cpu.iter_mut().zip([1, 1 + HOST_CALLS]) {
            let accepted = host.accept(|draft| {
                draft.strategy_params = format!(r#"{{"mode": "call-flood", "count": {count}}}"#);
            });
            host.follow.wait(&accepted.await).await?;
            *cpu = lock(&told).pop().context("a call told nothing")?.1;
        }
        let [few, many] = cpu;
        let each = many.saturating_sub(few).as_secs_f64() * 1e9 / f64::from(HOST_CALLS);
        least = least.min(each);
    }
    Ok(least)
}

impl Plugins {
    /// The figures as Markdown.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n| component | size, MB | cold check, ms | check from the cache, ms | instance, p50 / p99, µs | CPU of a call, p50 / p99, µs | resident, kB | instances in 1 GiB |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        let two = |latencies: &Latencies| {
            let [p50, p99] = [0.5, 0.99].map(|share| latencies.percentile_ms(share) * 1e3);
            format!("{p50:.0} / {p99:.0}")
        };
        for language in &self.languages {
            writeln!(
                text,
                "| {} | {:.2} | {:.0} | {:.1} | {} | {} | {:.0} | {:.0} |",
                language.component,
                language.bytes as f64 / 1e6,
                language.cold.as_secs_f64() * 1e3,
                language.cached.as_secs_f64() * 1e3,
                two(&language.instantiation),
                two(&language.cpu),
                language.resident / 1e3,
                language.density(),
            )?;
        }
        for missing in &self.missing {
            writeln!(text, "\n{missing}")?;
        }
        writeln!(
            text,
            "\nA call of the host from a plugin and back: {:.0} ns of CPU time.",
            self.host_call_ns
        )?;
        writeln!(
            text,
            "\n| a plugin that only computes | without epochs, ms | with epochs, ms | times |"
        )?;
        writeln!(text, "|---|---|---|---|")?;
        for epochs in &self.epochs {
            let [without, with] = [epochs.without, epochs.with].map(|it| it.as_secs_f64() * 1e3);
            writeln!(
                text,
                "| {} | {without:.1} | {with:.1} | {:.2} |",
                epochs.what,
                with / without
            )?;
        }
        Ok(())
    }
}
