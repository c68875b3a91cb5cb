//! What the ways to an engine cost, beside a bare client: `direct`, and `pool` on a real Ray cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use conclave::clusters::{Clusters, Settings};
use conclave::config::{self, Flag, Sources};
use conclave::dispatch::Dispatcher;
use conclave::nats::Nats;
use conclave::openai::OpenAi;
use conclave_core::clock::Clock;
use conclave_core::endpoint::Endpoint;
use conclave_core::execution::Execution;
use conclave_core::ids::{DeliberationId, ModelName};
use conclave_core::inference::{Inference as _, Progress, Request};
use conclave_core::tasks::Tasks;
use conclave_core::testkit::inference::contract;
use conclave_tests::binary::shared_dir;
use conclave_tests::nats::NatsServer;
use conclave_tests::ray::RayHead;
use conclave_tests::stub_server::{State, StubServer};
use serde::Serialize;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bare::Bare;
use crate::numbers::Latencies;
use crate::processes::{DATA, Stub};

/// Generations in flight while rates are measured.
const AT_ONCE: usize = 128;

/// Cancels of each kind.
const CANCELS: usize = 100;

/// What the stub answers at once, with one token.
const MODEL: &str = "answer:yes";

/// What it never ends.
const ENDLESS: &str = "endless";

/// How long an executor may take to be heard.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Ways {
    /// One generation after the other.
    pub(crate) bare: Latencies,
    pub(crate) direct: Latencies,
    pub(crate) pool: Latencies,
    /// Generations a second, many at once.
    pub(crate) bare_rate: f64,
    pub(crate) direct_rate: f64,
    pub(crate) pool_rate: f64,
    /// From giving a generation up until its server sees the connection end.
    pub(crate) direct_cancel: Latencies,
    pub(crate) pool_cancel: Latencies,
}

impl Ways {
    /// What a way adds to a bare call, at this share of them, in milliseconds.
    pub(crate) fn overhead_ms(&self, way: &Latencies, share: f64) -> f64 {
        way.percentile_ms(share) - self.bare.percentile_ms(share)
    }
}

/// The parts of a host that generations pass through, in this process.
struct Host {
    dispatcher: Arc<Dispatcher>,
    clusters: Clusters,
    stop: CancellationToken,
    _nats: NatsServer,
    _ray: RayHead,
    _data: TempDir,
}

