//! Which stream keeps the events of a subject, and the making of those that are missing.
//!
//! JetStream never answers a publication to a subject that no stream covers, so that must be known
//! before. Streams of one account must not overlap: one is made only when none touches its subjects.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamByNameErrorKind};
use async_nats::jetstream::stream::Config;
use conclave_core::events::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Settings, unavailable};

/// A stream that existing deployments have, or that is made in their manner.
#[derive(Debug)]
struct Plan {
    name: &'static str,
    subjects: &'static str,
    age_max: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);

const PLANS: [Plan; 3] = [
    Plan {
        name: "AGENT_RESPONSES",
        subjects: "agent.response.>",
        age_max: HOUR,
    },
    Plan {
        name: "ORCHESTRATOR_EVENTS",
        subjects: "orchestration.>",
        age_max: HOUR.saturating_mul(7 * 24),
    },
    Plan {
        name: "RAY_DELIBERATIONS",
        subjects: "ray.deliberation.>",
        age_max: HOUR.saturating_mul(7 * 24),
    },
];

/// Progress is for those who look on: who comes an hour later wants the result. The tokens of generations on
/// clusters, whose subjects are longer, are not kept.
const PROGRESS: Plan = Plan {
    name: "CONCLAVE_PROGRESS",
    subjects: "conclave.progress.*",
    age_max: HOUR,
};

/// How long a subject counts as uncovered before it is looked up again: an operator may have made a
/// stream.
const UNCOVERED_FOR: Duration = Duration::from_secs(30);

/// Subjects that are remembered: a plugin chooses the last part of some.
const SUBJECTS_MAX: usize = 1_024;

/// Whether a subject's events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// By a stream.
    Stream,
    /// By none.
    None {
        /// Why.
        reason: &'static str,
    },
}

#[derive(Debug)]
pub(super) struct Streams {
    create: bool,
    plans: Vec<Plan>,
    answer_timeout: Duration,
    /// Held while a subject is looked up, so that each is once and no stream is made twice.
    known: Mutex<HashMap<String, (Coverage, Instant)>>,
}

impl Streams {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            create: settings.create_streams,
            plans: PLANS
                .into_iter()
                .chain(settings.progress.then_some(PROGRESS))
                .collect(),
            answer_timeout: settings.ack_timeout,
            known: Mutex::default(),
        }
    }

    /// Whether a stream covers the subject, made for it if need be.
    pub(super) async fn coverage(
        &self,
        jetstream: &Context,
        subject: &str,
    ) -> Result<Coverage, Error> {
        let mut known = self.known.lock().await;
        match known.get(subject) {
            Some((Coverage::Stream, _)) => return Ok(Coverage::Stream),
            Some((none, since)) if since.elapsed() < UNCOVERED_FOR => return Ok(*none),
            _ => {}
        }
        let coverage = self.look_up(jetstream, subject).await?;
        if known.len() >= SUBJECTS_MAX {
            known.clear();
        }
        known.insert(subject.to_owned(), (coverage, Instant::now()));
        Ok(coverage)
    }

    /// Looks the subject up again at its next event.
    pub(super) async fn forget(&self, subject: &str) {
        self.known.lock().await.remove(subject);
    }

    async fn look_up(&self, jetstream: &Context, subject: &str) -> Result<Coverage, Error> {
        if let Some(stream) = self.covering(jetstream, subject).await? {
            if stream == PROGRESS.name {
                narrow(jetstream).await;
            }
            return Ok(Coverage::Stream);
        }
        let none = |reason| Ok(Coverage::None { reason });
        if !self.create {
            return none("`events.create_streams` is off");
        }
        let covers = |plan: &&Plan| {
            let prefix = plan.subjects.trim_end_matches(['>', '*']);
            subject.starts_with(prefix)
        };
        let Some(plan) = self.plans.iter().find(covers) else {
            return none("no stream is planned for it");
        };
        if self.covering(jetstream, plan.subjects).await?.is_some() {
            return none("a stream covers a part of the subjects that belong together");
        }
        match self.make(jetstream, plan).await? {
            true => Ok(Coverage::Stream),
            false => none("the server does not let a stream be made for it"),
        }
    }

    /// A stream that touches these subjects, by its name.
    async fn covering(&self, jetstream: &Context, subjects: &str) -> Result<Option<String>, Error> {
        let found = timeout(self.answer_timeout, jetstream.stream_by_subject(subjects)).await;
        match found.map_err(unavailable)? {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Makes a stream; whether the server took it.
    async fn make(&self, jetstream: &Context, plan: &Plan) -> Result<bool, Error> {
        let config = Config {
            name: plan.name.to_owned(),
            subjects: vec![plan.subjects.to_owned()],
            max_age: plan.age_max,
            ..Config::default()
        };
        let made = timeout(self.answer_timeout, jetstream.create_stream(config)).await;
        let Err(error) = made.map_err(unavailable)? else {
            tracing::info!(
                stream = plan.name,
                subjects = plan.subjects,
                "a stream was made"
            );
            return Ok(true);
        };
        match error.kind() {
            CreateStreamErrorKind::JetStream(answer) if answer.code() < 500 => {
                tracing::warn!(
                    stream = plan.name,
                    subjects = plan.subjects,
                    error = %answer,
                    "a stream could not be made"
                );
                Ok(false)
            }
            _ => Err(unavailable(error)),
        }
    }
}

/// Takes the tokens of generations on clusters out of the stream of progress, if an earlier version of the
/// host has made it: it took all that begins alike.
async fn narrow(jetstream: &Context) {
    const BEFORE: &str = "conclave.progress.>";
    let Ok(stream) = jetstream.get_stream(PROGRESS.name).await else {
        return;
    };
    let mut config = stream.cached_info().config.clone();
    if config.subjects != [BEFORE] {
        return;
    }
    config.subjects = vec![PROGRESS.subjects.to_owned()];
    if let Err(error) = jetstream.update_stream(config).await {
        tracing::warn!(
            stream = PROGRESS.name,
            %error,
            "a stream keeps the tokens of generations on clusters, too"
        );
    }
}
