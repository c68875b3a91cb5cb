//! Accepts a deliberation: checks it, pins its plugins, journals it, and starts it.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::Asking;
use crate::clock::Clock;
use crate::entry::{Accepted, Entry, Record, SEMANTICS_VERSION, digest_of};
use crate::ids::{DeliberationId, Seq, Tenant};
use crate::journal::{self, Creation, IdempotencyKey, Journal};
use crate::limits::Limits;
use crate::plugin::{self, Assigned, Kind, Plugin, Plugins};
use crate::request::{self, DeliberationRequest, Draft, Policy};
use crate::run::{Full, RunDeliberation};
use crate::task_type::TaskType;

/// What every accepted deliberation is given by the operator.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What requests may ask for.
    pub policy: Policy,
    /// The metadata keys that may reach a prompt.
    pub metadata_allowed: Vec<String>,
    /// What a deliberation may use.
    pub limits: Limits,
}

/// Says whether there is anything to run a request on.
pub trait Capacity: Send + Sync {
    /// Looks at what is known, and asks nobody.
    ///
    /// # Errors
    /// Why the request would wait in vain.
    fn check(&self, request: &DeliberationRequest) -> Result<(), NoCapacity>;
}

/// Why a request would wait in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCapacity {
    /// Every server that it could go to is busy, and as many generations wait as may.
    #[error("every server of the request's models is busy, and their queue is full")]
    Full {
        /// When there is likely to be room again.
        retry_after: Duration,
    },
    /// What it could go to was stopped, or does not answer.
    #[error("the request would wait for what is down: {reason}")]
    Down {
        /// What is down, and why.
        reason: String,
        /// When it may be up again.
        retry_after: Duration,
    },
}

/// Accepts deliberations.
pub struct SubmitDeliberation {
    journal: Arc<dyn Journal>,
    plugins: Arc<dyn Plugins>,
    run: Arc<RunDeliberation>,
    clock: Clock,
    terms: Terms,
    capacity: Option<Arc<dyn Capacity>>,
}

/// What a client submits.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The request.
    pub draft: Draft,
    /// A scope, and a key of the client's that is unique in it for its tenant: the same pair is the same
    /// deliberation.
    pub idempotency: Option<(&'static str, String)>,
    /// Whose it is.
    pub tenant: Tenant,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// W3C trace state that came with it.
    pub tracestate: Option<String>,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The deliberation.
    pub id: DeliberationId,
    /// Whether an earlier submit with the same key had already made it.
    pub repeated: bool,
}

impl Receipt {
    fn repeated(id: DeliberationId) -> Self {
        Self { id, repeated: true }
    }
}

