//! What executors say is what whoever waits is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave::errand::Errand;
use conclave::pool::{ClusterSettings, HostId, Queue};
use conclave_core::cluster::Placement;
use conclave_core::generation::{FinishReason, Generation};
use conclave_core::inference::Error;
use conclave_tests::nats::NatsServer;
use serde_json::{Value, json};

use crate::fake::{Fake, MODEL, answered};
use crate::rig::{CLUSTER, Errands, Host, cluster, errand};

async fn rig() -> (NatsServer, Host, Fake) {
    let nats = NatsServer::new().await.unwrap();
    let host = Host::new(&nats.url()).await;
    let fake = Fake::new(&nats.url()).await;
    (nats, host, fake)
}

#[tokio::test]
async fn a_server_that_clients_may_not_name_is_not_called_for_them() {
    let (_nats, host, fake) = rig().await;
    let mut asked = errand("http://169.254.169.254", "tiny", 1);
    asked.own = false;
    let error = host.begin(asked.clone()).error().await;
    assert!(matches!(error, Error::NotAllowed { .. }), "{error:?}");
    let told = "it is a link-local address, and http://169.254.169.254 is not an allowed endpoint";
    assert!(error.to_string().contains(told), "{error}");
    // The host's own choice needs no permission; nothing was queued before it.
    asked.own = true;
    let running = host.begin(asked);
    let work = fake.take().await;
    work.answer("yes").await;
    assert_eq!(running.answer().await.text, "yes");
}

