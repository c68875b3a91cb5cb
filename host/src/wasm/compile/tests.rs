//! Both ways of compiling; the child's bounds are tested on the built binary.

use tokio::sync::Semaphore;

use super::*;
use crate::wasm::tests::program;

async fn compile(compiler: Compiler, wat: &str) -> Result<MachineCode, Failure> {
    let engine = wasmtime::Engine::new(&crate::wasm::engine::options()).unwrap();
    let component = wat::parse_str(wat).unwrap();
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let limits = PluginLimits::default();
    compiler
        .compile(&engine, component.into(), &limits, permit)
        .await
}

#[tokio::test]
async fn a_compiler_that_cannot_be_started_is_not_the_components_fault() {
    let compiler = Compiler::Child("/no/such/conclave".into());
    let failure = compile(compiler, "(component)").await.unwrap_err();
    assert_eq!(failure.result(), "failed");
    assert_eq!(
        failure.to_string(),
        "could not be compiled by this host: the compiler `/no/such/conclave` cannot be run: \
         No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn what_a_child_tells_is_the_reason() {
    // It fails as a child does that has something to say, for it does not know the arguments.
    let failure = compile(Compiler::Child("/bin/ls".into()), "(component)").await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.result(), "invalid");
    let told = failure.to_string();
    assert!(told.starts_with("cannot be compiled: conclave: "), "{told}");
}

#[tokio::test]
async fn a_compiler_that_others_end_is_not_the_components_fault() {
    for signal in ["KILL", "TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), &format!("kill -{signal} $$"));
        let failure = compile(Compiler::Child(program), "(component)").await;
        let error = ComponentError::from(failure.unwrap_err());
        assert!(matches!(error, ComponentError::NotNow(_)), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), "kill -SEGV $$");
    let failure = compile(Compiler::Child(program), "(component)").await;
    let error = ComponentError::from(failure.unwrap_err());
    assert!(matches!(error, ComponentError::Refused(_)), "{error}");
}

#[tokio::test]
async fn this_process_compiles_when_it_is_asked_to() {
    assert!(compile(Compiler::InProcess, "(component)").await.is_ok());
    let wrong = "(component (core module (func (result i32))))";
    let failure = compile(Compiler::InProcess, wrong).await.unwrap_err();
    assert!(failure.to_string().starts_with("cannot be compiled: "));
}
