//! The services over a real connection, on a host of fakes.

mod access;
mod calls;
mod clusters;
mod contract;
mod native;
mod plugins;
mod ray_executor;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use conclave_core::clock::Clock;
use conclave_core::generation::Failure;
use conclave_core::ids::Digest;
use conclave_core::inspect::InspectPlugins;
use conclave_core::outcome::Candidate;
use conclave_core::run::RunDeliberation;
use conclave_core::runtime;
use conclave_core::testkit::host::{FixedPlugins, Host as Fakes, prompt, terms};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_core::testkit::registry::MemoryRegistry;
use conclave_core::testkit::runtime::{ScriptedRuntime, proposal};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::call::Calls;
use super::{Health, Host, Readiness, Settings, server};
use crate::access::Access;
use crate::tls::Incoming;
use crate::wasm::{Components, NoBytes};

/// A server on a free port, and a connection to it.
struct Served {
    channel: Channel,
    /// The same services without HTTP/2 between: tonic's channel ends a call at its deadline itself.
    calls: Calls<Routes>,
    readiness: Readiness,
    journal: MemoryJournal,
    run: Arc<RunDeliberation>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl Served {
    /// A ready server whose strategy asks every agent once; the model says `answer`.
    async fn answering(answer: &str) -> Self {
        Self::start(ScriptedInference::answering(answer), Settings::default()).await
    }

    /// A ready server whose model never answers.
    async fn hanging() -> Self {
        Self::start(
            ScriptedInference::new(|_, _| Script::hang()),
            Settings::default(),
        )
        .await
    }

    async fn start(inference: ScriptedInference, settings: Settings) -> Self {
        Self::start_with(inference, settings, Access::off()).await
    }

    async fn start_with(inference: ScriptedInference, settings: Settings, access: Access) -> Self {
        let data = tempfile::tempdir().unwrap();
        let journal = MemoryJournal::new();
        let fakes = Fakes::idle(
            &journal,
            Arc::new(inference),
            Arc::new(asks_every_agent()),
            terms(),
        );
        let run = Arc::clone(&fakes.run);
        let registry = MemoryRegistry::default();
        let policy = terms().policy;
        let host = Host {
            submit: Arc::new(fakes.submit),
            follow: fakes.follow,
            list: fakes.list,
            accounts: fakes.accounts,
            plugins: InspectPlugins::new(
                Arc::new(registry.clone()),
                Arc::new(FixedPlugins::default()),
                policy.strategy_default,
                policy.scorer_default,
            ),
            registry: Arc::new(registry),
            import: Arc::new(plugins::Elsewhere),
            live: run.live().clone(),
            tasks: fakes.tasks.clone(),
            component_bytes_max: 64,
            components: Arc::new(NoComponents),
            clock: Clock::system(),
            health: Arc::new(|| Box::pin(async { Health::Healthy })),
            clusters: clusters::none_of_them_answers(data.path(), &fakes.tasks).await,
            calls: crate::metrics::Metrics::new().calls.clone(),
        };
        let (server, readiness) = server(host, Arc::new(access), settings).await;
        readiness.set(true).await;
        let calls = server.calls.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = fakes.tasks.spawn("grpc", async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            let incoming = Incoming::new(listener, 1_000, Duration::from_secs(30), None);
            server.serve(incoming.unwrap(), stopped).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            channel,
            calls,
            readiness,
            journal,
            run,
            stop,
            serving,
            _data: data,
        }
    }
}

/// A strategy that asks every agent once, and puts all answers forward.
fn asks_every_agent() -> ScriptedRuntime {
    ScriptedRuntime::new(|task, guest| async move {
        guest.emit("asked".to_owned(), r#"{"agents":3}"#.to_owned())?;
        let mut asked = Vec::new();
        for agent in &task.task.agents {
            let job = guest.submit(prompt(agent.id.as_str(), "Is 7 prime?"))?;
            asked.push((agent.id.clone(), job.map_err(|failure| refused(&failure))?));
        }
        let mut candidates = Vec::new();
        for (agent, job) in asked {
            if let Ok(generation) = guest.wait(job).await? {
                let content = generation.text;
                candidates.push(Candidate {
                    agent,
                    content,
                    reasoning: None,
                    jobs: vec![job],
                });
            }
        }
        if candidates.is_empty() {
            return Err(runtime::Error::Refused("nobody answered".to_owned()));
        }
        let scores = guest
            .score(candidates.clone())
            .await?
            .map_err(|failure| refused(&failure))?;
        Ok(proposal(candidates, scores))
    })
}

fn refused(failure: &Failure) -> runtime::Error {
    runtime::Error::Refused(failure.to_string())
}

/// Code, reason and message of a refusal.
fn told(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (
        status.code(),
        reason.unwrap_or_default(),
        status.message().to_owned(),
    )
}

/// Waits a little, for what has no event to wait for.
async fn soon() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// No component is there: the plugins of these tests are Rust closures.
struct NoComponents;

impl Components for NoComponents {
    fn bytes(&self, _digest: &Digest) -> Result<Vec<u8>, NoBytes> {
        Err(NoBytes::Gone("there is none".into()))
    }
}