/// Why nothing was accepted. Nothing was recorded then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks rules.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// A plugin that it names is not there.
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    /// The key stands for another request.
    #[error("the key `{key}` already stands for `{id}`, whose request differs in: {}", .differences.join(", "))]
    Conflict {
        /// The client's key.
        key: String,
        /// The deliberation that it stands for.
        id: DeliberationId,
        /// The fields in which the requests differ.
        differences: Vec<&'static str>,
    },
    /// The host is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// There is nothing to run it on.
    #[error(transparent)]
    NoCapacity(#[from] NoCapacity),
    /// The journal did not take it.
    #[error("the deliberation could not be journaled")]
    Journal(#[from] journal::Error),
}

impl SubmitDeliberation {
    /// Submits into this journal, with plugins from there.
    #[must_use]
    pub fn new(
        journal: Arc<dyn Journal>,
        plugins: Arc<dyn Plugins>,
        run: Arc<RunDeliberation>,
        clock: Clock,
        terms: Terms,
    ) -> Self {
        Self {
            journal,
            plugins,
            run,
            clock,
            terms,
            capacity: None,
        }
    }

    /// Refuses what it says cannot run.
    #[must_use]
    pub fn bounded_by(mut self, capacity: Arc<dyn Capacity>) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Accepts a deliberation. When this has returned, it is durable and on its way. Dropping the
    /// future may or may not accept it: submit again with the same key to learn which.
    ///
    /// # Errors
    /// See [`Error`]; a refused submit records nothing.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        let fingerprint = submission.draft.fingerprint();
        let tenant = submission.tenant;
        let key = submission.idempotency.map(|(scope, key)| IdempotencyKey {
            scope: scope_of(&tenant, scope),
            key,
            fingerprint,
        });
        // Before anything can refuse it: what was accepted once is not refused again.
        if let Some(key) = &key
            && let Some(existing) = self.journal.find(key).await?
        {
            if existing.fingerprint == fingerprint {
                return Ok(Receipt::repeated(existing.id));
            }
            let request = submission.draft.parse(&self.terms.policy)?;
            return self.compare(existing.id, &key.key, &request).await;
        }
        let request = submission.draft.parse(&self.terms.policy)?;
        if let Some(capacity) = &self.capacity {
            capacity.check(&request)?;
        }
        let id = DeliberationId::generate();
        let (strategy, scorer) = self.assign(&id, &tenant, &request).await?;
        let place = self.run.place()?;
        let accepted = Accepted {
            id: id.clone(),
            request: request.clone(),
            strategy: strategy.plugin.reference.clone(),
            scorer: scorer.plugin.reference.clone(),
            strategy_draw: strategy.draw,
            scorer_draw: scorer.draw,
            metadata_allowed: self.terms.metadata_allowed.clone(),
            limits: self.terms.limits,
            seed: seed(&id),
            accepted_at_ms: self.clock.unix_ms(),
            semantics: SEMANTICS_VERSION,
            tenant,
            traceparent: submission.traceparent,
            tracestate: submission.tracestate,
        };
        let record = Arc::new(Record {
            seq: Seq::START.next(),
            at_ms: 0,
            entry: Entry::Accepted(Box::new(accepted)),
        });
        let created = self.run.accept(&id, record, key.clone(), place).await?;
        match (created, key) {
            (Creation::Existing(existing), Some(key)) if existing.fingerprint != fingerprint => {
                self.compare(existing.id, &key.key, &request).await
            }
            (Creation::Existing(existing), _) => Ok(Receipt::repeated(existing.id)),
            (Creation::New, _) => Ok(Receipt {
                id,
                repeated: false,
            }),
        }
    }

    /// The components that the request stands for now, if its params fit them.
    async fn assign(
        &self,
        id: &DeliberationId,
        tenant: &Tenant,
        request: &DeliberationRequest,
    ) -> Result<(Assigned, Assigned), Error> {
        let task = &request.task;
        let asking = Asking {
            id,
            role: &task.role,
            task_type: TaskType::of(&task.id, &task.metadata),
            labels: &request.labels,
            tenant,
        };
        let assign = |kind, choice| self.plugins.assign(kind, choice, &asking);
        let strategy = assign(Kind::Strategy, &request.strategy).await?;
        let scorer = assign(Kind::Scorer, &request.scorer).await?;
        let check = |plugin: &Plugin, field, params| plugin.params.violations(field, params);
        let params = &request.strategy_params;
        let mut violations = check(&strategy.plugin, "strategy_params", params);
        let params = &request.scorer_params;
        violations.extend(check(&scorer.plugin, "scorer_params", params));
        if violations.is_empty() {
            Ok((strategy, scorer))
        } else {
            Err(request::Error::Invalid(violations).into())
        }
    }

    /// Compares with the request that the key already stands for: what one of them says and the
    /// other leaves to the host's defaults is no difference.
    async fn compare(
        &self,
        id: DeliberationId,
        key: &str,
        request: &DeliberationRequest,
    ) -> Result<Receipt, Error> {
        let records = self.journal.read(&id, Seq::START).await?;
        let differences = match records.first().map(|record| &record.entry) {
            Some(Entry::Accepted(accepted)) => accepted.request.differences(request),
            _ => Vec::new(),
        };
        if differences.is_empty() {
            return Ok(Receipt::repeated(id));
        }
        Err(Error::Conflict {
            key: key.to_owned(),
            id,
            differences,
        })
    }
}

/// Where a tenant's keys are unique. The default tenant's scopes are those of hosts that had no
/// tenants; a tenant's name has no colon, and no scope begins with one.
fn scope_of(tenant: &Tenant, scope: &str) -> String {
    if tenant.is_default() {
        return scope.to_owned();
    }
    format!("{tenant}:{scope}")
}

/// A seed that no other deliberation has: drawn from its id.
fn seed(id: &DeliberationId) -> u64 {
    let digest = digest_of(id).to_string();
    u64::from_str_radix(&digest[..16], 16).expect("a digest is hexadecimal")
}

impl std::fmt::Debug for SubmitDeliberation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubmitDeliberation").finish_non_exhaustive()
    }
}
