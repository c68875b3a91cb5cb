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

#[cfg(test)]
mod tests {
    use conclave_core::channel::{Arm, Draw, Share};
    use conclave_core::entry::Entry;
    use conclave_core::ids::{DeliberationId, Seq};
    use conclave_core::outcome::Verdict;
    use conclave_core::plugin::Kind;
    use conclave_core::registry::{By, Registry as _, Wish};
    use conclave_core::testkit::journal::{accepted, finished};

    use super::super::tests::{arrival, engine, open, variant};
    use super::*;
    use crate::plugin_store::REGISTRY;

    /// The sentence of evidence of the only canary.
    async fn evidence(store: &PluginStore) -> String {
        let names = store.names().await;
        let mut evidence = names.into_iter().filter_map(|named| named.evidence);
        evidence.next().expect("there is a canary")
    }

    /// A deliberation on the canary that began at this revision is accepted, and cancelled.
    fn cancel_one(store: &PluginStore, canary: u64) {
        let mut first = accepted(&DeliberationId::new("deliberation-1"));
        let Entry::Accepted(accepted) = &mut first.entry else {
            unreachable!("the first record is the acceptance");
        };
        accepted.strategy_draw = Some(Draw {
            share: Share::try_from(1000).unwrap(),
            arm: Arm::Canary,
            canary,
        });
        let accepted = accepted.clone();
        let last = finished(Seq(2), 1, Verdict::Cancelled("too slow".to_owned()));
        for record in [&first, &*last] {
            store.observer().journaled(&accepted, record);
        }
    }

    #[tokio::test]
    async fn evidence_survives_a_restart_and_what_cannot_be_read_of_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine();
        let store = open(&dir, &engine);
        store.load_built_in().await.unwrap();
        let arrived = arrival(variant("sample-vote", 1));
        store.publish(arrived).await.unwrap();
        let wish = Wish::Canary {
            choice: "sample-vote".parse().unwrap(),
            share: Share::try_from(1000).unwrap(),
            rules: Vec::new(),
        };
        let ordered = store.order(Kind::Strategy, wish, By::default()).await;
        let named = ordered.unwrap();
        cancel_one(&store, named.canary().expect("it is tried").since);
        let seen = evidence(&store).await;
        assert!(seen.starts_with("1 of 1 deliberations on the canary were cancelled"));
        store.keep_evidence().await.unwrap();
        assert_eq!(evidence(&open(&dir, &engine)).await, seen);

        let registry = rusqlite::Connection::open(dir.path().join(REGISTRY)).unwrap();
        let former = "UPDATE evidence SET state = json_remove(state, '$.evidence.cancellations')";
        assert_eq!(registry.execute(former, []).unwrap(), 1);
        let store = open(&dir, &engine);
        let anew = evidence(&store).await;
        assert_eq!(anew, "no deliberation has ended on the canary yet");
        cancel_one(&store, named.canary().expect("it is tried").since);
        assert_eq!(evidence(&store).await, seen);
    }
}
