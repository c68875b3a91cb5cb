//! How the generations of a deliberation reach an engine.

use serde::{Deserialize, Serialize};

/// The path of a generation from the host to an engine. Clients see no difference.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// The host calls the model server itself, which is fastest.
    #[default]
    Direct,
    /// A queue leads to long-lived actors on a Ray cluster, which call the model server: for endpoints
    /// that only the cluster reaches, and for work that Ray shall place.
    Pool,
    /// Each wave of generations is a Ray job of its own, which takes seconds to start: for batch work.
    Job,
}

impl Execution {
    /// Its name in configurations and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pool => "pool",
            Self::Job => "job",
        }
    }

    /// Whether it is what a deliberation has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
