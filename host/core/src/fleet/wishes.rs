//! What operators changed while the host ran, and the port that keeps it over a restart.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cluster::Source;
use crate::ids::ModelName;

/// What operators want otherwise than configured. Names that the configuration no longer has are left
/// as they are, and mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Models with exactly so many replicas, whatever waits.
    pub replicas: BTreeMap<ModelName, u32>,
    /// Clusters that do not serve as usual.
    pub clusters: BTreeMap<String, ClusterWish>,
}

/// What an operator wants of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterWish {
    /// It gets no new generations; its jobs stay.
    Drained,
    /// It gets no new generations, and its jobs are stopped once theirs have ended.
    Down,
}

/// Keeps the wishes.
#[async_trait]
pub trait WishBook: Send + Sync {
    /// Replaces what was kept; durable when it returns.
    async fn save(&self, wishes: &Wishes) -> Result<(), Source>;
}
