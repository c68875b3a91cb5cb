//! What a plugin that misbehaves costs the deliberations beside it.
//!
//! For each misbehaviour, well-behaved deliberations are submitted at a fixed rate, in slices: one on a
//! host that does nothing else, one beside the misbehaviour, and again. So both are measured on the
//! same machine at the same time, whatever else it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, pb};
use conclave_tests::components::install;
use conclave_tests::draft::{Change as _, draft};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::load::{GENERATIONS, asked};
use crate::numbers::Latencies;
use crate::pace::paced;
use crate::processes::Processes;

/// Well-behaved deliberations a second: some tenth of what the host carries alone.
const RATE: u32 = 40;
/// Connections that they take in turn.
const CONNECTIONS: usize = 8;
/// Slices beside each misbehaviour, and as many without.
const SLICES: usize = 4;
/// A misbehaviour that ends begins again, and not more often than this: it shall be one that
/// misbehaves, and no load of many.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The misbehaviours: the name, how many at once, and the parameters of the plugin `hostile`.
fn misbehaviours() -> Vec<(&'static str, usize, Value)> {
    vec![
        ("one that spins", 1, json!({"mode": "spin"})),
        ("eight that spin", 8, json!({"mode": "spin"})),
        (
            "one that spins from call to call of the host",
            1,
            json!({"mode": "call-flood", "count": 100_000_000}),
        ),
        (
            "one that fills its memory",
            1,
            json!({"mode": "fill", "bytes": 20 << 20}),
        ),
        (
            "one that allocates without end",
            1,
            json!({"mode": "allocate"}),
        ),
        ("one that floods its log", 1, json!({"mode": "log-flood"})),
        (
            "one that floods its journal",
            1,
            json!({"mode": "emit-flood"}),
        ),
        (
            "one that submits without end",
            1,
            json!({"mode": "submit-stubbornly"}),
        ),
        (
            "one that gives the host 8 MiB again and again",
            1,
            json!({"mode": "long-strings", "bytes": 8 << 20}),
        ),
        (
            "one that recurses without end",
            1,
            json!({"mode": "overflow"}),
        ),
    ]
}

/// What was measured of one misbehaviour: deliberations without it and beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Beside {
    pub(crate) misbehaviour: &'static str,
    pub(crate) without: Latencies,
    pub(crate) beside: Latencies,
    /// How often the misbehaviour began meanwhile.
    pub(crate) begun: usize,
}

impl Beside {
    /// How many times as long the slowest of a share take beside it.
    pub(crate) fn ratio(&self, share: f64) -> f64 {
        self.beside.percentile_ms(share) / self.without.percentile_ms(share)
    }
}

/// Submits an eighth of `count` deliberations without each misbehaviour, and as many beside it.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Vec<Beside>> {
    let plugins = tempfile::tempdir()?;
    install(plugins.path(), &["hostile"])?;
    let path = plugins.path().to_string_lossy().into_owned();
    let processes = Processes::start_with(&["--plugins", &path], &[]).await?;
    processes.warm_up().await?;
    let clients = processes.clients(CONNECTIONS).await?;
    // Its component is compiled before anything is measured.
    clients[0].run(hostile(&json!({"mode": "ok"}))).await?;
    let slice = count.div_ceil(8 * SLICES);
    let mut measured = Vec::new();
    for (misbehaviour, width, params) in misbehaviours() {
        let (mut without, mut beside, mut begun) = (Vec::new(), Vec::new(), 0);
        for _ in 0..SLICES {
            without.extend(deliberate(&clients, slice).await?);
            let misbehaving = Misbehaving::start(processes.clients(width).await?, &params);
            tokio::time::sleep(AGAIN_AFTER).await;
            beside.extend(deliberate(&clients, slice).await?);
            begun += misbehaving.stop(&clients[0]).await?;
        }
        measured.push(Beside {
            misbehaviour,
            without: Latencies::of(without),
            beside: Latencies::of(beside),
            begun,
        });
    }
    Ok(measured)
}

/// Well-behaved deliberations at the rate, each to its outcome.
async fn deliberate(clients: &[Client], count: usize) -> anyhow::Result<Vec<Duration>> {
    let answered = paced(RATE, count, |number| {
        let client = clients[number % clients.len()].clone();
        async move {
            let done = client.run(asked("answer:yes", GENERATIONS)).await?;
            ensure!(done.state() == State::Completed, "{:?}", done.failure);
            Ok(())
        }
    });
    Ok(answered.await?.into_iter().map(|(took, ())| took).collect())
}

/// Clients that have a plugin misbehave again and again.
struct Misbehaving {
    clients: JoinSet<anyhow::Result<()>>,
    begun: Arc<Mutex<Vec<String>>>,
}

impl Misbehaving {
    fn start(clients: Vec<Client>, params: &Value) -> Self {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let clients = clients.into_iter().map(|client| {
            let (begun, params) = (Arc::clone(&begun), params.clone());
            async move {
                loop {
                    let again = Instant::now() + AGAIN_AFTER;
                    let uid = client.create(hostile(&params)).await?.uid;
                    lock(&begun).push(uid.clone());
                    client.wait(&uid).await?;
                    sleep_until(again).await;
                }
            }
        });
        Self {
            clients: clients.collect(),
            begun,
        }
    }

    /// Ends it; how often it began.
    async fn stop(mut self, client: &Client) -> anyhow::Result<usize> {
        if let Some(ended) = self.clients.try_join_next() {
            ended??;
        }
        self.clients.shutdown().await;
        let begun = std::mem::take(&mut *lock(&self.begun));
        for uid in &begun {
            if client.get(uid).await?.state() == State::Running {
                client.cancel(uid, "it is measured").await?;
            }
        }
        Ok(begun.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hostile(params: &Value) -> pb::Deliberation {
    draft(&["answer:yes"]).strategy("hostile", params.clone())
}
