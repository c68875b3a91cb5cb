use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use conclave_core::channel::{Asking, Channels, Order, PluginName};
use conclave_core::params::ParamsSchema;
use conclave_core::plugin::{
    self, Assigned, Descriptor, Kind, Listed, Plugin, PluginChoice, PluginRef, Source,
};
use conclave_core::registry::{
    Action, Arrival, By, Change, Error as RegistryError, HistoryQuery, Named, Published, Wish,
};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;

/// A registry to which `NAME VERSION` is a component, and that tells what it was asked for.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
    asked: watch::Sender<Vec<String>>,
}

#[derive(Default)]
struct State {
    plugins: BTreeMap<Digest, Arc<Plugin>>,
    channels: BTreeMap<String, Channels>,
    /// What happened to each name last, and to which component.
    latest: BTreeMap<String, (Action, Digest)>,
    busy: u32,
}

impl Fake {
    fn stable(&self, name: &str) -> String {
        let state = self.state.lock().unwrap();
        let digest = state.channels[name].stable.unwrap();
        state.plugins[&digest].reference.version.clone()
    }

    /// Waits until it was asked for this.
    async fn asked(&self, what: &str) {
        let mut asked = self.asked.subscribe();
        let found = asked.wait_for(|asked| asked.iter().any(|it| it == what));
        let found = timeout(Duration::from_secs(60), found).await;
        assert!(found.is_ok(), "{what}: {:?}", self.asked.borrow());
    }

    fn count(&self, what: &str) -> usize {
        self.asked.borrow().iter().filter(|it| *it == what).count()
    }

    fn tell(&self, what: String) {
        self.asked.send_modify(|asked| asked.push(what));
    }
}

fn plugin(bytes: &[u8]) -> Option<Arc<Plugin>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (name, version) = text.split_once(' ')?;
    let reference = PluginRef {
        name: name.to_owned(),
        version: version.to_owned(),
        digest: Digest::of(bytes),
    };
    let descriptor = Descriptor {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: String::new(),
        params_schema: "{}".to_owned(),
    };
    Some(Arc::new(Plugin {
        reference,
        kind: Kind::Strategy,
        params: ParamsSchema::parse("{}").unwrap(),
        descriptor,
    }))
}

#[async_trait]
impl Registry for Fake {
    async fn publish(&self, arrival: Arrival) -> Result<Published, RegistryError> {
        let Source::File(file) = &arrival.source else {
            unreachable!("{arrival:?}");
        };
        let signed = if arrival.signature.is_some() {
            ", signed"
        } else {
            ""
        };
        let text = String::from_utf8_lossy(&arrival.bytes).into_owned();
        let outcome = {
            let mut state = self.state.lock().unwrap();
            if state.busy > 0 {
                state.busy -= 1;
                Err(RegistryError::Busy(1))
            } else if let Some(plugin) = plugin(&arrival.bytes) {
                let digest = plugin.reference.digest;
                let known = state.plugins.insert(digest, Arc::clone(&plugin)).is_some();
                let name = plugin.reference.name.clone();
                if !known {
                    state.latest.insert(name.clone(), (Action::Added, digest));
                }
                let channels = state.channels.entry(name).or_default();
                let serves = channels.stable.is_none() || channels.stable == Some(digest);
                channels.stable.get_or_insert(digest);
                Ok(Published {
                    listed: Listed {
                        plugin,
                        contract: "0.1".to_owned(),
                        source: arrival.source.clone(),
                        bytes: arrival.bytes.len() as u64,
                        added_at_ms: 0,
                        added_by: arrival.by.clone(),
                        signed_by: None,
                    },
                    known,
                    serves,
                    warnings: Vec::new(),
                })
            } else {
                Err(RegistryError::Refused(vec!["it is no plugin".to_owned()]))
            }
        };
        self.tell(format!("publish {file}: {text}{signed}"));
        outcome
    }

    async fn check(&self, arrival: Arrival) -> Result<Published, RegistryError> {
        unreachable!("the folder publishes: {arrival:?}");
    }

