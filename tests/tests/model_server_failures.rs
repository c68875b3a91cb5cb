//! What can go wrong at a model server is told by its cause, and ends only what depended on it.

use std::time::{Duration, Instant, SystemTime};

use conclave_tests::beside::Beside;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{answers, failure, pb};
use conclave_tests::dead_server::DeadServer;
use conclave_tests::draft::{Change as _, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::memory::{mapped_bytes, peak_bytes, reset_peak, resident_bytes};
use conclave_tests::patience::within;
use conclave_tests::stub_server::{self, Behaviour, Recorded, StubServer};

/// Nothing is tried again.
fn once(models: &[&str]) -> pb::Deliberation {
    vote(models).retries(0)
}

/// A host that does not wait for long, and may ask one more endpoint.
async fn impatient(stub: &StubServer, allowed: &str) -> Host {
    let setup = Setup::asking(stub).expect("there is a place for data");
    let setup = setup
        .set("inference.allowed_endpoints", allowed)
        .set("inference.first_byte_timeout_seconds", "5")
        .set("inference.idle_timeout_seconds", "5");
    setup.start().await.expect("the host starts")
}

/// Models that fail, with words of the cause.
const FAILURES: [(&str, &str); 12] = [
    ("hang", "sent nothing for 5 s"),
    ("hang-after:2", "sent nothing for 5 s"),
    // A piece a minute is as good as none.
    ("slow-tokens:9:60000", "sent nothing for 5 s"),
    ("status:400", "rejected the request with status 400"),
    ("unknown-model", "model `unknown-model` is not served"),
    ("status:429", "is overloaded (status 429)"),
    ("status:500", "status 500"),
    ("status:503", "status 503"),
    ("half-stream", "ended before the answer was complete"),
    ("invalid-json", "no chat completion"),
    ("plain:invalid-json", "no chat completion"),
    ("error-event", "the stub's engine died"),
];

#[tokio::test]
async fn each_failure_of_a_model_server_names_its_cause_and_ends_its_deliberation_alone() {
    let stub = StubServer::start().await.unwrap();
    let host = impatient(&stub, "").await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    // All at once: those that hang, hang at the same time.
    let mut failing = Vec::new();
    for (model, cause) in FAILURES {
        let created = client.create(once(&[model])).await.unwrap();
        failing.push((created.uid, model, cause));
    }
    for (uid, model, cause) in failing {
        let done = client.wait(&uid).await.unwrap();
        let (reason, message) = failure(&done);
        assert_eq!(
            (done.state(), reason),
            (State::Failed, "ALL_AGENTS_FAILED"),
            "{model}: {message}"
        );
        assert!(message.contains(cause), "{model}: {message}");
        assert!(
            !message.contains("Is 7 prime?"),
            "{model} repeats the prompt: {message}"
        );
    }
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_names_the_server_and_ends_its_deliberation_alone() {
    let stub = StubServer::start().await.unwrap();
    let dead = DeadServer::bind().unwrap();
    let host = impatient(&stub, &dead.url()).await;
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let mut asked = once(&["answer:yes"]);
    asked.endpoint = dead.url();
    let done = client.run(asked).await.unwrap();
    let (reason, message) = failure(&done);
    assert_eq!(reason, "ALL_AGENTS_FAILED", "{message}");
    assert!(
        message.contains(&format!("{} is unavailable", dead.url())),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_fails_leaves_a_degraded_outcome_that_looks_like_one() {
    let stub = StubServer::start().await.unwrap();
    let host = impatient(&stub, "").await;
    let client = host.client().await.unwrap();
    let done = client
        .run(once(&["answer:yes", "status:500", "half-stream"]))
        .await
        .unwrap();
    assert_eq!(answers(&done), ["yes"]);
    let outcome = done.outcome.unwrap();
    let completeness = outcome.completeness.unwrap();
    assert_eq!(
        (
            completeness.agents,
            completeness.agents_completed,
            completeness.agents_failed
        ),
        (3, 1, 2)
    );
    assert_eq!(outcome.metadata["failed"], "2");
    let usage = done.usage.unwrap();
    assert_eq!(
        (usage.generations_completed, usage.generations_failed),
        (1, 2)
    );
}

#[tokio::test]
async fn an_answer_without_end_is_read_up_to_its_bound_and_no_memory_is_taken_for_it() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let setup = setup.set("inference.answer_bytes_max", "1048576");
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    // Plugins are compiled, and pools filled.
    client.run(once(&["answer:yes"])).await.unwrap();
    let before = resident_bytes(host.pid()).unwrap();
    let mapped_before = mapped_bytes(host.pid()).unwrap();
    reset_peak(host.pid()).unwrap();
    for model in ["endless", "endless-text", "plain:endless-text"] {
        let done = client.run(once(&[model])).await.unwrap();
        let (reason, message) = failure(&done);
        assert_eq!(reason, "ALL_AGENTS_FAILED", "{model}: {message}");
        let bound = "larger than the 1048576 bytes of `inference.answer_bytes_max`";
        assert!(message.contains(bound), "{model}: {message}");
    }
    let grown = peak_bytes(host.pid()).unwrap().saturating_sub(before);
    // Code that had not run before is no memory for answers.
    let code = mapped_bytes(host.pid()).unwrap();
    let grown = grown.saturating_sub(code.saturating_sub(mapped_before));
    assert!(grown < 32 << 20, "the host took {grown} bytes more");
    // The server was told to stop: all that it could send beyond the bound fits into sockets.
    let stopped = stub.until(|requests| {
        let mut endless = of_model(requests, "endless");
        endless.all(|request| request.state == stub_server::State::Aborted)
    });
    within("the model server to be told", stopped)
        .await
        .unwrap();
    let requests = stub.requests();
    let sent: u32 = of_model(&requests, "endless")
        .map(|request| request.tokens_sent)
        .sum();
    assert!(sent < 500_000, "the stub sent {sent} tokens");
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

#[tokio::test]
async fn a_server_that_tells_when_to_come_back_is_asked_again_then_and_not_sooner() {
    let stub = StubServer::start().await.unwrap();
    // Without the server's word it would be asked again within milliseconds.
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let began = Instant::now();
    let date = SystemTime::now() + Duration::from_secs(2);
    let refused = |after: String| Behaviour::Status(429, Some(after));
    let answer = || Behaviour::Answer("yes".to_owned());
    stub.script("seconds", vec![refused("1".to_owned()), answer()]);
    let in_words = httpdate::fmt_http_date(date);
    stub.script("date", vec![refused(in_words.clone()), answer()]);
    let busy = |model: &str| once(&[model]).retries(1);
    let of_seconds = client.create(busy("seconds")).await.unwrap();
    let of_date = client.create(busy("date")).await.unwrap();

    let done = client.wait(&of_seconds.uid).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{done:?}");
    assert_eq!(answers(&done), ["yes"], "{done:?}");
    let done = client.wait(&of_date.uid).await.unwrap();
    // The words have no fractions of a second.
    let date = httpdate::parse_http_date(&in_words).unwrap();
    assert!(SystemTime::now() >= date, "{done:?}");
    assert_eq!(answers(&done), ["yes"], "{done:?}");
    for model in ["seconds", "date"] {
        assert_eq!(of_model(&stub.requests(), model).count(), 2, "{model}");
    }
}

#[tokio::test]
async fn a_server_that_is_overloaded_for_ever_fails_the_deliberation_in_time() {
    const MODEL: &str = "status:429:retry-after=1";
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let beside = Beside::start(&stub, &client).await.unwrap();
    let timeout = Duration::from_secs(4);
    let began = Instant::now();
    let for_ever = once(&[MODEL]).retries(10).timeout(timeout);
    let done = client.run(for_ever).await.unwrap();
    let (reason, message) = failure(&done);
    assert_eq!(
        (done.state(), reason),
        (State::Failed, "ALL_AGENTS_FAILED"),
        "{message}"
    );
    for words in [
        "is overloaded (status 429)",
        "the deadline passes before it may be tried again",
    ] {
        assert!(message.contains(words), "{message}");
    }
    // It waits for no deadline that can help nobody, and asks each second at most.
    let asked = of_model(&stub.requests(), MODEL).count();
    assert!((2..=4).contains(&asked), "it asked {asked} times");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "it took {took:?}");
    beside.ends_unaffected(&stub, &client).await.unwrap();
}

fn of_model<'r>(requests: &'r [Recorded], model: &str) -> impl Iterator<Item = &'r Recorded> {
    requests
        .iter()
        .filter(move |request| request.model == model)
}
