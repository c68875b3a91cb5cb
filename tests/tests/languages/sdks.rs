//! The tests of the SDKs and examples in other languages than Rust, by the runner of each language.

use std::path::{Path, PathBuf};
use std::process::Command;

use conclave_tests::command::Ran;
use conclave_tests::node;
use conclave_tests::python::Venv;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

fn ran(mut command: Command) -> Ran {
    Ran::from(command.output().expect("it can be started"))
}

#[test]
fn the_sdk_and_the_examples_in_python_pass_their_tests() {
    let venv = Venv::ready().unwrap();
    for dir in ["python", "examples/python"] {
        let mut pytest = Command::new(venv.program("python"));
        pytest
            .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(plugins().join(dir));
        let ran = ran(pytest);
        assert_eq!(ran.code, Some(0), "{dir}:\n{}\n{}", ran.out, ran.err);
    }
}

#[test]
fn the_sdk_and_the_example_in_javascript_pass_their_tests() {
    for dir in ["js", "examples/javascript"] {
        let mut node = Command::new("node");
        node.arg("--test").current_dir(plugins().join(dir));
        let ran = ran(node);
        assert_eq!(ran.code, Some(0), "{dir}:\n{}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("# fail 0"), "{dir}:\n{}", ran.out);
    }
}

#[test]
fn the_types_of_the_javascript_sdk_fit_the_example() {
    let mut tsc = Command::new(node::modules().unwrap().join(".bin/tsc"));
    tsc.args(["--noEmit", "--allowJs", "--checkJs", "--strict"])
        .args(["--module", "nodenext", "--target", "es2022"])
        .arg("good-enough.js")
        .current_dir(plugins().join("examples/javascript"));
    let ran = ran(tsc);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
}
