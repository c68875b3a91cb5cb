//! How long a fresh instance takes. Run it in release with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bench, limits};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn a_whole_deliberation_and_a_fresh_instance() {
    let bench = Bench::new(limits());
    bench.run(json!({"mode": "error"})).await.unwrap_err();
    let mut whole = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        bench.run(json!({"mode": "error"})).await.unwrap_err();
        whole.push(began.elapsed());
    }
    println!(
        "a deliberation without a generation: {:?} at the median",
        median(&mut whole)
    );

    let engine = super::Engine::start(super::EngineConfig::default()).unwrap();
    let bytes: std::sync::Arc<[u8]> = super::built("hostile").into();
    let digest = conclave_core::ids::Digest::of(&bytes);
    let prepared = engine.prepare(digest, bytes).await.unwrap();
    let mut fresh = Vec::new();
    for _ in 0..2_000 {
        let began = Instant::now();
        let mut store = engine.store("hostile", None);
        let meter = store.data().meter();
        meter.measure(prepared.describe(&mut store)).await.unwrap();
        drop(store);
        fresh.push(began.elapsed());
    }
    println!(
        "a fresh instance, one call and its end: {:?} at the median",
        median(&mut fresh)
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
