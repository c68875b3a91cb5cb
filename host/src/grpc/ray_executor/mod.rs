//! Both `RayExecutorService` packages: what they have in common, which is all but a few messages.

mod answer;
mod fleet_v1;
mod request;
mod v1;

use conclave_core::chain::Chain;
use std::sync::Arc;

use conclave_core::ids::DeliberationId;
use conclave_core::submit::{Receipt, Submission};
use conclave_core::{follow, journal};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use self::answer::job;
pub(super) use self::fleet_v1::FleetV1;
use self::request::{ModelRule, draft};
pub(super) use self::v1::V1;
use super::call::Call;
use super::headers::Headers;
use super::health::Health;
use super::pb::ray_executor::v1::{
    ExecuteDeliberationRequest, ExecutionStats, GetActiveJobsResponse,
    GetDeliberationStatusResponse,
};
use super::status::Refusal;
use super::{Host, Readiness};

/// The status of a submit.
const SUBMITTED: &str = "submitted";
/// What a submit says to people. Clients compare it.
const SUBMITTED_MESSAGE: &str = "Deliberation submitted to Ray cluster";

/// Serves the calls of both packages.
#[derive(Clone, Debug)]
pub(super) struct RayExecutor {
    host: Host,
    readiness: Readiness,
    started: Instant,
}

/// What `GetStatus` says.
#[derive(Debug)]
struct HostStatus {
    health: Health,
    stats: Option<ExecutionStats>,
    uptime_seconds: i64,
}

impl RayExecutor {
    /// Serves with this host.
    pub(super) fn new(host: Host, readiness: Readiness) -> Arc<Self> {
        Arc::new(Self {
            host,
            readiness,
            started: Instant::now(),
        })
    }

    /// Accepts a deliberation; `method` is where an `idempotency-key` is unique.
    async fn execute(
        &self,
        method: &'static str,
        call: &Call,
        request: ExecuteDeliberationRequest,
        metadata: &MetadataMap,
        models: ModelRule,
    ) -> Result<Receipt, Refusal> {
        let mut headers = Headers::read(metadata)?;
        let idempotency = headers.idempotency_key.take().map(|key| (method, key));
        let traceparent = headers.traceparent.take();
        let tracestate = headers.tracestate.take();
        let draft = draft(request, headers, models)?;
        self.readiness.check()?;
        let submission = Submission {
            draft,
            idempotency,
            tenant: call.caller.tenant.clone(),
            traceparent,
            tracestate,
        };
        let receipt = self.host.submit.submit(submission).await?;
        call.concerns(&receipt.id);
        Ok(receipt)
    }

    /// How a deliberation stands; an unknown id is `not_found`.
    async fn poll(&self, call: &Call, id: &str) -> Result<GetDeliberationStatusResponse, Refusal> {
        let follow = self.host.follow.of(&call.caller.tenant);
        match follow.get(&DeliberationId::new(id)).await {
            Ok(view) => Ok(answer::status(&view)),
            Err(follow::Error::Journal(error @ journal::Error::NotFound(_))) => {
                Ok(answer::not_found(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How the host stands. Statistics are of all tenants: who may not see those gets none. Those that cannot be read are left out and degrade it: a question
    /// after its health is answered even then.
    async fn host_status(&self, call: &Call, include_stats: bool) -> HostStatus {
        let mut health = (self.host.health)().await;
        if !self.readiness.is_ready() {
            health = Health::Unhealthy;
        }
        let mut stats = None;
        if include_stats && call.sees_totals {
            match self.host.follow.totals().await {
                Ok(totals) => stats = Some(answer::stats(&totals)),
                Err(error) => {
                    tracing::warn!(
                        error = %Chain(&error),
                        "statistics cannot be read"
                    );
                    health = health.max(Health::Degraded);
                }
            }
        }
        HostStatus {
            health,
            stats,
            uptime_seconds: i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// What runs of the caller's.
    fn active_jobs(&self, call: &Call) -> GetActiveJobsResponse {
        let now_ms = self.host.clock.unix_ms();
        let active = self.host.follow.of(&call.caller.tenant).active();
        let jobs = active
            .iter()
            .filter_map(|(id, handle)| job(id, handle, now_ms));
        GetActiveJobsResponse {
            jobs: jobs.collect(),
        }
    }
}
