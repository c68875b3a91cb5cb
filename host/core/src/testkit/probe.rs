//! Fakes of the fleet's smaller ports: [`Probe`] and [`WishBook`].

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::cluster::Source;
use crate::endpoint::Endpoint;
use crate::fleet::{Probe, WishBook, Wishes};
use crate::ids::ModelName;
use crate::live::lock;

/// A [`Probe`] that finds every server healthy but those that it was told of.
#[derive(Debug, Default)]
pub struct ScriptedProbe {
    ill: Mutex<BTreeMap<Endpoint, String>>,
    warm_ups: Mutex<Vec<Endpoint>>,
}

impl ScriptedProbe {
    /// Finds a server ill from now on.
    pub fn set_ill(&self, endpoint: &Endpoint, reason: &str) {
        lock(&self.ill).insert(endpoint.clone(), reason.to_owned());
    }

    /// Finds a server well from now on.
    pub fn set_well(&self, endpoint: &Endpoint) {
        lock(&self.ill).remove(endpoint);
    }

    /// The servers that were warmed up, in their order.
    #[must_use]
    pub fn warm_ups(&self) -> Vec<Endpoint> {
        lock(&self.warm_ups).clone()
    }
}

#[async_trait]
impl Probe for ScriptedProbe {
    async fn healthy(&self, endpoint: &Endpoint) -> Result<(), String> {
        match lock(&self.ill).get(endpoint) {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    async fn warm_up(&self, endpoint: &Endpoint, _model: &ModelName) -> Result<(), String> {
        lock(&self.warm_ups).push(endpoint.clone());
        Ok(())
    }
}

/// A [`WishBook`] in memory.
#[derive(Debug, Default)]
pub struct MemoryWishBook {
    kept: Mutex<Wishes>,
    broken: Mutex<bool>,
}

impl MemoryWishBook {
    /// What was saved last.
    #[must_use]
    pub fn kept(&self) -> Wishes {
        lock(&self.kept).clone()
    }

    /// Lets every save fail, or none.
    pub fn set_broken(&self, broken: bool) {
        *lock(&self.broken) = broken;
    }
}

#[async_trait]
impl WishBook for MemoryWishBook {
    async fn save(&self, wishes: &Wishes) -> Result<(), Source> {
        if *lock(&self.broken) {
            return Err("the disk is full".into());
        }
        *lock(&self.kept) = wishes.clone();
        Ok(())
    }
}
