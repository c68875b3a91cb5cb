//! A component that is no plugin is refused with every reason, before anything depends on it.

use std::path::{Path, PathBuf};

use conclave_tests::command::{client_of, conclave};
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

/// A node that comes up at night serves what it can.
#[tokio::test]
async fn a_host_starts_beside_files_that_are_no_plugins_and_the_check_of_its_settings_tells_them() {
    let plugins = tempfile::tempdir().unwrap();
    let files = no_plugins(plugins.path());
    install(plugins.path(), &["hostile"]).unwrap();
    let dir = plugins.path().to_str().unwrap();
    let host = Setup::bare().unwrap().arg("--plugins").arg(dir);
    let host = host.start().await.unwrap();
    let listed = client_of(&host, &["plugin", "list"]).await.unwrap();
    assert!(listed.out.contains("hostile@"), "{listed:?}");
    let checked = conclave(&["serve", "--check", "--plugins", dir]).await;
    let checked = checked.unwrap();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for (path, reason) in files {
        let file = path.file_name().unwrap().to_str().unwrap();
        let line = host.logged(&[file, reason]).await.unwrap();
        assert!(line.contains("ERROR") || line.contains("error"), "{line}");
        assert!(
            checked.err.contains(file) && checked.err.contains(reason),
            "{file}: {checked:?}"
        );
    }
}

#[tokio::test]
async fn a_host_does_not_start_with_a_folder_that_is_not_there() {
    let setup = Setup::bare().unwrap();
    let setup = setup.arg("--plugins").arg("/no/such/directory");
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
