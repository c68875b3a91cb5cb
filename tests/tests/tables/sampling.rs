//! The compiled component on a host of fakes, whose samples a test chooses.

use std::sync::{Arc, Mutex, PoisonError};

use conclave::wasm::{Components, Engine, EngineConfig, NoBytes, WasmRuntime};
use conclave_core::entry::Entry;
use conclave_core::ids::Digest;
use conclave_core::outcome::Verdict;
use conclave_core::testkit::host::Host;
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_tests::binary::shared_dir;
use conclave_tests::components::component;
use conclave_tests::patience::within;
use serde_json::Value;

/// The fakes' host knows one strategy and one scorer, each under the digest of its kind.
struct Compiled;

impl Components for Compiled {
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, NoBytes> {
        let is_strategy = *digest == Digest::of(b"strategy");
        let name = if is_strategy {
            "sample-vote"
        } else {
            "agreement"
        };
        let bytes = component(name).map_err(|error| NoBytes::Gone(error.into()))?;
        Ok(bytes.to_vec())
    }
}

/// What the samples of the next run will be, and how many were asked for.
#[derive(Default)]
struct Plan {
    right: Vec<bool>,
    asked: usize,
}

/// The component on a host of fakes.
pub(crate) struct Sampling {
    host: Host,
    plan: Arc<Mutex<Plan>>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) samples: usize,
    pub(crate) right_wins: bool,
}

impl Sampling {
    /// Starts the host.
    pub(crate) async fn start() -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let next = Arc::clone(&plan);
        let inference = ScriptedInference::new(move |_, _| {
            let plan = &mut *next.lock().unwrap_or_else(PoisonError::into_inner);
            plan.asked += 1;
            let right = plan
                .right
                .get(plan.asked - 1)
                .expect("no more samples are asked for than allowed");
            Script::answer(if *right { "right" } else { "wrong" })
        });
        let engine = Engine::start(EngineConfig {
            instances_max: 4,
            cache_dir: Some(shared_dir("compiled").expect("the target directory is writable")),
            ..EngineConfig::default()
        });
        let engine = Arc::new(engine.expect("the engine starts"));
        let runtime = WasmRuntime::new(engine, Arc::new(Compiled));
        let host = Host::start(
            &MemoryJournal::new(),
            Arc::new(inference),
            Arc::new(runtime),
        )
        .await;
        Self { host, plan }
    }

    /// Runs the component on these samples.
    pub(crate) async fn run(&self, params: &Value, right: &[bool]) -> Run {
        *self.plan.lock().expect("no closure panicked") = Plan {
            right: right.to_vec(),
            asked: 0,
        };
        let id = self
            .host
            .accept(|draft| draft.strategy_params = params.to_string())
            .await;
        let ended = within("the strategy", self.host.follow.wait(&id)).await;
        ended.expect("it ends").expect("it is known");
        let records = self.host.records(&id);
        let Some(Entry::Finished {
            verdict: Verdict::Completed(outcome),
            ..
        }) = records.last().map(|record| &record.entry)
        else {
            unreachable!("{:?}", records.last());
        };
        Run {
            samples: self.plan.lock().expect("no closure panicked").asked,
            right_wins: outcome.winner().candidate.content == "right",
        }
    }
}
