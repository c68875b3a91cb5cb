//! The child that compiles: its limits end it, and nothing else.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use conclave_tests::binary;
use conclave_tests::command::conclave;
use conclave_tests::components::component;
use conclave_tests::host::bare_command;

use super::{SCORER, slow, write};

/// What `plugin check` says of a component, under these limits of plugins.
async fn refused(component: &[u8], limits: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "plugin.wasm", component);
    let config = format!("[plugins.limits]\n{limits}\n");
    let config = write(dir.path(), "conclave.toml", config.as_bytes());
    let checked = conclave(&["plugin", "check", &file, "--config", &config])
        .await
        .unwrap();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    checked.out
}

#[tokio::test]
async fn a_component_that_takes_too_long_is_refused_with_the_limit() {
    let told = refused(&slow(400_000, SCORER), "compile_ms_max = 1000").await;
    assert!(
        told.contains("takes more than 1000 ms to compile (`plugins.limits.compile_ms_max`)"),
        "{told}"
    );
}

#[tokio::test]
async fn a_component_that_takes_too_much_memory_is_refused_with_the_limit() {
    let limit = "compile_memory_bytes_max = 100000000";
    let told = refused(&slow(400_000, SCORER), limit).await;
    assert!(
        told.contains(
            "takes more than 100000000 bytes of memory to compile \
             (`plugins.limits.compile_memory_bytes_max`)"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn what_the_compiler_refuses_is_told_in_its_words() {
    let invalid = wat::parse_str(format!(
        "(component (core module (func (result i32))) {SCORER})"
    ));
    let told = refused(&invalid.unwrap(), "").await;
    assert!(told.contains("cannot be compiled: "), "{told}");
    assert!(told.contains("type mismatch"), "{told}");
}

/// The command as a host starts it.
fn child(component: &[u8]) -> Command {
    let mut command = bare_command(&binary::conclave().unwrap());
    command
        .args(["compile-component", "--memory-bytes", "1000000000"])
        .args(["--cpu-seconds", "60"])
        .args(["--component-bytes", &component.len().to_string()])
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_child_whose_host_is_gone_ends_without_an_answer() {
    let component = slow(400_000, SCORER);
    let mut child = child(&component).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&component).unwrap();
    // As when the host is killed: the system closes what it had open.
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.is_empty());
}

#[test]
fn a_child_answers_with_machine_code_while_its_host_listens() {
    let component = component("agreement").unwrap();
    let mut child = child(component).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(component).unwrap();
    let mut code = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut code).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(&code[..4], b"\x7fELF");
}
