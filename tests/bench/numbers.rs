//! What was measured of one load.

use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::usage::Usage;

/// One load, from its first call to its last answer.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measured {
    /// How long each submit took.
    pub(crate) submits: Latencies,
    /// How long each deliberation took, from before its submit to its outcome.
    pub(crate) wholes: Latencies,
    /// How long all of it took.
    pub(crate) took: Duration,
    /// What the host used.
    pub(crate) host: Usage,
    /// What the model server used.
    pub(crate) stub: Usage,
    /// What this process used.
    pub(crate) client: Usage,
}

impl Measured {
    /// Deliberations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.wholes.count() as f64 / self.took.as_secs_f64()
    }

    /// A sum over all deliberations, in milliseconds for each.
    pub(crate) fn each_ms(&self, sum: Duration) -> f64 {
        sum.as_secs_f64() * 1e3 / self.wholes.count().max(1) as f64
    }
}

/// Latencies, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The latency that this share of them does not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let place = (share * self.0.len() as f64).ceil() as usize;
        let latency = self
            .0
            .get(place.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        latency.as_secs_f64() * 1e3
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Latencies", 4)?;
        fields.serialize_field("count", &self.count())?;
        for (name, share) in [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
            fields.serialize_field(name, &self.percentile_ms(share))?;
        }
        fields.end()
    }
}
