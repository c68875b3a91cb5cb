//! The real executor, as a process, asks a model server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use conclave_core::ids::ModelName;
use conclave_core::inference::Error;
use conclave_core::testkit::inference::contract;
use conclave_tests::dead_server::DeadServer;
use conclave_tests::executor::Executor;
use conclave_tests::nats::NatsServer;
use conclave_tests::stub_server::{Recorded, State, StubServer};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use conclave::pool::HostId;

use crate::rig::{CLUSTER, Host, Through, cluster, errand, resumed};

struct Rig {
    nats: NatsServer,
    stub: StubServer,
    host: Host,
    executor: Executor,
}

impl Rig {
    async fn new(settings: Value) -> Self {
        let nats = NatsServer::new().await.unwrap();
        let host = Host::new(&nats.url()).await;
        let executor = start(&nats, settings).await;
        host.until("an executor", |view| !view.actors.is_empty())
            .await;
        Self {
            nats,
            stub: StubServer::start().await.unwrap(),
            host,
            executor,
        }
    }
}

async fn start(nats: &NatsServer, settings: Value) -> Executor {
    let executor = Executor::start(&nats.url(), CLUSTER, settings).await;
    executor.unwrap()
}

fn running(requests: &[Recorded]) -> usize {
    let running = requests.iter().filter(|one| one.state == State::Running);
    running.count()
}

#[tokio::test]
async fn the_contract_of_inference_holds_through_a_cluster() {
    let rig = Rig::new(json!({})).await;
    let dead = DeadServer::bind().unwrap();
    let stub = &rig.stub;
    let server = contract::Server {
        endpoint: Endpoint::parse(&stub.url()).unwrap(),
        model: ModelName::new("tiny"),
        endless: ModelName::new("endless"),
        dead: Endpoint::parse(&dead.url()).unwrap(),
        running: &|| {
            let count = running(&stub.requests());
            async move { count }.boxed()
        },
    };
    contract::check(&Through(rig.host.on_pool()), &server).await;
}

#[tokio::test]
async fn failures_are_those_of_the_mode_direct() {
    let rig = Rig::new(json!({})).await;
    let table = [
        ("status:400", "rejected"),
        ("status:429:retry-after=7", "overloaded"),
        ("status:500", "unavailable"),
        ("unknown", "unknown_model"),
        ("hang-after:2", "stalled"),
        ("half-stream", "interrupted"),
        ("invalid-json", "protocol"),
        ("error-event", "unavailable"),
    ];
    for (job, (model, kind)) in (1..).zip(table) {
        let error = rig.host.begin(errand(&rig.stub.url(), model, job));
        let error = error.error().await;
        assert_eq!(error.kind(), kind, "{model}: {error}");
        if model.starts_with("status:429") {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn a_cancel_aborts_in_the_engine_and_takes_what_is_queued() {
    let rig = Rig::new(json!({"slots": 1})).await;
    let url = rig.stub.url();
    let first = rig.host.begin(errand(&url, "held", 1));
    rig.stub.until(|requests| running(requests) == 1).await;
    let queued = rig.host.begin(errand(&url, "tiny", 2));
    let third = rig.host.begin(errand(&url, "answer:third", 3));
    rig.host.until("the queue", |view| view.depth == 3).await;
    queued.cancel();
    rig.host.until("the queue", |view| view.depth == 2).await;
    let dropped = Instant::now();
    first.cancel();
    rig.stub
        .until(|requests| requests[0].state == State::Aborted)
        .await;
    let took = dropped.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(third.answer().await.text, "third");
    let asked: Vec<_> = rig
        .stub
        .requests()
        .into_iter()
        .map(|one| one.model)
        .collect();
    assert_eq!(asked, ["held", "answer:third"]);
}

#[tokio::test]
async fn work_of_a_killed_executor_is_run_by_the_next() {
    let rig = Rig::new(json!({})).await;
    rig.stub.hold();
    let running_errand = rig.host.begin(errand(&rig.stub.url(), "answer:yes", 1));
    rig.stub.until(|requests| running(requests) == 1).await;
    rig.executor.kill().unwrap();
    let _second = start(&rig.nats, json!({"submission_id": "second"})).await;
    rig.stub
        .until(|requests| requests.len() == 2 && running(requests) == 1)
        .await;
    rig.stub.release();
    let answer = running_errand.answer().await;
    assert_eq!(answer.text, "yes");
    assert_eq!(answer.placement.unwrap().submission_id, "second");
    let counts = rig.host.counts();
    assert!(counts.redeliveries.load(Ordering::Relaxed) >= 1);
    assert_eq!(counts.results.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn work_that_kills_its_executors_goes_to_the_dead_letters() {
    let settings = json!({"tries_max": 2});
    let rig = Rig::new(settings.clone()).await;
    rig.stub.hold();
    let poison = rig.host.begin(errand(&rig.stub.url(), "tiny", 1));
    rig.stub.until(|requests| requests.len() == 1).await;
    rig.executor.kill().unwrap();
    let second = start(&rig.nats, settings.clone()).await;
    rig.stub.until(|requests| requests.len() == 2).await;
    second.kill().unwrap();
    let _third = start(&rig.nats, settings).await;
    let error = poison.error().await;
    assert!(
        matches!(error, Error::Rejected { status: 422, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("started 2 times"), "{error}");
    assert_eq!(rig.stub.requests().len(), 2);
}

#[tokio::test]
async fn a_host_that_was_killed_finds_its_work_running() {
    let nats = NatsServer::new().await.unwrap();
    let stub = StubServer::start().await.unwrap();
    let id = HostId::generate().unwrap();
    let host = Host::with(&nats.url(), &id, cluster()).await;
    let _executor = start(&nats, json!({})).await;
    stub.hold();
    let running_errand = host.begin(errand(&stub.url(), "answer:yes", 1));
    stub.until(|requests| running(requests) == 1).await;
    host.kill(running_errand).await;
    let host = Host::with(&nats.url(), &id, cluster()).await;
    let found = host.begin(resumed(&stub.url(), "answer:yes", 1));
    found.heard.until_placed().await;
    stub.release();
    assert_eq!(found.answer().await.text, "yes");
    assert_eq!(stub.requests().len(), 1, "it was run once");
}

#[tokio::test]
async fn a_restart_of_nats_costs_nothing_that_runs() {
    let Rig {
        nats,
        stub,
        host,
        executor,
    } = Rig::new(json!({})).await;
    stub.hold();
    let running_errand = host.begin(errand(&stub.url(), "answer:yes", 1));
    stub.until(|requests| running(requests) == 1).await;
    let _nats = nats.stop().await.unwrap().start().await.unwrap();
    host.until("the return of NATS", |view| view.ready).await;
    stub.release();
    assert_eq!(
        running_errand.answer().await.text,
        "yes",
        "{}",
        executor.log()
    );
    assert_eq!(stub.requests().len(), 1, "it was run once");
}

#[tokio::test]
async fn many_generations_pass_at_once() {
    let rig = Rig::new(json!({})).await;
    let url = rig.stub.url();
    let begun: Vec<_> = (1..=500)
        .map(|job| rig.host.begin(errand(&url, "answer:yes", job)))
        .collect();
    for running in begun {
        assert_eq!(running.answer().await.text, "yes");
    }
    rig.host
        .until("an empty queue", |view| view.depth == 0)
        .await;
    rig.executor.stop().await.unwrap();
}
