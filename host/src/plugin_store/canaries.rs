//! The canaries that are tried: each is watched from its first deliberation to its last, over restarts.

use std::sync::{Arc, PoisonError};

use conclave_core::canary::{ErrorRate, Regression, Trial, Watch};
use conclave_core::channel::PluginName;
use conclave_core::observer::Observer;
use conclave_core::registry::{By, Error, Named, Registry as _, Wish};

use super::PluginStore;
use super::table::Table;

/// Watches every canary of the table, with what was seen of it before.
pub(super) fn watch_all(watch: &Watch, table: &Table, trials: Vec<Trial>, error_rate: ErrorRate) {
    for trial in trials {
        watch.start(trial);
    }
    for (name, entry) in table.names() {
        let canary = entry.channels.canary.as_ref().map(|canary| canary.since);
        self::watch(watch, name, canary, error_rate);
    }
}

/// Watches the canary of a name that began at this revision, and no other.
pub(super) fn watch(watch: &Watch, name: &PluginName, canary: Option<u64>, error_rate: ErrorRate) {
    match canary {
        None => watch.stop(name),
        Some(since) if watch.canary(name) == Some(since) => {}
        Some(since) => watch.start(Trial::new(name.clone(), since, error_rate)),
    }
}

impl PluginStore {
    /// What was seen of a name's canary, in a sentence.
    pub(super) fn evidence(&self, name: &PluginName) -> Option<String> {
        let nearest = self.watch.nearest(name);
        nearest.map(|finding| finding.to_string())
    }

    /// What judges the canaries; it must see every record of this host.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.watch.clone()
    }

    /// Waits for a canary that is found worse, and rolls it back; what it was rolled back for, and what
    /// the name stands for then. One that an operator was quicker with is left alone.
    ///
    /// # Errors
    /// When it could not be rolled back; the next call tries it again.
    pub async fn next_regression(&self) -> Result<(Regression, Option<Named>), Error> {
        let regression = self.watch.regression().await;
        match self.roll_back(&regression).await {
            Ok(ended) => Ok((regression, ended)),
            Err(error) => {
                self.watch.tell_again(&regression.plugin);
                Err(error)
            }
        }
    }

    async fn roll_back(&self, regression: &Regression) -> Result<Option<Named>, Error> {
        let name = &regression.plugin;
        loop {
            let channels = self
                .table
                .load()
                .get(name)
                .map(|entry| entry.channels.clone());
            let channels = channels.unwrap_or_default();
            let since = channels.canary.as_ref().map(|canary| canary.since);
            if since != Some(regression.canary) {
                return Ok(None);
            }
            let by = By {
                who: String::new(),
                reason: regression.finding.to_string(),
                revision: Some(channels.revision),
            };
            let wish = Wish::Rollback(name.name.clone());
            match self.order(name.kind, wish, by).await {
                // Its share was changed meanwhile, or it has ended.
                Err(Error::Order { .. }) => {}
                ended => return ended.map(Some),
            }
        }
    }

    /// Keeps what was seen of canaries, for the next start.
    ///
    /// # Errors
    /// When the registry's file does not take it.
    pub async fn keep_evidence(&self) -> Result<(), Error> {
        let trials = self.watch.trials();
        let database = Arc::clone(&self.database);
        let kept = tokio::task::spawn_blocking(move || {
            let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.keep_evidence(&trials)
        });
        let kept = kept.await.expect("the registry's file does not panic");
        kept.map_err(|error| Error::Unavailable(error.into()))
    }
}
