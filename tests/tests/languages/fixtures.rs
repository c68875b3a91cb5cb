//! Plugins that were compiled long ago run as they are.

use conclave_tests::client::{answers, pb};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::serving::Serving;
use serde_json::json;

const STRATEGY: &[u8] = include_bytes!("../../fixtures/contract-0.1.0/strategy.wasm");
const SCORER: &[u8] = include_bytes!("../../fixtures/contract-0.1.0/scorer.wasm");
const CARGO_COMPONENT: &[u8] = include_bytes!("../../fixtures/cargo-component/ask-all.wasm");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_compiled_plugins_of_contract_0_1_0_answer() {
    let plugins = [("strategy", STRATEGY), ("scorer", SCORER)];
    let serving = Serving::of(&plugins).await.unwrap();
    let request = draft(&["answer:longer", "answer:short", "held"])
        .strategy("contract-strategy", json!({"sleep_ms": 20}))
        .scorer("contract-scorer", json!({}))
        .task(|task| task.model = "echo".to_owned());
    let done = serving.client.run(request).await.unwrap();
    // The scorer has the task's model repeat a candidate, and counts.
    assert_eq!(answers(&done), ["longer", "short"], "{done:?}");
    let outcome = done.outcome.clone().unwrap_or_default();
    let scores: Vec<_> = outcome.ranked.iter().flat_map(|one| &one.score).collect();
    assert_eq!((scores[0].value, scores[1].value), (0.06, 0.05));
    assert_eq!(scores[0].confidence, Some(0.5));
    assert_eq!(scores[0].rationale, "of agent a");
    assert!(outcome.stopped_early, "{outcome:?}");
    let fact = |key: &str| outcome.metadata.get(key).map(String::as_str);
    assert_eq!(fact("generations"), Some("5"), "{outcome:?}");
    assert_eq!(fact("slept"), Some("true"), "{outcome:?}");
    // The last generation was cancelled.
    let usage = done.usage.unwrap_or_default();
    assert_eq!((usage.generations, usage.generations_completed), (5, 4));
    let events = serving.client.history(&done.uid).await.unwrap();
    let begun = events.iter().filter_map(|event| match &event.event {
        Some(pb::deliberation_event::Event::Progress(progress)) => Some(progress),
        _ => None,
    });
    let begun: Vec<_> = begun
        .map(|one| (one.kind.as_str(), one.payload_json.as_str()))
        .collect();
    assert_eq!(begun, [("begun", "3")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_cargo_component_built_answers() {
    let serving = Serving::of(&[("ask-all", CARGO_COMPONENT)]).await.unwrap();
    let request = draft(&["answer:yes", "answer:no", "answer:yes"])
        .strategy("ask-all", json!({}))
        .scorer("agreement", json!({}));
    let done = serving.client.run(request).await.unwrap();
    assert_eq!(answers(&done), ["yes", "yes", "no"], "{done:?}");
}