    async fn order(&self, kind: Kind, wish: Wish, by: By) -> Result<Named, RegistryError> {
        let Wish::Promote(choice) = wish else {
            unreachable!("{wish:?}");
        };
        assert_eq!(
            (by.who.as_str(), by.reason.as_str()),
            ("", "arrived in the folder")
        );
        let name = PluginName::new(kind, choice.name);
        let channels = {
            let mut state = self.state.lock().unwrap();
            let channels = state.channels.get_mut(&name.name).unwrap();
            assert_eq!(by.revision, Some(channels.revision));
            *channels = channels.after(Order::Promote(choice.digest)).unwrap();
            let channels = channels.clone();
            let latest = (Action::Promoted, choice.digest.unwrap());
            state.latest.insert(name.name.clone(), latest);
            channels
        };
        self.tell(format!("promote {}", name.name));
        Ok(Named {
            name,
            channels,
            evidence: None,
        })
    }

    async fn remove(&self, digest: Digest, _: By) -> Result<Listed, RegistryError> {
        unreachable!("a folder removes nothing: {digest}");
    }

    async fn names(&self) -> Vec<Named> {
        let state = self.state.lock().unwrap();
        let named = state.channels.iter().map(|(name, channels)| Named {
            name: PluginName::new(Kind::Strategy, name.clone()),
            channels: channels.clone(),
            evidence: None,
        });
        named.collect()
    }

    async fn history(&self, query: HistoryQuery) -> Result<Vec<Change>, RegistryError> {
        let name = query.name.unwrap();
        let state = self.state.lock().unwrap();
        let latest = state.latest.get(&name.name);
        let latest = latest.map(|&(action, digest)| Change {
            number: 1,
            at_ms: 0,
            by: String::new(),
            name,
            action,
            digest,
            version: String::new(),
            stable_before: None,
            stable_after: None,
            share: None,
            reason: String::new(),
        });
        Ok(latest.into_iter().collect())
    }
}

#[async_trait]
impl Plugins for Fake {
    async fn resolve(&self, _: Kind, choice: &PluginChoice) -> Result<Arc<Plugin>, plugin::Error> {
        let state = self.state.lock().unwrap();
        Ok(Arc::clone(&state.plugins[&choice.digest.unwrap()]))
    }

    async fn assign(
        &self,
        _: Kind,
        choice: &PluginChoice,
        _: &Asking<'_>,
    ) -> Result<Assigned, plugin::Error> {
        unreachable!("a folder runs nothing: {choice}");
    }
}

/// A folder that is watched until the test ends.
struct Watched {
    dir: TempDir,
    registry: Arc<Fake>,
    stop: CancellationToken,
    watching: tokio::task::JoinHandle<()>,
}

fn folder(dir: &Path, registry: &Arc<Fake>) -> Folder {
    Folder::new(dir, 64, registry.clone(), registry.clone())
}

impl Watched {
    async fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Arc::new(Fake::default());
        let mut folder = folder(dir.path(), &registry);
        assert_eq!(folder.take_in().await.unwrap().count, 0);
        let stop = CancellationToken::new();
        let tasks = conclave_core::tasks::Tasks::default();
        let watching = tasks.spawn("folder", folder.watch(stop.clone()));
        Self {
            dir,
            registry,
            stop,
            watching,
        }
    }

    fn drop_in(&self, name: &str, text: &str) {
        drop_in(self.dir.path(), name, text);
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(60), self.watching)
            .await
            .unwrap()
            .unwrap();
    }
}

fn drop_in(dir: &Path, name: &str, text: &str) {
    let partial = dir.join(format!("{name}.partial"));
    fs::write(&partial, text).unwrap();
    fs::rename(partial, dir.join(name)).unwrap();
}

