//! One tree of spans, from the client's own to the model server; and nothing else changes with it.

use std::collections::HashMap;

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;

use crate::collector::{Collector, Traced};
use crate::exposition::Scrape;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const TRACESTATE: &str = "vendor=1";
/// The kinds of spans in OTLP.
const SERVER: i32 = 2;
const CLIENT_KIND: i32 = 3;

fn headers(traceparent: &str) -> [(&'static str, &str); 2] {
    [("traceparent", traceparent), ("tracestate", TRACESTATE)]
}

fn client_context() -> String {
    format!("00-{TRACE}-{CLIENT}-01")
}

/// The only span of this name in the client's trace.
fn one<'a>(spans: &'a [Traced], name: &str) -> &'a Traced {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.name == name && span.trace == TRACE)
        .collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn has(span: &Traced, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let found = span.attributes.get(*name).map(String::as_str);
        assert_eq!(found, Some(*value), "{name} of {span:#?}");
    }
}

async fn tracing_host(stub: &StubServer, collector: &Collector) -> Host {
    let setup = Setup::asking(stub).unwrap();
    let setup = setup.set("telemetry.otlp_endpoint", &collector.url());
    setup.start().await.unwrap()
}

#[tokio::test]
async fn a_deliberation_is_one_tree_of_spans_from_the_client_to_the_model_server() {
    let stub = StubServer::start().await.unwrap();
    let collector = Collector::start().await;
    let host = tracing_host(&stub, &collector).await;
    let client = host.client().await.unwrap();
    let created = client
        .create_with(
            &headers(&client_context()),
            vote(&["answer:yes", "status:400"]),
        )
        .await
        .unwrap();
    let done = client.wait(&created.uid).await.unwrap();
    assert_eq!(done.state(), State::Completed);
    // What waits is exported before it ends.
    let (status, _) = host.stop().await.unwrap();
    assert!(status.success());

    assert_eq!(collector.service_name().as_deref(), Some("conclave"));
    let spans = collector.spans();
    let call = one(&spans, "conclave.v1.Deliberations/CreateDeliberation");
    assert_eq!((call.parent.as_str(), call.kind), (CLIENT, SERVER));
    has(
        call,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.response.status_code", "OK"),
        ],
    );
    let session = one(&spans, "deliberate sample-vote");
    assert_eq!(session.parent, call.id);
    has(
        session,
        &[
            ("conclave.deliberation.id", &created.uid),
            ("state", "completed"),
        ],
    );
    let strategy = one(&spans, "strategy sample-vote");
    assert_eq!(strategy.parent, session.id);
    has(strategy, &[("conclave.plugin.result", "answered")]);
    let scorer = one(&spans, "scorer agreement");
    assert_eq!(scorer.parent, strategy.id);
    let generation = one(&spans, "chat answer:yes");
    assert_eq!(
        (&generation.parent, generation.kind),
        (&strategy.id, CLIENT_KIND)
    );
    let port = stub.url().rsplit(':').next().unwrap().to_owned();
    let requests = stub.requests();
    let sent: HashMap<_, _> = requests
        .iter()
        .map(|request| (request.model.as_str(), request))
        .collect();
    has(
        generation,
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "answer:yes"),
            ("gen_ai.response.finish_reasons", "[stop]"),
            ("gen_ai.usage.output_tokens", "1"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
        ],
    );
    let seed = sent["answer:yes"].seed.unwrap().to_string();
    has(generation, &[("gen_ai.request.seed", &seed)]);
    let refused = one(&spans, "chat status:400");
    assert!(refused.is_error);
    has(refused, &[("error.type", "rejected")]);
    // The model server goes on in the same tree.
    for (model, span) in [("answer:yes", generation), ("status:400", refused)] {
        let expected = format!("00-{TRACE}-{}-01", span.id);
        assert_eq!(sent[model].traceparent.as_deref(), Some(expected.as_str()));
        assert_eq!(sent[model].tracestate.as_deref(), Some(TRACESTATE));
    }
    let told = format!("{spans:?}");
    assert!(!told.contains("Is 7 prime?"), "no prompt is in a trace");
}

#[tokio::test]
async fn a_resumed_session_is_in_the_trace_of_its_submit() {
    let stub = StubServer::start().await.unwrap();
    let collector = Collector::start().await;
    let host = tracing_host(&stub, &collector).await;
    let client = host.client().await.unwrap();
    stub.hold();
    let created = client
        .create_with(&headers(&client_context()), vote(&["answer:yes"]))
        .await
        .unwrap();
    within("a generation", stub.until(|requests| !requests.is_empty()))
        .await
        .unwrap();
    let (_, setup) = host.stop().await.unwrap();
    stub.release();
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let done = client.wait(&created.uid).await.unwrap();
    assert_eq!(done.state(), State::Completed);
    host.stop().await.unwrap();

    let spans = collector.spans();
    let call = one(&spans, "conclave.v1.Deliberations/CreateDeliberation");
    let sessions: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "deliberate sample-vote")
        .collect();
    assert_eq!(sessions.len(), 2, "{spans:#?}");
    for session in &sessions {
        assert_eq!((session.trace.as_str(), &session.parent), (TRACE, &call.id));
    }
    let aborted = spans.iter().filter(|span| {
        span.attributes
            .get("error.type")
            .is_some_and(|kind| kind == "aborted")
    });
    assert_eq!(aborted.count(), 1, "{spans:#?}");
}

#[tokio::test]
async fn without_a_collector_the_model_server_is_still_in_the_clients_trace() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let created = client
        .create_with(&headers(&client_context()), vote(&["answer:yes"; 2]))
        .await
        .unwrap();
    client.wait(&created.uid).await.unwrap();
    let untraced = client.run(vote(&["answer:no"])).await.unwrap();
    assert_eq!(untraced.state(), State::Completed);
    let mut parents = Vec::new();
    for request in stub.requests() {
        if request.model == "answer:no" {
            assert_eq!((request.traceparent, request.tracestate), (None, None));
            continue;
        }
        let traceparent = request.traceparent.unwrap();
        let parts: Vec<_> = traceparent.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"));
        assert_eq!(request.tracestate.as_deref(), Some(TRACESTATE));
        parents.push(parts[2].to_owned());
    }
    parents.push(CLIENT.to_owned());
    parents.sort();
    parents.dedup();
    assert_eq!(parents.len(), 3, "each has a span of its own: {parents:?}");
}

#[tokio::test]
async fn a_collector_that_is_down_changes_nothing_else() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let setup = setup.set("telemetry.otlp_endpoint", "http://127.0.0.1:1");
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    for _ in 0..20 {
        let done = client.run(vote(&["answer:yes"]).retries(0)).await.unwrap();
        assert_eq!(done.state(), State::Completed);
    }
    let scrape = Scrape::of(&host).await;
    assert_eq!(scrape.value("conclave_deliberations_accepted_total"), 20.0);
    assert_eq!(scrape.value("conclave_trace_spans_exported_total"), 0.0);
    host.terminate().unwrap();
    let log = host.log();
    let (status, _) = host.ended().await.unwrap();
    assert!(status.success());
    assert!(
        log.matches("traces cannot be exported").count() <= 1,
        "{log}"
    );
}
