//! The store with the plugins in the box.

use conclave_core::channel::{Arm, Share};
use conclave_core::ids::DeliberationId;
use conclave_core::plugin::Source;
use conclave_core::registry::{Action, Arrival, By, HistoryQuery, Registry as _, Wish};
use conclave_core::task_type::TaskType;

use super::built_in::BUILT_IN;
use super::*;
use crate::wasm::{Compiler, EngineConfig};

pub(super) fn engine() -> Arc<Engine> {
    let config = EngineConfig {
        instances_max: 4,
        ..EngineConfig::default()
    };
    Arc::new(Engine::start(config).unwrap())
}

pub(super) fn open(dir: &tempfile::TempDir, engine: &Arc<Engine>) -> PluginStore {
    PluginStore::open(dir.path(), Arc::clone(engine), Rules::default()).unwrap()
}

/// A component in the box, as an operator brings it: another digest in another version.
fn bytes_of(name: &str) -> Vec<u8> {
    let (_, bytes) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
    bytes.to_vec()
}

/// The same component with other bytes: behind it stands a custom section that means nothing.
pub(super) fn variant(name: &str, mark: u8) -> Vec<u8> {
    let mut bytes = bytes_of(name);
    bytes.extend([0, 3, 1, b'v', mark]);
    bytes
}

pub(super) fn arrival(bytes: Vec<u8>) -> Arrival {
    Arrival {
        bytes: bytes.into(),
        signature: None,
        source: Source::Upload,
        by: "ann".to_owned(),
    }
}

pub(super) fn by(who: &str) -> By {
    By {
        who: who.to_owned(),
        ..By::default()
    }
}

fn exactly(digest: Digest) -> PluginChoice {
    PluginChoice {
        digest: Some(digest),
        ..PluginChoice::named("sample-vote")
    }
}

async fn stable(store: &PluginStore) -> Digest {
    let choice = PluginChoice::named("sample-vote");
    let plugin = store.resolve(Kind::Strategy, &choice).await.unwrap();
    plugin.reference.digest
}

#[tokio::test]
async fn the_plugins_in_the_box_are_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &engine());
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
async fn a_component_that_cannot_be_compiled_now_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        instances_max: 4,
        compiler: Compiler::Child("/no/such/conclave".into()),
        ..EngineConfig::default()
    };
    let store = open(&dir, &Arc::new(Engine::start(config).unwrap()));
    let error = store.publish(arrival(bytes_of("sample-vote"))).await;
    let error = error.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(store.list().is_empty());
    drop(store);
    let store = open(&dir, &engine());
    assert!(
        store
            .publish(arrival(bytes_of("sample-vote")))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_component_that_cannot_be_read_now_is_not_refused_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &engine());
    store.load_built_in().await.unwrap();
    let other = store
        .publish(arrival(variant("sample-vote", 1)))
        .await
        .unwrap();
    let other = other.listed.plugin.reference.digest;
    let file = dir.path().join(format!("sha256-{other}.wasm"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let wish = Wish::Promote(exactly(other));
    let promoted = store.order(Kind::Strategy, wish.clone(), by("bob")).await;
    let error = promoted.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    // What is gone does not come back by itself.
    std::fs::remove_dir(&file).unwrap();
    let promoted = store.order(Kind::Strategy, wish, by("bob")).await;
    assert!(matches!(promoted, Err(registry::Error::Refused(_))));
}

/// As when a later build has stricter rules of schemas.
#[tokio::test]
async fn a_params_schema_that_is_no_longer_taken_refuses_requests_and_not_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine();
    let store = open(&dir, &engine);
    let published = store.publish(arrival(bytes_of("sample-vote"))).await;
    let digest = published.unwrap().listed.plugin.reference.digest;
    drop(store);
    let registry = rusqlite::Connection::open(dir.path().join(REGISTRY)).unwrap();
    let schema = r#"{"properties": {"x": {"pattern": "(a)\\1"}}}"#;
    registry
        .execute("UPDATE components SET params_schema = ?1", [schema])
        .unwrap();
    drop(registry);

    let store = open(&dir, &engine);
    assert_eq!(
        stable(&store).await,
        digest,
        "it is listed, and deliberations that run go on"
    );
    let choice = PluginChoice::named("sample-vote");
    let plugin = store.resolve(Kind::Strategy, &choice).await.unwrap();
    let params = serde_json::json!({});
    let violations = plugin.params.violations("strategy.params", &params);
    assert!(
        violations[0].rule.contains("`/properties/x/pattern`"),
        "{violations:?}"
    );
}

