//! The store with the plugins in the box.

use std::collections::BTreeSet;

use conclave_core::plugin::{Kind, PluginChoice, Plugins as _};

use super::*;
use crate::wasm::EngineConfig;

fn engine() -> Arc<Engine> {
    let config = EngineConfig {
        instances_max: 4,
        ..EngineConfig::default()
    };
    Arc::new(Engine::start(config).unwrap())
}

#[tokio::test]
async fn the_plugins_in_the_box_are_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = PluginStore::open(dir.path(), engine()).unwrap();
    store.load_built_in().await.unwrap();
    for (kind, name) in [
        (Kind::Strategy, "sample-vote"),
        (Kind::Strategy, "critique-revise"),
        (Kind::Strategy, "task-extraction"),
        (Kind::Scorer, "agreement"),
        (Kind::Scorer, "judge"),
    ] {
        let plugin = store
            .resolve(kind, &PluginChoice::named(name))
            .await
            .unwrap();
        assert_eq!(plugin.reference.name, name);
        assert!(store.bytes(&plugin.reference.digest).is_ok());
    }
    assert_eq!(store.list().len(), 5);
    let near = store
        .resolve(Kind::Scorer, &PluginChoice::named("jugde"))
        .await;
    assert_eq!(
        near.unwrap_err().to_string(),
        "no scorer `jugde` is loaded; did you mean `judge`?"
    );
}

#[tokio::test]
async fn a_pinned_component_outlives_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = BUILT_IN[0];
    let digest = Digest::of(bytes);
    ComponentFiles::open(dir.path())
        .unwrap()
        .add(bytes)
        .unwrap();

    let upgraded = PluginStore::open(dir.path(), engine()).unwrap();
    assert!(
        upgraded
            .retain(&BTreeSet::from([digest]))
            .unwrap()
            .is_empty()
    );
    assert_eq!(upgraded.bytes(&digest).unwrap(), bytes);
    assert_eq!(upgraded.retain(&BTreeSet::new()).unwrap(), [digest]);
    assert!(upgraded.bytes(&digest).is_err());
}

#[tokio::test]
async fn a_directory_is_loaded_or_the_file_is_named_that_cannot_be() {
    let data = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = BUILT_IN[0];
    std::fs::write(dir.path().join("a.wasm"), bytes).unwrap();
    std::fs::write(dir.path().join("readme.txt"), "no plugin").unwrap();
    let store = PluginStore::open(data.path(), engine()).unwrap();
    assert_eq!(store.load_dir(dir.path()).await.unwrap().len(), 1);
    assert!(matches!(store.list()[0].origin, Origin::File(_)));

    std::fs::write(dir.path().join("b.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let error = store.load_dir(dir.path()).await.unwrap_err().to_string();
    let path = dir.path().join("b.wasm");
    let expected = format!(
        "the plugin `{}` is refused: is a core module",
        path.display()
    );
    assert!(error.starts_with(&expected), "{error}");

    let missing = store.load_dir(&dir.path().join("none")).await.unwrap_err();
    assert!(missing.to_string().starts_with("cannot read `"));
}
