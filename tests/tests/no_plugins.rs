//! A component that is no plugin is refused with every reason, before anything depends on it.

use std::path::{Path, PathBuf};

use conclave_tests::command::conclave;
use conclave_tests::components::{component, install};
use conclave_tests::host::Setup;

/// Files that are no plugins, with a word of the reason each.
fn no_plugins(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let module = wat::parse_str("(module)");
    let nothing = wat::parse_str("(component)");
    let foreign =
        wat::parse_str(r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)))"#);
    let cut = component("agreement").map(|bytes| bytes[..bytes.len() / 2].to_vec());
    let files = [
        (
            "text.wasm",
            b"not wasm".to_vec(),
            "not a WebAssembly binary",
        ),
        (
            "module.wasm",
            module.expect("it is a module"),
            "is a core module",
        ),
        (
            "nothing.wasm",
            nothing.expect("it is a component"),
            "`conclave:deliberation/describe`",
        ),
        (
            "foreign.wasm",
            foreign.expect("it is a component"),
            "imports `wasi:http/outgoing-handler@0.2.0`",
        ),
        ("cut.wasm", cut.expect("it is built"), "cannot be read"),
    ];
    let written = files.map(|(name, bytes, reason)| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).expect("the directory is writable");
        (path, reason)
    });
    written.into()
}

#[tokio::test]
async fn plugin_check_lists_the_reasons_and_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    for (path, reason) in no_plugins(dir.path()) {
        let path = path.to_str().unwrap();
        let checked = conclave(&["plugin", "check", path]).await.unwrap();
        assert_eq!(checked.code, Some(1), "{checked:?}");
        assert!(
            checked.out.contains("cannot be a plugin") && checked.out.contains(reason),
            "{checked:?}"
        );
        let checked = conclave(&["plugin", "check", "--json", path])
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(checked["ok"], false);
        assert!(checked["reasons"].to_string().contains(reason), "{checked}");
    }
    install(dir.path(), &["critique-revise", "judge"]).unwrap();
    for (name, kind) in [("critique-revise", "strategy"), ("judge", "scorer")] {
        let path = dir.path().join(format!("{name}.wasm"));
        let checked = conclave(&["plugin", "check", path.to_str().unwrap()])
            .await
            .unwrap();
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(
            checked.out.contains(&format!("is a {kind}: {name}@")),
            "{checked:?}"
        );
    }
    let missing = conclave(&["plugin", "check", "/no/such.wasm"])
        .await
        .unwrap();
    assert_eq!(missing.code, Some(2), "{missing:?}");
}

#[tokio::test]
async fn a_host_does_not_start_with_a_file_that_is_no_plugin() {
    let files = tempfile::tempdir().unwrap();
    for (path, reason) in no_plugins(files.path()) {
        let plugins = tempfile::tempdir().unwrap();
        install(plugins.path(), &["hostile"]).unwrap();
        std::fs::copy(&path, plugins.path().join("broken.wasm")).unwrap();
        let setup = Setup::bare()
            .unwrap()
            .arg("--plugins")
            .arg(plugins.path().to_str().unwrap());
        let (status, log) = setup.start_in_vain().await.unwrap();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("broken.wasm") && log.contains(reason), "{log}");
    }
    let setup = Setup::bare()
        .unwrap()
        .arg("--plugins")
        .arg("/no/such/directory");
    let (status, log) = setup.start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("/no/such/directory"), "{log}");
}

#[tokio::test]
async fn a_host_does_not_start_with_a_default_plugin_that_is_not_there() {
    let setup = Setup::bare()
        .unwrap()
        .set("plugins.scorer_default", "jugde");
    let (status, log) = setup.start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    for part in ["`plugins.scorer_default`", "did you mean `judge`?"] {
        assert!(log.contains(part), "{log}");
    }
}
