//! How long it takes to look at a deliberation, running or finished.

use conclave_tests::client::{Client, ray_executor};
use ray_executor::GetDeliberationStatusRequest;
use ray_executor::ray_executor_service_client::RayExecutorServiceClient;
use serde::Serialize;
use tonic::transport::Channel;

use crate::load::{GENERATIONS, asked};
use crate::numbers::Latencies;
use crate::pace::paced;
use crate::processes::Processes;

/// Polls a second.
pub(crate) const RATE: u32 = 200;
/// Submits a second beside them.
const SUBMITS: u32 = 100;
/// Deliberations of each state that are looked at in turn.
const LOOKED_AT: usize = 100;
/// Connections that the polls take in turn, and as many that the submits take.
const CONNECTIONS: usize = 4;

/// What was measured of one call.
#[derive(Debug, Serialize)]
pub(crate) struct Polls {
    pub(crate) call: &'static str,
    /// The state of the deliberations that were looked at.
    pub(crate) of: &'static str,
    /// Submits a second beside the polls.
    pub(crate) submits: u32,
    pub(crate) latencies: Latencies,
}

/// A connection for both calls.
#[derive(Clone, Debug)]
struct Poller {
    native: Client,
    elder: RayExecutorServiceClient<Channel>,
}

impl Poller {
    async fn poll(mut self, call: &'static str, uid: String) -> anyhow::Result<()> {
        if call == GET {
            self.native.get(&uid).await?;
        } else {
            let request = GetDeliberationStatusRequest {
                deliberation_id: uid,
            };
            let answer = self.elder.get_deliberation_status(request).await?;
            let status = answer.into_inner().status;
            anyhow::ensure!(status != "not_found", "a deliberation is not found");
        }
        Ok(())
    }
}

const GET: &str = "GetDeliberation";
const STATUS: &str = "GetDeliberationStatus";

/// Makes a quarter of `count` polls for each call and state, 200 a second: on a host that does
/// nothing else, and beside 100 submits a second.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Vec<Polls>> {
    let processes = Processes::start(&[]).await?;
    processes.warm_up().await?;
    let clients = processes.clients(CONNECTIONS).await?;
    let mut pollers = Vec::new();
    for native in processes.clients(CONNECTIONS).await? {
        let elder = RayExecutorServiceClient::connect(processes.grpc_url()).await?;
        pollers.push(Poller { native, elder });
    }
    let (mut finished, mut running) = (Vec::new(), Vec::new());
    for _ in 0..LOOKED_AT {
        let done = clients[0].run(asked("answer:yes", GENERATIONS)).await?;
        finished.push(done.uid);
        // Its generation never ends, and is in the stub for longer than this takes.
        let begun = clients[0].create(asked("hang", 1)).await?;
        running.push(begun.uid);
    }
    let polling = Polling {
        pollers,
        states: [("finished", finished), ("running", running)],
        count: count.div_ceil(4),
    };
    let mut measured = polling.all(0).await?;
    measured.extend(beside(SUBMITS, &clients, polling.all(SUBMITS)).await?);
    Ok(measured)
}

/// The polls that are measured.
struct Polling {
    pollers: Vec<Poller>,
    /// The deliberations of each state.
    states: [(&'static str, Vec<String>); 2],
    /// Polls of each call and state.
    count: usize,
}

impl Polling {
    /// Makes all polls; so many submits a second are made beside them.
    async fn all(&self, submits: u32) -> anyhow::Result<Vec<Polls>> {
        let mut measured = Vec::new();
        for (of, uids) in &self.states {
            for call in [STATUS, GET] {
                let polls = paced(RATE, self.count, |number| {
                    let poller = self.pollers[number % self.pollers.len()].clone();
                    poller.poll(call, uids[number % uids.len()].clone())
                });
                let latencies = polls.await?.into_iter().map(|(took, ())| took).collect();
                measured.push(Polls {
                    call,
                    of,
                    submits,
                    latencies: Latencies::of(latencies),
                });
            }
        }
        Ok(measured)
    }
}

/// Does something beside so many submits a second.
async fn beside<T>(
    submits: u32,
    clients: &[Client],
    what: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let without_end = paced(submits, usize::MAX, |number| {
        let client = clients[number % clients.len()].clone();
        async move {
            client.create(asked("answer:yes", GENERATIONS)).await?;
            Ok(())
        }
    });
    tokio::select! {
        done = what => done,
        failed = without_end => Err(match failed {
            Ok(_) => anyhow::anyhow!("the submits ended"),
            Err(error) => error.context("a submit beside the polls failed"),
        }),
    }
}
