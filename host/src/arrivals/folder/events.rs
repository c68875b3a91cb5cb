//! What the operating system tells about the folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::scan::{COMPONENT, FILES_MAX, SIGNATURE, is_component};

/// What happened last to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It got its name: it was complete before.
    Renamed,
    /// It was made under its name, or written to.
    Written,
}

/// What was heard since the last look.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// By the name of the component's file. What finds no room here is left to the rule for lost
    /// events.
    pub(super) names: BTreeMap<String, Seen>,
}

/// Listens, and holds what it heard until somebody looks: as much as there are names, however many
/// events come.
#[derive(Debug, Default)]
pub(super) struct Ear {
    heard: Mutex<Heard>,
    rang: Notify,
}

impl Ear {
    /// Waits until something happens, or returns at once if it has since the last call.
    pub(super) async fn rings(&self) {
        self.rang.notified().await;
    }

    /// Gives what was heard, and forgets it.
    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, event: notify::Result<Event>) {
        // An error may mean that events were lost: a look is never wrong.
        if let Ok(event) = event
            && !event.need_rescan()
            && !self.is_news(&event)
        {
            return;
        }
        self.rang.notify_one();
    }

    /// Whether the event may change what the folder holds.
    fn is_news(&self, event: &Event) -> bool {
        let seen = match event.kind {
            // The host itself opens and closes what it reads.
            EventKind::Access(_) => return false,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(Seen::Written),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Seen::Renamed),
            _ => None,
        };
        let name = event.paths.last().and_then(|path| path.file_name());
        let name = name.and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(&format!("{COMPONENT}{SIGNATURE}")) {
            return true;
        }
        if !is_component(name) {
            // Links of a mounted volume point through names that are no components'. What is written
            // beside, before it is renamed, is no news.
            let written = matches!(
                event.kind,
                EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_))
            );
            return !written;
        }
        if let Some(seen) = seen {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.names.len() < 2 * FILES_MAX || heard.names.contains_key(name) {
                heard.names.insert(name.to_owned(), seen);
            }
        }
        true
    }
}

/// Begins to listen to what happens in a directory, until the result is dropped.
pub(super) fn listen(dir: &Path, ear: Arc<Ear>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| ear.hear(event))?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn heard(ear: &Ear, name: &str) -> Seen {
        let found = async {
            loop {
                ear.rings().await;
                if let Some(seen) = ear.take().names.remove(name) {
                    return seen;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        found.unwrap_or_else(|_| unreachable!("nothing was heard of {name}"))
    }

    #[tokio::test]
    async fn a_rename_is_told_from_writing_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let ear = Arc::new(Ear::default());
        let _watcher = listen(dir.path(), Arc::clone(&ear)).unwrap();
        fs::write(dir.path().join("a.wasm"), "half").unwrap();
        assert_eq!(heard(&ear, "a.wasm").await, Seen::Written);
        fs::write(dir.path().join("b.wasm.partial"), "whole").unwrap();
        fs::rename(dir.path().join("b.wasm.partial"), dir.path().join("b.wasm")).unwrap();
        assert_eq!(heard(&ear, "b.wasm").await, Seen::Renamed);
    }
}