/// Measures a quarter of `count` one after the other, and `count` many at once, of each way.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Ways> {
    let stub = Stub::start()?;
    let watched = StubServer::start().await?;
    let host = Host::start(&stub.url, &watched.url()).await?;
    let bare = Bare::of(&stub.url)?;
    let endpoint = Endpoint::parse(&stub.url)?;
    let single = count.div_ceil(4).min(1_000);
    let (mut of_bare, mut of_direct, mut of_pool) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..single + single / 4 {
        // They take turns: so all see the same machine.
        let began = Instant::now();
        bare.ask(1).await?;
        let took_bare = began.elapsed();
        let took_direct = host.generate(Execution::Direct, &endpoint).await?;
        let took_pool = host.generate(Execution::Pool, &endpoint).await?;
        if round >= single / 4 {
            of_bare.push(took_bare);
            of_direct.push(took_direct);
            of_pool.push(took_pool);
        }
    }
    let bare_rate = {
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let bare = bare.clone();
            asking.spawn(async move {
                for _ in 0..count.div_ceil(AT_ONCE) {
                    bare.ask(1).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        rate(count, began)
    };
    let direct_rate = host.rate(Execution::Direct, &endpoint, count).await?;
    let pool_rate = host.rate(Execution::Pool, &endpoint, count).await?;
    let direct_cancel = host.cancels(Execution::Direct, &watched).await?;
    let pool_cancel = host.cancels(Execution::Pool, &watched).await?;
    host.stop.cancel();
    Ok(Ways {
        bare: Latencies::of(of_bare),
        direct: Latencies::of(of_direct),
        pool: Latencies::of(of_pool),
        bare_rate,
        direct_rate,
        pool_rate,
        direct_cancel,
        pool_cancel,
    })
}

fn rate(count: usize, began: Instant) -> f64 {
    (count.div_ceil(AT_ONCE) * AT_ONCE) as f64 / began.elapsed().as_secs_f64()
}

fn request(execution: Execution, endpoint: &Endpoint, model: &str) -> Request {
    let mut request = contract::request(endpoint, &ModelName::new(model), 1);
    request.id.deliberation = DeliberationId::generate();
    request.execution = execution;
    request
}

impl Host {
    async fn start(stub: &str, watched: &str) -> anyhow::Result<Self> {
        let (nats, ray) = tokio::try_join!(NatsServer::new(), RayHead::new())?;
        let data = TempDir::new_in(shared_dir(DATA)?)?;
        let python = ray.place().python().display().to_string();
        let cluster = format!(
            r#"[{{ name = "bench", address = "{}", executor = {{ actors = 2, slots = 128, actor_cpus = 0.5, python = "{python}", install_needs = false }} }}]"#,
            ray.url()
        );
        let flags = [
            ("server.data_dir", data.path().display().to_string()),
            ("events.nats_url", nats.url()),
            // An executor is kept where something may go that way.
            ("inference.execution", "pool".to_owned()),
            ("inference.allowed_endpoints", format!("{stub},{watched}")),
            ("clusters", cluster),
        ];
        let flags = flags.map(|(key, text)| Flag {
            name: "bench",
            key: key.to_owned(),
            text,
        });
        let loaded = config::load(&Sources {
            flags: flags.to_vec(),
            ..Sources::default()
        })?;
        let openai = loaded.config.openai(Vec::new());
        let settings = Settings {
            config: &loaded.config,
            clusters: loaded.clusters,
            nats: loaded.nats.as_ref(),
            openai: &openai,
        };
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        let direct = Arc::new(OpenAi::new(openai.clone())?);
        let connection = loaded.nats.clone().context("NATS is configured")?;
        let connection = Nats::start(connection).await?;
        let clusters = Clusters::compose(
            settings,
            direct,
            Some(&connection),
            Clock::system(),
            &tasks,
            &stop,
        );
        let clusters = clusters.await?;
        clusters.start(&tasks, &stop);
        let host = Self {
            dispatcher: Arc::new(clusters.dispatcher(&tasks)),
            clusters,
            stop,
            _nats: nats,
            _ray: ray,
            _data: data,
        };
        timeout(PATIENCE, host.heard())
            .await
            .context("no executor is heard")?;
        Ok(host)
    }

    /// Waits for both actors.
    async fn heard(&self) {
        loop {
            let views = self
                .clusters
                .pool()
                .map_or_else(Vec::new, |pool| pool.view());
            let executes = self.clusters.fleet().status().clusters;
            let executes = executes.iter().all(|cluster| cluster.executes);
            if executes && views.iter().all(|view| view.actors.len() >= 2) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How long one generation takes.
    async fn generate(
        &self,
        execution: Execution,
        endpoint: &Endpoint,
    ) -> anyhow::Result<Duration> {
        let request = request(execution, endpoint, MODEL);
        let progress = Progress::silent();
        let began = Instant::now();
        let answer = self.dispatcher.generate(&request, &progress);
        ensure!(answer.await?.text == "yes", "the stub answers otherwise");
        Ok(began.elapsed())
    }

    /// Generations a second, many at once.
    async fn rate(
        &self,
        execution: Execution,
        endpoint: &Endpoint,
        count: usize,
    ) -> anyhow::Result<f64> {
        let began = Instant::now();
        let mut generating = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (dispatcher, endpoint) = (Arc::clone(&self.dispatcher), endpoint.clone());
            generating.spawn(async move {
                for _ in 0..count.div_ceil(AT_ONCE) {
                    let request = request(execution, &endpoint, MODEL);
                    dispatcher.generate(&request, &Progress::silent()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(generated) = generating.join_next().await {
            generated??;
        }
        Ok(rate(count, began))
    }

    /// How long a server still works on generations that are given up, one after the other.
    async fn cancels(
        &self,
        execution: Execution,
        server: &StubServer,
    ) -> anyhow::Result<Latencies> {
        let endpoint = Endpoint::parse(&server.url())?;
        let mut all = Vec::new();
        server.reset();
        for number in 1..=CANCELS {
            let request = request(execution, &endpoint, ENDLESS);
            let progress = Progress::silent();
            let begun = async {
                while progress.tokens() == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                ended = self.dispatcher.generate(&request, &progress) => {
                    anyhow::bail!("it should run: {ended:?}");
                }
                () = begun => {}
            }
            let dropped = Instant::now();
            let gone = server.until(|requests| {
                let aborted = requests.iter().filter(|one| one.state == State::Aborted);
                aborted.count() >= number
            });
            timeout(PATIENCE, gone)
                .await
                .context("the server is still busy")?;
            all.push(dropped.elapsed());
        }
        Ok(Latencies::of(all))
    }
}