#[tokio::test]
async fn files_that_are_renamed_are_published_and_newer_ones_become_stable() {
    let watched = Watched::begin().await;
    watched.drop_in("a.wasm.sig", "by me");
    watched.drop_in("a.wasm", "vote 1.0.0");
    watched
        .registry
        .asked("publish a.wasm: vote 1.0.0, signed")
        .await;
    watched.drop_in("b.wasm", "vote 1.10.0");
    watched.registry.asked("promote vote").await;
    watched.drop_in("c.wasm", "vote 1.9.0");
    watched.registry.asked("publish c.wasm: vote 1.9.0").await;
    watched.drop_in("d.wasm", "other 1.0.0");
    watched.registry.asked("publish d.wasm: other 1.0.0").await;
    assert_eq!(watched.registry.stable("vote"), "1.10.0");
    assert_eq!(watched.registry.count("promote vote"), 1);
    watched.end().await;
}

#[tokio::test]
async fn half_written_refused_and_odd_files_stop_nothing() {
    let watched = Watched::begin().await;
    fs::write(watched.dir.path().join("half.wasm"), "half 1.").unwrap();
    fs::create_dir(watched.dir.path().join("dir.wasm")).unwrap();
    let large = "large 1.0.0".repeat(9);
    watched.drop_in("large.wasm", &large);
    watched.drop_in("broken.wasm", "broken");
    watched.drop_in("good.wasm", "good 1.0.0");
    watched
        .registry
        .asked("publish good.wasm: good 1.0.0")
        .await;
    watched.drop_in("broken.wasm", "broken");
    watched.drop_in("later.wasm", "later 1.0.0");
    watched
        .registry
        .asked("publish later.wasm: later 1.0.0")
        .await;
    let asked = watched.registry.asked.borrow().clone();
    assert_eq!(
        asked,
        [
            "publish broken.wasm: broken",
            "publish good.wasm: good 1.0.0",
            "publish later.wasm: later 1.0.0"
        ],
        "the same bytes are refused once"
    );
    watched.end().await;
}

#[tokio::test]
async fn a_volume_whose_link_is_swapped_is_read_again() {
    let watched = Watched::begin().await;
    let dir = watched.dir.path();
    let swap = |version: &str| {
        let target = dir.join(format!("..{version}"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("vote.wasm"), format!("vote {version}")).unwrap();
        std::os::unix::fs::symlink(format!("..{version}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    swap("1.0.0");
    std::os::unix::fs::symlink("..data/vote.wasm", dir.join("vote.wasm")).unwrap();
    watched
        .registry
        .asked("publish vote.wasm: vote 1.0.0")
        .await;
    swap("2.0.0");
    watched.registry.asked("promote vote").await;
    assert_eq!(watched.registry.stable("vote"), "2.0.0");
    watched.end().await;
}

#[tokio::test]
async fn a_folder_that_is_deleted_and_made_again_is_watched_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("plugins");
    fs::create_dir(&dir).unwrap();
    let registry = Arc::new(Fake::default());
    let mut folder = folder(&dir, &registry);
    drop_in(&dir, "a.wasm", "a 1.0.0");
    assert_eq!(folder.take_in().await.unwrap().count, 1);
    // Another directory in its place, before anybody looks.
    fs::rename(&dir, parent.path().join("away")).unwrap();
    fs::create_dir(&dir).unwrap();
    folder.take_what_came().await;
    drop_in(&dir, "b.wasm", "b 1.0.0");
    folder.wait().await;
    folder.take_what_came().await;
    assert_eq!(registry.count("publish b.wasm: b 1.0.0"), 1);
    // None at all for a while.
    fs::remove_dir_all(&dir).unwrap();
    folder.take_what_came().await;
    assert!(folder.was_gone);
    fs::create_dir(&dir).unwrap();
    folder.take_what_came().await;
    assert!(!folder.was_gone);
    drop_in(&dir, "c.wasm", "c 1.0.0");
    folder.wait().await;
    folder.take_what_came().await;
    assert_eq!(registry.count("publish c.wasm: c 1.0.0"), 1);
}

#[tokio::test]
async fn a_restart_does_not_undo_a_rollback() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Fake::default());
    drop_in(dir.path(), "1.wasm", "vote 1.0.0");
    drop_in(dir.path(), "2.wasm", "vote 2.0.0");
    folder(dir.path(), &registry).take_in().await.unwrap();
    assert_eq!(registry.stable("vote"), "2.0.0");
    {
        let mut state = registry.state.lock().unwrap();
        let channels = state.channels.get_mut("vote").unwrap();
        *channels = channels.after(Order::Rollback).unwrap();
        let rolled_back = (Action::RolledBack, Digest::of(b"vote 2.0.0"));
        state.latest.insert("vote".to_owned(), rolled_back);
    }
    folder(dir.path(), &registry).take_in().await.unwrap();
    assert_eq!(registry.stable("vote"), "1.0.0");
}

#[tokio::test]
async fn a_restart_finishes_what_a_crash_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Fake::default());
    drop_in(dir.path(), "1.wasm", "vote 1.0.0");
    folder(dir.path(), &registry).take_in().await.unwrap();
    drop_in(dir.path(), "2.wasm", "vote 2.0.0");
    // The host was killed between the two steps.
    let arrival = Arrival {
        bytes: Arc::from(&b"vote 2.0.0"[..]),
        signature: None,
        source: Source::File("2.wasm".to_owned()),
        by: String::new(),
    };
    registry.publish(arrival).await.unwrap();
    assert_eq!(registry.stable("vote"), "1.0.0");
    folder(dir.path(), &registry).take_in().await.unwrap();
    assert_eq!(registry.stable("vote"), "2.0.0");
}

