//! The service of the package `fleet.ray_executor.v1`.

use std::sync::Arc;

use conclave_core::submit::Receipt;
use tonic::{Request, Response, Status};

use super::request::{ModelRule, backlog_review};
use super::{RayExecutor, SUBMITTED, SUBMITTED_MESSAGE};
use crate::grpc::call::Call;
use crate::grpc::fields::Api;
use crate::grpc::pb::fleet::ray_executor::v1::ray_executor_service_server::RayExecutorService;
use crate::grpc::pb::fleet::ray_executor::v1::{
    ExecuteBacklogReviewDeliberationRequest, ExecuteDeliberationResponse, GetStatusResponse,
};
use crate::grpc::pb::ray_executor::v1::{
    ExecuteDeliberationRequest, GetActiveJobsRequest, GetActiveJobsResponse,
    GetDeliberationStatusRequest, GetDeliberationStatusResponse, GetStatusRequest,
};
use crate::grpc::server::ResponseShape;
use crate::grpc::status::status;

const EXECUTE: &str = "fleet.ray_executor.v1.RayExecutorService/ExecuteDeliberation";
const EXECUTE_BACKLOG_REVIEW: &str =
    "fleet.ray_executor.v1.RayExecutorService/ExecuteBacklogReviewDeliberation";

/// Serves the package.
#[derive(Debug)]
pub(in crate::grpc) struct FleetV1 {
    /// What both packages have in common.
    pub(in crate::grpc) common: Arc<RayExecutor>,
    /// How a submit is answered.
    pub(in crate::grpc) shape: ResponseShape,
}

#[tonic::async_trait]
impl RayExecutorService for FleetV1 {
    async fn execute_deliberation(
        &self,
        request: Request<ExecuteDeliberationRequest>,
    ) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        let call = Call::of(&request);
        let (metadata, _, request) = request.into_parts();
        let task_id = request.task_id.clone();
        let receipt = self
            .common
            .execute(EXECUTE, &call, request, &metadata, ModelRule::Required)
            .await;
        let receipt = receipt.map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        Ok(Response::new(submitted(self.shape, task_id, &receipt)))
    }

    async fn execute_backlog_review_deliberation(
        &self,
        request: Request<ExecuteBacklogReviewDeliberationRequest>,
    ) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        let call = Call::of(&request);
        let (metadata, _, request) = request.into_parts();
        let task_id = request.task_id.clone();
        let request =
            backlog_review(request).map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        let receipt = self
            .common
            .execute(
                EXECUTE_BACKLOG_REVIEW,
                &call,
                request,
                &metadata,
                ModelRule::Required,
            )
            .await;
        let receipt = receipt.map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        Ok(Response::new(submitted(self.shape, task_id, &receipt)))
    }

    async fn get_deliberation_status(
        &self,
        request: Request<GetDeliberationStatusRequest>,
    ) -> Result<Response<GetDeliberationStatusResponse>, Status> {
        let call = Call::of(&request);
        let polled = self
            .common
            .poll(&call, &request.get_ref().deliberation_id)
            .await;
        let polled = polled.map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        Ok(Response::new(polled))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let call = Call::of(&request);
        let told = self
            .common
            .host_status(&call, request.get_ref().include_stats)
            .await;
        Ok(Response::new(GetStatusResponse {
            status: told.health.as_str().to_owned(),
            uptime_seconds: told.uptime_seconds,
            stats: told.stats,
        }))
    }

    async fn get_active_jobs(
        &self,
        request: Request<GetActiveJobsRequest>,
    ) -> Result<Response<GetActiveJobsResponse>, Status> {
        Ok(Response::new(self.common.active_jobs(&Call::of(&request))))
    }
}

/// The answer to a submit. Both shapes are texts in the fields 1, 2, …, so that the older one is the
/// newer one's message with other texts in its fields.
fn submitted(
    shape: ResponseShape,
    task_id: String,
    receipt: &Receipt,
) -> ExecuteDeliberationResponse {
    let deliberation_id = receipt.id.to_string();
    let (status, message) = (SUBMITTED.to_owned(), SUBMITTED_MESSAGE.to_owned());
    let [first, second, third, fourth] = match shape {
        ResponseShape::Newer => [task_id, deliberation_id, status, message],
        ResponseShape::Older => [deliberation_id, status, message, String::new()],
    };
    ExecuteDeliberationResponse {
        task_id: first,
        deliberation_id: second,
        status: third,
        message: fourth,
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::DeliberationId;
    use prost::Message as _;

    use super::*;
    use crate::grpc::pb::ray_executor::v1 as documented;

    #[test]
    fn the_older_shape_reads_as_id_status_and_message() {
        let receipt = Receipt {
            id: DeliberationId::new("deliberation-1"),
            repeated: false,
        };
        let answer = submitted(ResponseShape::Older, "t-1".to_owned(), &receipt);
        // The documented package has the numbers that the older clients of this one expect.
        let read =
            documented::ExecuteDeliberationResponse::decode(answer.encode_to_vec().as_slice())
                .unwrap();
        assert_eq!(read.deliberation_id, "deliberation-1");
        assert_eq!(
            (read.status.as_str(), read.message.as_str()),
            (SUBMITTED, SUBMITTED_MESSAGE)
        );
        let newer = submitted(ResponseShape::Newer, "t-1".to_owned(), &receipt);
        assert_eq!(
            (newer.task_id.as_str(), newer.deliberation_id.as_str()),
            ("t-1", "deliberation-1")
        );
    }
}