#[tokio::test]
async fn what_was_ordered_survives_a_restart_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine();
    let store = open(&dir, &engine);
    store.load_built_in().await.unwrap();
    let built_in = stable(&store).await;
    let other = store
        .publish(arrival(variant("sample-vote", 1)))
        .await
        .unwrap();
    assert!(!other.known && !other.serves);
    let other = other.listed.plugin.reference.digest;
    assert_eq!(
        stable(&store).await,
        built_in,
        "an arrival alone serves nobody"
    );

    let wish = Wish::Canary {
        choice: PluginChoice::named("sample-vote"),
        share: Share::ALL,
        rules: Vec::new(),
    };
    store.order(Kind::Strategy, wish, by("bob")).await.unwrap();
    let reopened = open(&dir, &engine);
    reopened.load_built_in().await.unwrap();
    let (id, labels, tenant) = (
        DeliberationId::generate(),
        BTreeMap::new(),
        Default::default(),
    );
    let asking = Asking {
        id: &id,
        role: "",
        task_type: TaskType::Other,
        labels: &labels,
        tenant: &tenant,
    };
    let named = PluginChoice::named("sample-vote");
    let assigned = reopened
        .assign(Kind::Strategy, &named, &asking)
        .await
        .unwrap();
    assert_eq!(assigned.plugin.reference.digest, other);
    assert_eq!(assigned.draw.unwrap().arm, Arm::Canary);
    let on_channel = "sample-vote@stable".parse().unwrap();
    let assigned = reopened
        .assign(Kind::Strategy, &on_channel, &asking)
        .await
        .unwrap();
    assert_eq!(
        (assigned.plugin.reference.digest, assigned.draw),
        (built_in, None)
    );

    let promote = Wish::Promote(named.clone());
    reopened
        .order(Kind::Strategy, promote, by("bob"))
        .await
        .unwrap();
    assert_eq!(stable(&reopened).await, other);
    let again = open(&dir, &engine);
    again.load_built_in().await.unwrap();
    assert_eq!(stable(&again).await, other, "an operator has chosen");
    let rollback = Wish::Rollback("sample-vote".to_owned());
    again.order(Kind::Strategy, rollback, by("")).await.unwrap();
    assert_eq!(stable(&again).await, built_in);

    let query = HistoryQuery {
        name: Some(PluginName::new(Kind::Strategy, "sample-vote")),
        limit: 10,
        ..HistoryQuery::default()
    };
    let told: Vec<_> = again
        .history(query)
        .await
        .unwrap()
        .into_iter()
        .map(|change| (change.action, change.by, change.digest))
        .collect();
    let expected = [
        (Action::RolledBack, "", other),
        (Action::Promoted, "bob", other),
        (Action::Canary, "bob", other),
        (Action::Added, "ann", other),
        (Action::Promoted, "", built_in),
        (Action::Added, "", built_in),
    ];
    assert_eq!(
        told,
        expected.map(|(action, by, digest)| (action, by.to_owned(), digest))
    );
}

#[tokio::test]
async fn a_refusal_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &engine());
    store.load_built_in().await.unwrap();
    let first = store
        .publish(arrival(variant("sample-vote", 1)))
        .await
        .unwrap();
    let known = store
        .publish(arrival(variant("sample-vote", 1)))
        .await
        .unwrap();
    assert!(known.known);
    let before = (store.list().len(), store.names().await.len(), files(&dir));

    let taken = store
        .publish(arrival(variant("sample-vote", 2)))
        .await
        .unwrap_err();
    assert!(
        taken
            .to_string()
            .ends_with("; a version never changes, raise it"),
        "{taken}"
    );
    let module = arrival(b"\0asm\x01\0\0\0".to_vec());
    let refused = store.publish(module).await.unwrap_err();
    assert!(
        refused.to_string().contains("is a core module"),
        "{refused}"
    );
    let digest = first.listed.plugin.reference.digest;
    let stale = By {
        revision: Some(77),
        ..By::default()
    };
    let wish = Wish::Promote(exactly(digest));
    let refused = store.order(Kind::Strategy, wish, stale).await.unwrap_err();
    assert!(refused.to_string().contains("not at 77"), "{refused}");
    let stable = stable(&store).await;
    let refused = store.remove(stable, by("")).await.unwrap_err();
    assert!(refused.to_string().contains("as stable"), "{refused}");
    let unknown = Wish::Promote("sample-vote@9.9.9".parse().unwrap());
    let refused = store
        .order(Kind::Strategy, unknown, by(""))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("did you mean `sample-vote@"),
        "{refused}"
    );
    assert_eq!(
        (store.list().len(), store.names().await.len(), files(&dir)),
        before
    );
}

