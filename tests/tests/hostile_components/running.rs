//! What misbehaves in a deliberation, in ways that need a text: it fails alone.

use conclave_tests::beside::Beside;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{failure, pb};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::Setup;
use conclave_tests::stub_server::StubServer;
use serde_json::json;

use crate::component::{Parts, SPIN};

/// A host with the plugin, which fails with this reason and these words in its message; a
/// deliberation beside it does not.
async fn fails_alone(parts: &Parts<'_>, reason: &str, words: &str) {
    let failed = fail_beside(parts).await.expect("the host goes on");
    let (has_reason, message) = failure(&failed);
    assert_eq!(
        (failed.state(), has_reason),
        (State::Failed, reason),
        "{message}"
    );
    assert!(message.contains(words), "{message}");
}

async fn fail_beside(parts: &Parts<'_>) -> anyhow::Result<pb::Deliberation> {
    let stub = StubServer::start().await?;
    let plugins = tempfile::tempdir()?;
    std::fs::write(plugins.path().join("hostile.wasm"), parts.component())?;
    let host = Setup::asking(&stub)?
        .arg("--plugins")
        .arg(plugins.path().to_string_lossy())
        .set("plugins.limits.cpu_slice_ms_max", "300")
        .set("plugins.limits.cpu_ms_max", "2000")
        .start()
        .await?;
    let client = host.client().await?;
    let beside = Beside::start(&stub, &client).await?;
    let hostile = draft(&["answer:yes"]).strategy("hostile-text", json!({"run": true}));
    let done = client.run(hostile).await?;
    beside.ends_unaffected(&stub, &client).await?;
    Ok(done)
}

#[tokio::test]
async fn a_sound_one_fails_with_its_own_error() {
    fails_alone(&Parts::default(), "STRATEGY_FAILED", "hostile-text").await;
}

#[tokio::test]
async fn tables_that_grow_without_end_exceed_their_elements() {
    let parts = Parts {
        fields: "(table $table 1 funcref)",
        deliberate: "(loop $more
                (drop (table.grow $table (ref.null func) (i32.const 1000)))
                (br $more))
            unreachable",
        ..Parts::default()
    };
    let limit = "`plugins.limits.table_elements_max`";
    fails_alone(&parts, "PLUGIN_LIMIT_EXCEEDED", limit).await;
}

#[tokio::test]
async fn memory_that_grows_without_end_exceeds_its_bytes() {
    let parts = Parts {
        deliberate: "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) unreachable",
        ..Parts::default()
    };
    let limit = "`plugins.limits.memory_bytes_max`";
    fails_alone(&parts, "PLUGIN_LIMIT_EXCEEDED", limit).await;
}

#[tokio::test]
async fn handles_that_leak_exceed_their_number() {
    let parts = Parts {
        imports: r#"(import "conclave:deliberation/inference@0.1.0" "[constructor]job-set" (func $set (result i32)))"#,
        deliberate: "(loop $more (drop (call $set)) (br $more)) unreachable",
        ..Parts::default()
    };
    let limit = "`plugins.limits.handles_max`";
    fails_alone(&parts, "PLUGIN_LIMIT_EXCEEDED", limit).await;
}

#[tokio::test]
async fn a_handle_that_was_never_given_is_a_trap() {
    let parts = Parts {
        imports: r#"(import "conclave:deliberation/inference@0.1.0" "[method]job.id" (func $id (param i32) (result i32)))"#,
        deliberate: "(call $id (i32.const 7))",
        ..Parts::default()
    };
    fails_alone(&parts, "PLUGIN_TRAPPED", "handle").await;
}

/// The host calls the allocator of the plugin to give it its task.
#[tokio::test]
async fn an_allocator_that_computes_without_end_exceeds_its_cpu_time() {
    let parts = Parts {
        realloc: SPIN,
        ..Parts::default()
    };
    let limit = "`plugins.limits.cpu_slice_ms_max`";
    fails_alone(&parts, "PLUGIN_LIMIT_EXCEEDED", limit).await;
}

#[tokio::test]
async fn an_allocator_that_lies_is_a_trap() {
    let parts = Parts {
        realloc: "i32.const -16",
        ..Parts::default()
    };
    fails_alone(&parts, "PLUGIN_TRAPPED", "realloc").await;
}

/// An instruction that writes all of the memory has no end of its own in time; their loop has.
#[tokio::test]
async fn memory_that_is_filled_and_copied_again_and_again_exceeds_the_cpu_time() {
    let parts = Parts {
        memory: "(memory $memory 1000)",
        deliberate: "(loop $more
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536000))
                (memory.copy (i32.const 16) (i32.const 0) (i32.const 65535984))
                (br $more))
            unreachable",
        ..Parts::default()
    };
    let limit = "`plugins.limits.cpu_slice_ms_max`";
    fails_alone(&parts, "PLUGIN_LIMIT_EXCEEDED", limit).await;
}
