//! Small files that take a compiler very long, and large ones that must not.

use std::fmt::Write as _;

use conclave_tests::command::conclave_with;

use crate::component::Parts;

/// Functions of a component that is merely large.
const FUNCTIONS: usize = 10_000;

/// The exit code of `plugin check`, what it says, and the bytes of the component.
async fn checked(parts: &Parts<'_>, compile_ms_max: &str) -> (Option<i32>, String, usize) {
    let dir = tempfile::tempdir().expect("there is a place for files");
    let file = dir.path().join("large.wasm");
    let component = parts.component();
    std::fs::write(&file, &component).expect("the directory is writable");
    let limits = [("CONCLAVE_PLUGINS_LIMITS_COMPILE_MS_MAX", compile_ms_max)];
    let path = file.to_str().expect("the path is text");
    let checked = conclave_with(&["plugin", "check", path], &limits).await;
    let checked = checked.expect("the check ends");
    (checked.code, checked.out, component.len())
}

#[tokio::test]
async fn ten_thousand_functions_are_compiled() {
    let mut fields = String::new();
    for number in 0..FUNCTIONS {
        write!(
            fields,
            "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {number})))"
        )
        .unwrap();
    }
    let parts = Parts {
        fields: &fields,
        ..Parts::default()
    };
    let (code, out, _) = checked(&parts, "120000").await;
    assert_eq!(code, Some(0), "{out}");
}

/// What takes a compiler long for each byte of the file: the name, a function, and how many of it.
fn bombs() -> [(&'static str, String, usize); 4] {
    let step = "(local.set 1 (i32.add (local.get 1) (i32.load (local.get 1))))
        (local.set 2 (i32.xor (local.get 2) (local.get 1)))";
    let deep = 5_000;
    let block = "block (result i32) local.get 0 local.get 1 br_if 0 drop ";
    [
        (
            "one long function",
            format!("(local i32 i32) {}", step.repeat(20_000)),
            8,
        ),
        (
            "blocks in blocks",
            format!(
                "(local i32 i32) {} local.get 2 {} drop",
                block.repeat(deep),
                "end ".repeat(deep)
            ),
            20,
        ),
        (
            "a jump table",
            format!(
                "(block (block (br_table {} 0 (local.get 0))))",
                "0 1 ".repeat(20_000)
            ),
            20,
        ),
        (
            "very many variables",
            format!(
                "(local {}) (local.set 3 (i64.const 7)) (loop (br_if 0 (i64.eqz (local.get 9))))",
                "i64 ".repeat(49_000)
            ),
            20,
        ),
    ]
}

#[tokio::test]
async fn a_bomb_for_the_compiler_is_refused_within_its_time_or_compiled_in_it() {
    for (name, body, count) in bombs() {
        let function = format!("(func (param i32) {body})");
        let fields = function.repeat(count);
        let parts = Parts {
            fields: &fields,
            ..Parts::default()
        };
        let (code, out, bytes) = checked(&parts, "200").await;
        assert!(bytes < 4 << 20, "{name} is too large a file: {bytes}");
        let refused = code == Some(1) && out.contains("`plugins.limits.compile_ms_max`");
        assert!(code == Some(0) || refused, "{name}: {code:?}: {out}");
        // It is what it is made for.
        if name == "one long function" {
            assert!(refused, "{name} of {bytes} bytes was compiled: {out}");
        }
    }
}
