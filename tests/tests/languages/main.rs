//! Plugins in every language, from a fresh project of `conclave plugin new` to an answer over gRPC; and
//! plugins that were compiled long ago.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod fixtures;
mod sdks;

use conclave_tests::client::{answers, failure};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::project::Project;
use conclave_tests::serving::Serving;
use serde_json::json;

/// Runs the native tests and the cases of a fresh strategy, builds it, and has it answer.
async fn a_fresh_strategy_answers(name: &str, language: &str) {
    let project = Project::new(name, "strategy", language).await.unwrap();
    let (project, component, tested) = tokio::task::spawn_blocking(move || {
        let tested = project.test();
        let component = project.build();
        (project, component, tested)
    })
    .await
    .unwrap();
    tested.unwrap();
    let component = component.unwrap();
    let rehearsed = project.rehearse(&component).await.unwrap();
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
    for case in ["ok   best-score", "ok   nobody-answers"] {
        assert!(rehearsed.out.contains(case), "{case}: {rehearsed:?}");
    }
    let serving = Serving::of(&[(name, &component)]).await.unwrap();
    let models = ["answer:yes", "answer:no", "answer:yes"];
    let request = draft(&models)
        .strategy(name, json!({"max_tokens": 7}))
        .scorer("agreement", json!({}));
    let done = serving.client.run(request.clone()).await.unwrap();
    // The scorer sees who agrees: the candidates of the majority come first.
    assert_eq!(answers(&done), ["yes", "yes", "no"], "{done:?}");
    for request in serving.stub.requests() {
        assert_eq!(request.max_tokens, Some(7), "{request:?}");
    }
    // A failure that the strategy does not handle is its sentence.
    let request = request
        .scorer("judge", json!({}))
        .task(|task| task.model = "answer:Nice.".to_owned());
    let failed = serving.client.run(request).await.unwrap();
    let (reason, message) = failure(&failed);
    assert_eq!(reason, "STRATEGY_FAILED", "{failed:?}");
    let sentence =
        "rejected: scorer `judge@0.1.0`: the answer of agent `a`: the model gave no grade";
    assert!(message.contains(sentence), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_strategy_in_rust_answers() {
    a_fresh_strategy_answers("fresh-rust", "rust").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_strategy_in_python_answers() {
    a_fresh_strategy_answers("fresh-python", "python").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_strategy_in_javascript_answers() {
    a_fresh_strategy_answers("fresh-js", "js").await;
}