#[tokio::test]
async fn an_answer_comes_with_its_tokens_its_place_and_what_it_took() {
    let (_nats, host, fake) = rig().await;
    let mut asked = errand(MODEL, "tiny", 1);
    asked.request.traceparent =
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let running = host.begin(asked);
    let heard = running.heard.clone();
    let work = fake.take().await;
    assert_eq!(work.id(), "deliberation-contract-1-0");
    let body = &work.body;
    assert_eq!(body["endpoint"], MODEL);
    assert_eq!(body["body"]["model"], "tiny");
    assert_eq!(body["body"]["stream"], true);
    assert_eq!(body["headers"]["x-request-id"], "deliberation-contract-1-1");
    let traceparent = body["headers"]["traceparent"].as_str().unwrap();
    assert!(traceparent.contains("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(body["first_byte_timeout_ms"], 2_000);

    work.start().await;
    let piece = json!({"index": 0, "tokens": 2, "text": "It "});
    work.progress(json!({ "v": 1, "choices": [piece] })).await;
    work.answer("It is").await;
    let answer = running.answer().await;
    assert_eq!(
        (&*answer.text, answer.finish),
        ("It is", FinishReason::Stop)
    );
    assert_eq!(answer.usage.completion_tokens, 4);
    // As the executor has measured it.
    assert!((320..420).contains(&answer.latency_ms), "{answer:?}");
    let place = Placement {
        cluster: CLUSTER.to_owned(),
        submission_id: "job".to_owned(),
        actor: Some("actor".to_owned()),
        node: Some("node".to_owned()),
    };
    assert_eq!(answer.placement.as_deref(), Some(&place));
    assert_eq!(heard.placed(), [place]);
    let tokens = [(0, 2, "It ".to_owned()), (0, 0, "is".to_owned())];
    assert_eq!(heard.tokens(), tokens);
    fake.until_depth(0).await;
    assert_eq!(host.counts().published.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn several_answers_come_together_and_share_their_cost() {
    let (_nats, host, fake) = rig().await;
    let asked = Errand {
        choices: 3,
        ..errand(MODEL, "tiny", 1)
    };
    let running = host.begin(asked);
    let work = fake.take().await;
    assert_eq!(work.body["choices"], 3);
    assert_eq!(work.body["body"]["n"], 3);
    work.end(answered(&["one", "two", "six"])).await;
    let finished = running.end().await.unwrap();
    let told: Vec<_> = finished.iter().map(|(at, one)| (*at, &*one.text)).collect();
    assert_eq!(told, [(0, "one"), (1, "two"), (2, "six")]);
    let tokens = |(_, one): &(usize, Generation)| one.usage.completion_tokens;
    assert_eq!(finished.iter().map(tokens).sum::<u32>(), 12);
}

/// How an errand ends whose work ends so.
async fn end(host: &Host, fake: &Fake, job: u32, outcome: Value) -> Error {
    let running = host.begin(errand(MODEL, "tiny", job));
    fake.take().await.end(outcome).await;
    running.error().await
}

#[tokio::test]
async fn what_executors_say_of_failures_is_what_the_host_itself_would_say() {
    let (_nats, host, fake) = rig().await;
    let refused = |status: u16| {
        json!({
            "outcome": "refused", "status": status, "headers": {"retry-after": "7"},
            "body": "{\"error\": {\"message\": \"why\"}}",
        })
    };
    let failed = |kind: &str| json!({"outcome": "failed", "kind": kind, "message": "why", "silence_ms": 3_000});
    let cancelled = |reason: &str| json!({"outcome": "cancelled", "reason": reason});
    let table = [
        (refused(404), "final", "unknown_model"),
        (refused(400), "final", "rejected"),
        (refused(429), "retry 7", "overloaded"),
        (refused(503), "retry 7", "unavailable"),
        (failed("unavailable"), "retry", "unavailable"),
        (failed("stalled"), "retry", "stalled"),
        (failed("interrupted"), "retry", "interrupted"),
        (failed("protocol"), "final", "protocol"),
        (failed("of tomorrow"), "final", "protocol"),
        (cancelled("deadline"), "retry", "unavailable"),
        (cancelled("host"), "retry", "interrupted"),
        (
            json!({"outcome": "dead", "reason": "why"}),
            "final",
            "rejected",
        ),
        (json!({"outcome": "of tomorrow"}), "final", "protocol"),
        (json!({"outcome": "answered", "v": 2}), "final", "protocol"),
        (json!({"outcome": "answered"}), "final", "protocol"),
    ];
    for (job, (outcome, expected, kind)) in (1..).zip(table) {
        let error = end(&host, &fake, job, outcome.clone()).await;
        let after = error.retry_after();
        let told = match (error.is_retryable(), after) {
            (true, Some(after)) => format!("retry {}", after.as_secs()),
            (true, None) => "retry".to_owned(),
            (false, _) => "final".to_owned(),
        };
        assert_eq!(
            (&*told, error.kind()),
            (expected, kind),
            "{outcome}: {error}"
        );
    }
    assert_eq!(host.counts().dead.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn dead_work_says_why_it_is_not_tried_again() {
    let (_nats, host, fake) = rig().await;
    let dead = json!({"outcome": "dead", "reason": "it was started 3 times"});
    let error = end(&host, &fake, 1, dead).await;
    assert_eq!(
        error.to_string(),
        "http://model:8000 rejected the request with status 422: the executors of cluster `east` gave \
         it up: it was started 3 times"
    );
}

#[tokio::test]
async fn a_result_that_comes_twice_counts_once() {
    let (_nats, host, fake) = rig().await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    let work = fake.take().await;
    work.store(answered(&["first"])).await;
    work.end(answered(&["second"])).await;
    assert_eq!(running.answer().await.text, "first");
    let counts = host.counts();
    crate::rig::until("the duplicate", || {
        counts.duplicates.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(counts.results.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let nats = NatsServer::new().await.unwrap();
    let settings = ClusterSettings {
        queue_max: 2,
        ..cluster()
    };
    let host = Host::with(&nats.url(), &HostId::generate().unwrap(), settings).await;
    let fake = Fake::new(&nats.url()).await;
    let waiting: Vec<Errands> = (1..=2)
        .map(|job| host.begin(errand(MODEL, "tiny", job)))
        .collect();
    fake.until_depth(2).await;
    let error = host.begin(errand(MODEL, "tiny", 3)).error().await;
    let Error::NoServer {
        reason,
        retry_after,
        ..
    } = error
    else {
        unreachable!("the queue is full: {error:?}");
    };
    assert_eq!(reason, "the queue of cluster `east` is full: it holds 2");
    assert!(retry_after.is_some_and(|after| after >= Duration::from_secs(1)));
    // What was refused is not cancelled: nothing of it is there.
    assert_eq!(host.counts().cancelled.load(Ordering::Relaxed), 0);
    drop(waiting);
}

#[tokio::test]
async fn what_nats_does_not_take_is_refused_with_what_to_do() {
    let (_nats, host, fake) = rig().await;
    let mut asked = errand(MODEL, "tiny", 1);
    let mut messages = asked.request.messages.to_vec();
    messages[0].content = "x".repeat(1_100_000);
    asked.request.messages = messages.into();
    let error = host.begin(asked).error().await;
    assert!(
        matches!(error, Error::Rejected { status: 413, .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("raise `max_payload`"), "{text}");
    // The connection is as good as before.
    let running = host.begin(errand(MODEL, "tiny", 2));
    fake.take().await.answer("yes").await;
    assert_eq!(running.answer().await.text, "yes");
}

#[tokio::test]
async fn a_cluster_that_is_not_configured_is_no_server() {
    let (_nats, host, _fake) = rig().await;
    let heard = crate::rig::Heard::default();
    let asked = errand(MODEL, "tiny", 1);
    let ended = host.pool.run("west", &Queue::pool(), &asked, &heard).await;
    assert!(matches!(ended, Err(Error::NoServer { .. })), "{ended:?}");
}