#[tokio::test]
async fn a_canary_that_is_tried_is_left_in_peace() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Fake::default());
    drop_in(dir.path(), "1.wasm", "vote 1.0.0");
    folder(dir.path(), &registry).take_in().await.unwrap();
    {
        let mut state = registry.state.lock().unwrap();
        let channels = state.channels.get_mut("vote").unwrap();
        let canary = Order::Canary {
            digest: Digest::of(b"vote 1.5.0"),
            share: "5%".parse().unwrap(),
            rules: Vec::new(),
        };
        *channels = channels.after(canary).unwrap();
    }
    drop_in(dir.path(), "2.wasm", "vote 2.0.0");
    folder(dir.path(), &registry).take_in().await.unwrap();
    assert_eq!(registry.stable("vote"), "1.0.0");
    assert_eq!(registry.count("publish 2.wasm: vote 2.0.0"), 1);
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let watched = Watched::begin().await;
    watched.registry.state.lock().unwrap().busy = 1;
    watched.drop_in("a.wasm", "a 1.0.0");
    let mut asked = watched.registry.asked.subscribe();
    let twice = asked.wait_for(|asked| asked.len() == 2);
    let twice = timeout(Duration::from_secs(60), twice).await;
    assert!(twice.is_ok());
    assert_eq!(watched.registry.stable("a"), "1.0.0");
    watched.end().await;
}

#[tokio::test]
async fn at_the_start_a_missing_folder_is_an_error_and_a_refused_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Fake::default());
    let missing = dir.path().join("missing");
    let error = folder(&missing, &registry).take_in().await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }));
    drop_in(dir.path(), "broken.wasm", "broken");
    drop_in(dir.path(), "large.wasm", &"large 1.0.0".repeat(9));
    drop_in(dir.path(), "sound.wasm", "sound 1.0.0");
    let taken_in = folder(dir.path(), &registry).take_in().await.unwrap();
    assert_eq!((taken_in.count, taken_in.failed.len()), (1, 2));
    let told = |error: &Error| Chain(error).to_string();
    let mut failed: Vec<_> = taken_in.failed.iter().map(told).collect();
    failed.sort();
    let [large, error] = &failed[..] else {
        unreachable!("two failed");
    };
    assert!(large.contains("cannot read the plugin"), "{large}");
    assert!(
        error.contains("broken.wasm` cannot be used: the component is refused: it is no plugin"),
        "{error}"
    );
    assert_eq!(registry.stable("sound"), "1.0.0");
}
