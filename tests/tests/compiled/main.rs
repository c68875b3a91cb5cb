//! How components are compiled, by the built binary: in a child that is bounded, and once for all
//! starts of a host.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod child;
mod restart;
mod signed;

use std::path::Path;

/// A component that takes long to compile: one function of so many steps, each of which needs the one
/// before. It is of no world that is served, unless `exports` says so.
fn slow(steps: usize, exports: &str) -> Vec<u8> {
    let step = "(local.set 0 (i64.rotl (i64.xor (local.get 0) (local.get 1)) (local.get 0)))";
    let text = format!(
        r#"(component
            (core module $m (func (export "f") (param i64 i64) (result i64) {} (local.get 0)))
            (core instance $m (instantiate $m))
            {exports})"#,
        step.repeat(steps)
    );
    wat::parse_str(text).expect("it is a component")
}

/// What makes a component look like a scorer to whoever does not compile it.
const SCORER: &str = r#"
    (core module $n (func (export "g")))
    (core instance $n (instantiate $n))
    (func $g (canon lift (core func $n "g")))
    (instance $describe (export "describe" (func $g)))
    (export "conclave:deliberation/describe@0.1.0" (instance $describe))
    (export "evaluate" (func $g))"#;

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("the directory is writable");
    path.to_str().expect("it has a plain name").to_owned()
}
