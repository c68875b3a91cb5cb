//! Whatever a component does while it is looked at, it is refused with the limit's name, and soon.

use conclave_tests::command::{Ran, conclave_with};

use crate::component::{Parts, SPIN};

/// Limits that are reached in little time.
const LIMITS: [(&str, &str); 2] = [
    ("CONCLAVE_PLUGINS_LIMITS_CPU_SLICE_MS_MAX", "300"),
    ("CONCLAVE_PLUGINS_LIMITS_CPU_MS_MAX", "600"),
];

/// What `plugin check` says of a component.
async fn check(parts: &Parts<'_>) -> Ran {
    let dir = tempfile::tempdir().expect("there is a place for files");
    let file = dir.path().join("hostile.wasm");
    std::fs::write(&file, parts.component()).expect("the directory is writable");
    let path = file.to_str().expect("the path is text");
    let checked = conclave_with(&["plugin", "check", path], &LIMITS).await;
    checked.expect("the check ends")
}

/// Why a component is refused.
async fn refused(parts: &Parts<'_>) -> String {
    let checked = check(parts).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    checked.out
}

async fn assert_refused(parts: &Parts<'_>, words: &str) {
    let reasons = refused(parts).await;
    assert!(reasons.contains(words), "{reasons}");
}

#[tokio::test]
async fn a_sound_one_is_described() {
    let checked = check(&Parts::default()).await;
    assert!(checked.out.contains("hostile-text@1.0.0"), "{checked:?}");
}

#[tokio::test]
async fn a_trap_in_describe_is_told() {
    let parts = Parts {
        describe: "unreachable",
        ..Parts::default()
    };
    assert_refused(&parts, "`describe` failed: trapped: ").await;
}

#[tokio::test]
async fn an_endless_describe_exceeds_its_cpu_time() {
    let parts = Parts {
        describe: SPIN,
        ..Parts::default()
    };
    assert_refused(&parts, "`plugins.limits.cpu_slice_ms_max`").await;
}

#[tokio::test]
async fn an_endless_start_exceeds_its_cpu_time() {
    let fields = format!("(func $start {SPIN}) (start $start)");
    let parts = Parts {
        fields: &fields,
        ..Parts::default()
    };
    assert_refused(&parts, "`plugins.limits.cpu_slice_ms_max`").await;
}

#[tokio::test]
async fn a_describe_that_asks_for_a_generation_is_outside_any_deliberation() {
    let parts = Parts {
        imports: r#"(import "conclave:deliberation/inference@0.1.0" "[constructor]job-set" (func $set (result i32)))"#,
        describe: "(drop (call $set)) i32.const 64",
        ..Parts::default()
    };
    assert_refused(&parts, "outside a deliberation").await;
}

#[tokio::test]
async fn a_descriptor_of_many_bytes_exceeds_those_of_a_call() {
    let parts = Parts {
        memory: "(memory $memory 700)",
        // Its summary is all of the memory.
        describe: "(i32.store (i32.const 80) (i32.const 0))
            (i32.store (i32.const 84) (i32.const 45000000))
            i32.const 64",
        ..Parts::default()
    };
    assert_refused(&parts, "`plugins.limits.call_bytes_max`").await;
}

#[tokio::test]
async fn a_descriptor_outside_of_the_memory_is_a_trap() {
    let parts = Parts {
        describe: "(i32.store (i32.const 84) (i32.const -1)) i32.const 64",
        ..Parts::default()
    };
    assert_refused(&parts, "`describe` failed: ").await;
}

#[tokio::test]
async fn what_other_engines_have_is_refused() {
    let cases = [
        ("(memory $shared 1 1 shared)", "threads"),
        ("(memory $long i64 1)", "memory64"),
        (
            "(func (result i32) (i32.atomic.load (i32.const 0)))",
            "threads",
        ),
    ];
    for (fields, words) in cases {
        let parts = Parts {
            fields,
            ..Parts::default()
        };
        let reasons = refused(&parts).await;
        assert!(
            reasons.contains("cannot be compiled") && reasons.contains(words),
            "{fields}: {reasons}"
        );
    }
}

#[tokio::test]
async fn data_that_does_not_fit_the_memory_is_a_trap() {
    let parts = Parts {
        fields: r#"(data (i32.const 65535) "beyond")"#,
        ..Parts::default()
    };
    assert_refused(&parts, "`describe` failed: trapped: ").await;
}
