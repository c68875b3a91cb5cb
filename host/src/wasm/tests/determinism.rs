//! A run and its replay see the same chance, time and arithmetic.

use std::sync::Arc;

use conclave_core::entry::Entry;
use conclave_core::ids::Seq;
use conclave_core::journal::Journal as _;
use conclave_core::testkit::inference::ScriptedInference;
use conclave_core::testkit::journal::MemoryJournal;
use serde_json::{Value, json};

use super::{Bench, limits};

/// The metadata of a run, and of another run of the same session: the journal of the first without
/// its end.
async fn twice(params: Value) -> [String; 2] {
    let inference = || Arc::new(ScriptedInference::answering("7"));
    let journal = MemoryJournal::default();
    let first = Bench::on(&journal, limits(), inference());
    let id = first.accept(&params, &json!({})).await;
    let before = first.end(&id).await.unwrap();

    let mut records = first.host.records(&id);
    assert!(matches!(
        records.pop().unwrap().entry,
        Entry::Finished { .. }
    ));
    let copy = MemoryJournal::default();
    copy.create(&id, &records[0], None).await.unwrap();
    let rest: Vec<_> = records.drain(1..).map(Arc::new).collect();
    copy.append(&id, Seq(1), &rest).await.unwrap();
    let second = Bench::on(&copy, limits(), inference());
    let unfinished = second.host.run.unfinished().await.unwrap();
    second.host.run.resume(unfinished).await;
    let after = second.end(&id).await.unwrap();
    [before, after].map(|proposal| format!("{:#?}", proposal.metadata))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chance_and_time_come_from_the_session() {
    let [before, after] = twice(json!({"mode": "random"})).await;
    assert_eq!(before, after);
    let other = Bench::new(limits())
        .run(json!({"mode": "random"}))
        .await
        .unwrap();
    assert_ne!(
        before,
        format!("{:#?}", other.metadata),
        "another session has other chance"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arithmetic_has_one_result() {
    let proposal = Bench::new(limits())
        .run(json!({"mode": "float"}))
        .await
        .unwrap();
    let facts = &proposal.metadata;
    let nans: Vec<_> = facts
        .iter()
        .filter(|(key, _)| key.starts_with("nan-"))
        .collect();
    assert_eq!(nans.len(), 6);
    for (key, bits) in nans {
        assert_eq!(bits, "7ff8000000000000", "{key} is not the canonical NaN");
    }
    let fused = "28800000";
    assert_eq!(facts["relaxed-madd"], fused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleeping_is_an_effect() {
    let [before, after] = twice(json!({"mode": "sleep", "milliseconds": 30})).await;
    assert_eq!(before, after);
    let bench = Bench::new(limits());
    let id = bench
        .accept(&json!({"mode": "sleep", "milliseconds": 30}), &json!({}))
        .await;
    bench.end(&id).await.unwrap();
    let records = bench.host.records(&id);
    let timers = records
        .iter()
        .filter(|record| matches!(record.entry, Entry::Timer { .. }));
    assert_eq!(timers.count(), 1);
}
