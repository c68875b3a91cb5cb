//! The service of the package `conclave.v1`.

mod channels;
mod clusters;
mod deliberation;
mod event;
mod list;
mod pages;
mod pieces;
mod plugin_history;
mod plugins;
mod records;
mod request;
mod uploads;
mod watch;

use std::sync::Arc;

use conclave_core::follow::FollowDeliberation;
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::registry;
use conclave_core::submit::Submission;
use tokio::sync::Semaphore;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use self::deliberation::{deliberation, with_open};
use self::event::Narrator;
use super::call::Call;
use super::fields::Api;
use super::headers::{Headers, check_key};
use super::pb::conclave::v1 as pb;
use super::pb::conclave::v1::deliberations_server::Deliberations;
use super::status::{Refusal, status};
use super::wire::parse_duration;
use super::{Host, Readiness};

/// Where a request id is unique.
const CREATE: &str = "conclave.v1.Deliberations/CreateDeliberation";

/// Serves the package.
#[derive(Clone, Debug)]
pub(super) struct ConclaveV1 {
    /// What it serves with.
    pub(super) host: Host,
    /// Whether the host takes new work.
    pub(super) readiness: Readiness,
    /// Places for components that arrive.
    uploads: Arc<Semaphore>,
}

impl ConclaveV1 {
    /// Serves it for this host.
    pub(super) fn new(host: Host, readiness: Readiness) -> Self {
        let uploads = Arc::new(Semaphore::new(uploads::UPLOADS_MAX));
        Self {
            host,
            readiness,
            uploads,
        }
    }

    /// Does what must not be left half done, to its end, even when the client goes away meanwhile.
    async fn whole<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let changed = self.host.tasks.spawn("steer", change).await;
        changed.map_err(|error| registry::Error::Unavailable(error.into()))?
    }
}

#[tonic::async_trait]
impl Deliberations for ConclaveV1 {
    type WatchDeliberationStream = BoxStream<pb::DeliberationEvent>;

    async fn create_deliberation(
        &self,
        request: Request<pb::CreateDeliberationRequest>,
    ) -> Result<Response<pb::Deliberation>, Status> {
        answered(self.create(request).await)
    }

    async fn get_deliberation(
        &self,
        request: Request<pb::GetDeliberationRequest>,
    ) -> Result<Response<pb::Deliberation>, Status> {
        answered(self.get(request).await)
    }

    async fn list_deliberations(
        &self,
        request: Request<pb::ListDeliberationsRequest>,
    ) -> Result<Response<pb::ListDeliberationsResponse>, Status> {
        answered(self.list(request).await)
    }

    async fn watch_deliberation(
        &self,
        request: Request<pb::WatchDeliberationRequest>,
    ) -> Result<Response<Self::WatchDeliberationStream>, Status> {
        answered(self.watch(request).await)
    }

    async fn wait_deliberation(
        &self,
        request: Request<pb::WaitDeliberationRequest>,
    ) -> Result<Response<pb::Deliberation>, Status> {
        answered(self.wait(request).await)
    }

    async fn cancel_deliberation(
        &self,
        request: Request<pb::CancelDeliberationRequest>,
    ) -> Result<Response<pb::Deliberation>, Status> {
        answered(self.cancel(request).await)
    }
}

fn answered<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    match result {
        Ok(answer) => Ok(Response::new(answer)),
        Err(refusal) => Err(status(&refusal, Api::ConclaveV1)),
    }
}

impl ConclaveV1 {
    /// What the caller may see.
    fn follow(&self, call: &Call) -> FollowDeliberation {
        self.host.follow.of(&call.caller.tenant)
    }

    async fn create(
        &self,
        request: Request<pb::CreateDeliberationRequest>,
    ) -> Result<pb::Deliberation, Refusal> {
        let call = Call::of(&request);
        let (metadata, _, request) = request.into_parts();
        let mut headers = Headers::read(&metadata)?;
        let key = match request.request_id.as_str() {
            "" => headers.idempotency_key.take(),
            id => Some(check_key("request_id", id)?),
        };
        let Some(asked) = request.deliberation else {
            return Err(Refusal::field("deliberation", "deliberation must be given"));
        };
        let draft = request::draft(asked, headers.correlation_id)?;
        self.readiness.check()?;
        let submission = Submission {
            draft,
            idempotency: key.map(|key| (CREATE, key)),
            tenant: call.caller.tenant.clone(),
            traceparent: headers.traceparent,
            tracestate: headers.tracestate,
        };
        let receipt = self.host.submit.submit(submission).await?;
        call.concerns(&receipt.id);
        let follow = self.follow(&call);
        match follow.accepted(&receipt.id) {
            Some(view) if !receipt.repeated => Ok(deliberation(&view)),
            _ => self.as_it_is(&follow, &receipt.id).await,
        }
    }

    async fn get(
        &self,
        request: Request<pb::GetDeliberationRequest>,
    ) -> Result<pb::Deliberation, Refusal> {
        let follow = self.follow(&Call::of(&request));
        let id = request::id(&request.get_ref().name)?;
        self.as_it_is(&follow, &id).await
    }

    async fn watch(
        &self,
        request: Request<pb::WatchDeliberationRequest>,
    ) -> Result<BoxStream<pb::DeliberationEvent>, Refusal> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let id = request::id(&request.name)?;
        let Ok(after) = u64::try_from(request.after_sequence) else {
            let message = format!(
                "after_sequence is {}, it must not be negative",
                request.after_sequence
            );
            return Err(Refusal::field("after_sequence", message));
        };
        let follow = self.follow(&call);
        follow.has_reached(&id, Seq(after)).await?;
        // From the start, whatever has been seen: what comes later refers to it.
        let watcher = follow.watch(&id, Seq::START).await?;
        let narrator = Narrator::new(Seq(after), self.host.clock.clone());
        Ok(watch::events(watcher, narrator, call))
    }

    async fn wait(
        &self,
        request: Request<pb::WaitDeliberationRequest>,
    ) -> Result<pb::Deliberation, Refusal> {
        let follow = self.follow(&Call::of(&request));
        let request = request.into_inner();
        let id = request::id(&request.name)?;
        let outcome = follow.wait(&id);
        let Some(timeout) = request.timeout else {
            return Ok(deliberation(&outcome.await?));
        };
        let timeout = parse_duration("timeout", timeout)?;
        match tokio::time::timeout(timeout, outcome).await {
            Ok(view) => Ok(deliberation(&view?)),
            Err(_) => self.as_it_is(&follow, &id).await,
        }
    }

    async fn cancel(
        &self,
        request: Request<pb::CancelDeliberationRequest>,
    ) -> Result<pb::Deliberation, Refusal> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let id = request::id(&request.name)?;
        call.concerns(&id);
        let reason = request::reason(request.reason)?;
        let follow = self.follow(&call);
        Ok(deliberation(&follow.cancel(&id, reason).await?))
    }

    async fn as_it_is(
        &self,
        follow: &FollowDeliberation,
        id: &DeliberationId,
    ) -> Result<pb::Deliberation, Refusal> {
        Ok(with_open(&follow.get(id).await?, &self.host.live))
    }
}