fn files(dir: &tempfile::TempDir) -> usize {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".wasm")).count()
}

#[tokio::test]
async fn a_held_component_outlives_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine();
    let bytes = variant("sample-vote", 1);
    let digest = Digest::of(&bytes);
    {
        let store = open(&dir, &engine);
        store.load_built_in().await.unwrap();
        store.publish(arrival(bytes.clone())).await.unwrap();
        store.remove(digest, by("ann")).await.unwrap();
        let none = BTreeSet::new();
        assert_eq!(
            store.sweep(&none).await.unwrap(),
            [],
            "it was removed just now"
        );
        assert!(
            store
                .resolve(Kind::Strategy, &exactly(digest))
                .await
                .is_err()
        );
    }
    let store = open(&dir, &engine);
    let held = BTreeSet::from([digest]);
    assert_eq!(store.sweep(&held).await.unwrap(), []);
    assert_eq!(store.bytes(&digest).unwrap(), bytes);
    assert_eq!(store.sweep(&BTreeSet::new()).await.unwrap(), [digest]);
    assert!(store.bytes(&digest).is_err());
    assert_eq!(files(&dir), 5, "what has a name stays");
}

#[tokio::test]
async fn what_nobody_signed_is_promoted_no_more_once_a_signature_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine();
    let store = open(&dir, &engine);
    store.load_built_in().await.unwrap();
    let built_in = stable(&store).await;
    let unsigned = store.publish(arrival(variant("sample-vote", 1))).await;
    let unsigned = unsigned.unwrap().listed.plugin.reference.digest;
    let promote = |digest| Wish::Promote(exactly(digest));
    let kind = Kind::Strategy;
    store
        .order(kind, promote(unsigned), by("ann"))
        .await
        .unwrap();
    drop(store);

    let rules = Rules {
        signatures: Policy {
            mode: crate::signature::Mode::Require,
            ..Policy::default()
        },
        ..Rules::default()
    };
    let store = PluginStore::open(dir.path(), Arc::clone(&engine), rules).unwrap();
    assert_eq!(stable(&store).await, unsigned, "what serves goes on");
    store
        .order(kind, Wish::Rollback("sample-vote".to_owned()), by("ann"))
        .await
        .unwrap();
    assert_eq!(stable(&store).await, built_in);
    let canary = Wish::Canary {
        choice: exactly(unsigned),
        share: Share::NONE,
        rules: Vec::new(),
    };
    for wish in [promote(unsigned), canary] {
        let refused = store.order(kind, wish, by("ann")).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("arrived without a signature"), "{told}");
    }
    assert_eq!(stable(&store).await, built_in);
}

#[tokio::test]
async fn what_the_settings_name_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine();
    let store = open(&dir, &engine);
    let brought = store.publish(arrival(variant("sample-vote", 1))).await;
    let brought = brought.unwrap().listed.plugin.reference.digest;
    let other = store
        .publish(arrival(variant("agreement", 2)))
        .await
        .unwrap();
    store.load_built_in().await.unwrap();
    let promote = Wish::Promote(exactly(Digest::of(&bytes_of("sample-vote"))));
    store
        .order(Kind::Strategy, promote, by("ann"))
        .await
        .unwrap();
    drop(store);

    let named = Named {
        kind: Kind::Strategy,
        choice: exactly(brought),
        key: "plugins.strategy_default".to_owned(),
    };
    let rules = Rules {
        named: vec![named],
        ..Rules::default()
    };
    let store = PluginStore::open(dir.path(), engine, rules).unwrap();
    let refused = store.remove(brought, by("ann")).await.unwrap_err();
    assert!(
        refused.to_string().ends_with(
            "is what the setting `plugins.strategy_default` names; name another one there first"
        ),
        "{refused}"
    );
    assert!(store.bytes(&brought).is_ok());
    let agreement = Wish::Promote(PluginChoice {
        digest: Some(Digest::of(&bytes_of("agreement"))),
        ..PluginChoice::named("agreement")
    });
    store
        .order(Kind::Scorer, agreement, by("ann"))
        .await
        .unwrap();
    let other = other.listed.plugin.reference.digest;
    store.remove(other, by("ann")).await.unwrap();
}
