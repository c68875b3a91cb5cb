//! What an operator can change while the host runs.

use std::sync::Arc;

use crate::cluster::Source;
use crate::ids::ModelName;

use super::Fleet;
use super::state::State;
use super::wishes::{ClusterWish, Wishes};

/// Why the fleet did not do what an operator asked for.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The configuration has no such model.
    #[error("there is no model `{model}`, there are: {known}")]
    UnknownModel {
        /// The model.
        model: ModelName,
        /// Those that there are.
        known: String,
    },
    /// The configuration has no such cluster.
    #[error("there is no cluster `{cluster}`, there are: {known}")]
    UnknownCluster {
        /// The cluster.
        cluster: String,
        /// Those that there are.
        known: String,
    },
    /// Somebody else runs all servers of the model.
    #[error("model `{model}` has no job: its servers are endpoints that somebody else runs")]
    NoJob {
        /// The model.
        model: ModelName,
    },
    /// Their ports would pass the last one.
    #[error("model `{model}` cannot have {replicas} replicas, its ports allow {max}")]
    TooMany {
        /// The model.
        model: ModelName,
        /// How many were asked for.
        replicas: u32,
        /// How many it can have.
        max: u32,
    },
    /// It could not be written down, so nothing was done.
    #[error("what was asked for could not be written down")]
    NotKept(#[source] Source),
}

impl Fleet {
    /// Fixes how many replicas a model has, over restarts of the host, too.
    ///
    /// # Errors
    /// When there is no such model, it has no job, its ports do not suffice, or the wish cannot be kept.
    pub async fn scale(&self, model: &ModelName, replicas: u32) -> Result<(), SteerError> {
        self.shared.with(|state, _, _| {
            let place = state.steered(model)?;
            let job = state.models[place].plan.job.as_ref();
            let first = job.map_or(0, |job| u32::from(job.port));
            let max = (1 << 16) - first;
            if replicas > max {
                let model = model.clone();
                return Err(SteerError::TooMany {
                    model,
                    replicas,
                    max,
                });
            }
            Ok(())
        })?;
        let pin = |wishes: &mut Wishes| {
            wishes.replicas.insert(model.clone(), replicas);
        };
        self.wish(pin).await
    }

    /// Lets a model have as many replicas as its load asks for again, and one at least.
    ///
    /// # Errors
    /// When there is no such model, it has no job, or the wish cannot be kept.
    pub async fn up(&self, model: &ModelName) -> Result<(), SteerError> {
        self.shared.with(|state, now, _| {
            let place = state.steered(model)?;
            let state = &mut state.models[place];
            let (least, most) = (*state.plan.replicas.start(), *state.plan.replicas.end());
            // What runs stays; what is too much goes when it has been spare for long enough.
            let runs = u32::try_from(state.replicas.len()).unwrap_or(u32::MAX);
            state.wanted = runs.max(1).max(least).min(most);
            state.scaled_at = now;
            state.spare_since = None;
            Ok::<_, SteerError>(())
        })?;
        let unpin = |wishes: &mut Wishes| {
            wishes.replicas.remove(model);
        };
        self.wish(unpin).await
    }

    /// Stops a model's replicas, each when its generations have ended.
    ///
    /// # Errors
    /// As [`Fleet::scale`].
    pub async fn down(&self, model: &ModelName) -> Result<(), SteerError> {
        self.scale(model, 0).await
    }

    /// Sends nothing more to a cluster; what runs there ends, and its jobs stay.
    ///
    /// # Errors
    /// When there is no such cluster, or the wish cannot be kept.
    pub async fn drain(&self, cluster: &str) -> Result<(), SteerError> {
        self.wish_of(cluster, Some(ClusterWish::Drained)).await
    }

    /// Sends nothing more to a cluster, and stops its jobs when what runs there has ended; replicas are
    /// started elsewhere, where a cluster may run them.
    ///
    /// # Errors
    /// As [`Fleet::drain`].
    pub async fn vacate(&self, cluster: &str) -> Result<(), SteerError> {
        self.wish_of(cluster, Some(ClusterWish::Down)).await
    }

    /// Uses a cluster as usual again.
    ///
    /// # Errors
    /// As [`Fleet::drain`].
    pub async fn undrain(&self, cluster: &str) -> Result<(), SteerError> {
        self.wish_of(cluster, None).await
    }

    async fn wish_of(&self, cluster: &str, wish: Option<ClusterWish>) -> Result<(), SteerError> {
        self.shared.with(|state, _, _| {
            if state.cluster_named(cluster).is_some() {
                return Ok(());
            }
            let names = state.clusters.iter().map(|one| one.plan.name.as_str());
            Err(SteerError::UnknownCluster {
                cluster: cluster.to_owned(),
                known: names.collect::<Vec<_>>().join(", "),
            })
        })?;
        let change = |wishes: &mut Wishes| {
            match wish {
                Some(wish) => wishes.clusters.insert(cluster.to_owned(), wish),
                None => wishes.clusters.remove(cluster),
            };
        };
        self.wish(change).await
    }

    /// Writes a wish down, then heeds it.
    async fn wish(&self, change: impl FnOnce(&mut Wishes)) -> Result<(), SteerError> {
        let mut wishes = self.wishes.lock().await;
        let mut changed = wishes.clone();
        change(&mut changed);
        if changed == *wishes {
            return Ok(());
        }
        let book = Arc::clone(&self.ports.wish_book);
        book.save(&changed).await.map_err(SteerError::NotKept)?;
        *wishes = changed;
        self.shared.with(|state, now, served| {
            state.heed(&wishes);
            // What is placed by this is looked at by the next poll of its cluster.
            let _placed = state.govern(now, served);
        });
        self.shared.wake.notify_waiters();
        Ok(())
    }
}

impl State {
    /// The place of a model that has a job.
    fn steered(&self, model: &ModelName) -> Result<usize, SteerError> {
        let Some(place) = self.model_named(model) else {
            let names = self.models.iter().map(|one| one.plan.name.as_str());
            return Err(SteerError::UnknownModel {
                model: model.clone(),
                known: names.collect::<Vec<_>>().join(", "),
            });
        };
        if self.models[place].plan.job.is_none() {
            return Err(SteerError::NoJob {
                model: model.clone(),
            });
        }
        Ok(place)
    }

    fn heed(&mut self, wishes: &Wishes) {
        for cluster in &mut self.clusters {
            cluster.wish = wishes.clusters.get(&cluster.plan.name).copied();
        }
        for model in &mut self.models {
            model.pinned = wishes.replicas.get(&model.plan.name).copied();
        }
    }
}
