//! Streams and subjects of one host's work on one cluster, as `deploy/ray/PROTOCOL.md` has them.

use super::host_id::HostId;
use super::settings::Queue;

/// What is called how.
#[derive(Debug)]
pub(super) struct Names {
    cluster: String,
    host: HostId,
}

impl Names {
    pub(super) fn new(cluster: &str, host: &HostId) -> Self {
        Self {
            cluster: cluster.to_owned(),
            host: host.clone(),
        }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn work_stream(&self) -> String {
        format!("CONCLAVE_WORK_{}", self.cluster)
    }

    pub(super) fn results_stream(&self) -> String {
        format!("CONCLAVE_RESULTS_{}", self.cluster)
    }

    pub(super) fn dead_stream(&self) -> String {
        format!("CONCLAVE_DEAD_{}", self.cluster)
    }

    /// All work of the cluster, in all queues and of all hosts; likewise the following two.
    pub(super) fn all_work(&self) -> String {
        format!("conclave.work.{}.>", self.cluster)
    }

    pub(super) fn all_results(&self) -> String {
        format!("conclave.result.{}.>", self.cluster)
    }

    pub(super) fn all_dead(&self) -> String {
        format!("conclave.dead.{}.>", self.cluster)
    }

    pub(super) fn work(&self, queue: &Queue, id: &str) -> String {
        format!("conclave.work.{}.{queue}.{}.{id}", self.cluster, self.host)
    }

    /// Work of this id in whatever queue.
    pub(super) fn work_anywhere(&self, id: &str) -> String {
        format!("conclave.work.{}.*.{}.{id}", self.cluster, self.host)
    }

    /// All work of this host, in all queues.
    pub(super) fn own_work(&self) -> String {
        format!("conclave.work.{}.*.{}.>", self.cluster, self.host)
    }

    pub(super) fn result(&self, id: &str) -> String {
        format!("conclave.result.{}.{}.{id}", self.cluster, self.host)
    }

    /// What executors tell this host of its work. One subscription to all of it keeps what they tell
    /// in its order: a result comes after the progress that led to it.
    pub(super) fn told(&self) -> String {
        format!("conclave.*.{}.{}.*", self.cluster, self.host)
    }

    pub(super) fn cancel(&self) -> String {
        format!("conclave.cancel.{}", self.cluster)
    }

    pub(super) fn ask(&self) -> String {
        format!("conclave.ask.{}", self.cluster)
    }

    pub(super) fn heartbeat(&self) -> String {
        format!("conclave.heartbeat.{}", self.cluster)
    }
}

/// What a message of [`Names::told`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// The work of this id comes along.
    Progress(&'a str),
    /// It has ended.
    Result(&'a str),
}

impl<'a> Told<'a> {
    /// Reads a subject; `None` for what is of no interest.
    pub(super) fn of(subject: &'a str) -> Option<Self> {
        let mut parts = subject.split('.').skip(1);
        let kind = parts.next()?;
        let id = parts.nth(2)?;
        match kind {
            "progress" => Some(Self::Progress(id)),
            "result" => Some(Self::Result(id)),
            _ => None,
        }
    }
}

/// The queue in the subject of work.
pub(super) fn queue_of(subject: &str) -> Option<Queue> {
    subject.split('.').nth(3).and_then(Queue::parse)
}

/// The id in the subject of work.
pub(super) fn id_of(subject: &str) -> Option<&str> {
    subject.split('.').nth(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_as_the_protocol_has_them() {
        let host = HostId::generate().unwrap();
        let names = Names::new("east", &host);
        assert_eq!(
            names.work(&Queue::pool(), "W"),
            format!("conclave.work.east.pool.{host}.W")
        );
        assert_eq!(
            queue_of(&names.work(&Queue::wave("7").unwrap(), "W")),
            Queue::wave("7")
        );
        assert_eq!(id_of(&names.work(&Queue::pool(), "W")), Some("W"));
        let result = names.result("W");
        assert_eq!(result, format!("conclave.result.east.{host}.W"));
        assert_eq!(Told::of(&result), Some(Told::Result("W")));
        let progress = result.replace("result", "progress");
        assert_eq!(Told::of(&progress), Some(Told::Progress("W")));
        assert_eq!(Told::of(&result.replace("result", "dead")), None);
        assert_eq!(Told::of("conclave.result.east"), None);
    }
}
