//! What an operator decides about work on clusters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::endpoint::AllowedOrigins;

/// How work reaches the clusters.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clusters that work may be handed to.
    pub clusters: Vec<ClusterSettings>,
    /// Whose origins clients may name: work for others runs only if the host chose the server by itself.
    pub allowed: AllowedOrigins,
    /// What executors keep when they call a model server.
    pub bounds: Bounds,
    /// How long NATS may take to answer.
    pub ack_timeout: Duration,
    /// How long a generation waits for NATS, and for the streams, before it fails.
    pub ready_timeout: Duration,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name in the configuration: 1 to 40 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// How much work may wait for executors, over all hosts.
    pub queue_max: u32,
    /// How much executors run at a time; it is in their queue until it has ended.
    pub running_max: u32,
    /// After how long without a sign of life from its executor work is delivered again.
    pub ack_wait: Duration,
    /// After how long without a sign of life from any executor the work that none has started fails.
    pub silence_queued: Duration,
    /// The same for work that was started; longer, so that redelivery has its chance.
    pub silence_running: Duration,
}

impl ClusterSettings {
    /// How much work may be queued or running.
    pub(super) fn depth_max(&self) -> u32 {
        self.queue_max.saturating_add(self.running_max)
    }

    /// A cluster of this name with what fits most.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            queue_max: 10_000,
            running_max: 0,
            ack_wait: Duration::from_secs(10),
            silence_queued: Duration::from_secs(10),
            silence_running: Duration::from_secs(60),
        }
    }
}

/// What an executor keeps when it calls a model server, as the host itself does in the mode `direct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a server may be silent before the first byte of its answer.
    pub first_byte_timeout: Duration,
    /// How long a server may be silent between two pieces of its answer.
    pub idle_timeout: Duration,
    /// How large an answer may be, as bytes on the wire.
    pub answer_bytes_max: usize,
}

impl From<&crate::openai::Settings> for Bounds {
    fn from(settings: &crate::openai::Settings) -> Self {
        Self {
            connect_timeout: settings.connect_timeout,
            first_byte_timeout: settings.first_byte_timeout,
            idle_timeout: settings.idle_timeout,
            answer_bytes_max: settings.answer_bytes_max,
        }
    }
}

/// Why the pool does not start.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The name does not fit into a subject.
    #[error("the cluster name `{0}` must be 1 to 40 of `a-z`, `0-9` and `-`")]
    Name(String),
    /// Two clusters share a name.
    #[error("there are two clusters named `{0}`")]
    Twice(String),
    /// The client does not take a subscription.
    #[error("NATS does not take a subscription")]
    Subscribe(#[source] async_nats::SubscribeError),
}

/// A queue of a cluster: which executors take the work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue(Arc<str>);

impl Queue {
    const POOL: &str = "pool";
    const CHARS_MAX: usize = 128;

    /// The queue of the long-lived executors.
    #[must_use]
    pub fn pool() -> Self {
        Self(Self::POOL.into())
    }

    /// The queue of one job's wave, `wave-NAME`; `None` unless the name is of `A-Za-z0-9_-`, with
    /// `wave-` up to 128 characters.
    #[must_use]
    pub fn wave(name: &str) -> Option<Self> {
        Self::parse(&format!("wave-{name}")).filter(|_| !name.is_empty())
    }

    /// The queue that a subject names.
    pub(super) fn parse(text: &str) -> Option<Self> {
        (text.len() <= Self::CHARS_MAX && is_token(text)).then(|| Self(text.into()))
    }

    /// Whether it is the one of the long-lived executors.
    pub(super) fn is_pool(&self) -> bool {
        &*self.0 == Self::POOL
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is one part of a subject.
pub(super) fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.bytes().all(fits)
}

/// Whether a cluster may be called so.
pub(super) fn is_cluster_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_one_part_of_a_subject() {
        assert_eq!(Queue::wave("d-1_2").unwrap().as_str(), "wave-d-1_2");
        let long = "x".repeat(124);
        for name in ["", "a.b", "a b", "*", ">", "é", &long] {
            assert_eq!(Queue::wave(name), None, "{name}");
        }
        assert!(Queue::pool().is_pool() && !Queue::wave("pool").unwrap().is_pool());
    }

    #[test]
    fn cluster_names_fit_into_subjects_and_streams() {
        let long = "x".repeat(41);
        for name in ["", "A", "a.b", "a_b", &long] {
            assert!(!is_cluster_name(name), "{name}");
        }
        assert!(is_cluster_name("gpu-east-1"));
    }
}
