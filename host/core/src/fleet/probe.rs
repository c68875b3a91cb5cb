//! The port that tells whether a model server is well.

use async_trait::async_trait;

use crate::endpoint::Endpoint;
use crate::ids::ModelName;

/// Asks model servers how they are. Every call is bounded in time.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Whether the server takes requests; else why not, in a sentence's part for people.
    async fn healthy(&self, endpoint: &Endpoint) -> Result<(), String>;

    /// One short generation, so that the first real one does not pay for what a server does only once.
    async fn warm_up(&self, endpoint: &Endpoint, model: &ModelName) -> Result<(), String>;
}
