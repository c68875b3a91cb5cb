//! The service of the package `ray_executor.v1`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::request::ModelRule;
use super::{RayExecutor, SUBMITTED, SUBMITTED_MESSAGE};
use crate::grpc::call::Call;
use crate::grpc::fields::Api;
use crate::grpc::pb::ray_executor::v1::ray_executor_service_server::RayExecutorService;
use crate::grpc::pb::ray_executor::v1::{
    ExecuteDeliberationRequest, ExecuteDeliberationResponse, GetActiveJobsRequest,
    GetActiveJobsResponse, GetDeliberationStatusRequest, GetDeliberationStatusResponse,
    GetStatusRequest, GetStatusResponse,
};
use crate::grpc::status::status;

const EXECUTE: &str = "ray_executor.v1.RayExecutorService/ExecuteDeliberation";

/// Serves the package.
#[derive(Debug)]
pub(in crate::grpc) struct V1(pub(in crate::grpc) Arc<RayExecutor>);

#[tonic::async_trait]
impl RayExecutorService for V1 {
    async fn execute_deliberation(
        &self,
        request: Request<ExecuteDeliberationRequest>,
    ) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        let call = Call::of(&request);
        let (metadata, _, request) = request.into_parts();
        let receipt = self
            .0
            .execute(EXECUTE, &call, request, &metadata, ModelRule::Optional)
            .await;
        let receipt = receipt.map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        Ok(Response::new(ExecuteDeliberationResponse {
            deliberation_id: receipt.id.to_string(),
            status: SUBMITTED.to_owned(),
            message: SUBMITTED_MESSAGE.to_owned(),
        }))
    }

    async fn get_deliberation_status(
        &self,
        request: Request<GetDeliberationStatusRequest>,
    ) -> Result<Response<GetDeliberationStatusResponse>, Status> {
        let call = Call::of(&request);
        let polled = self.0.poll(&call, &request.get_ref().deliberation_id).await;
        let polled = polled.map_err(|refusal| status(&refusal, Api::RayExecutor))?;
        Ok(Response::new(polled))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let call = Call::of(&request);
        let told = self
            .0
            .host_status(&call, request.get_ref().include_stats)
            .await;
        Ok(Response::new(GetStatusResponse {
            status: told.health.as_str().to_owned(),
            stats: told.stats,
            uptime_seconds: told.uptime_seconds,
        }))
    }

    async fn get_active_jobs(
        &self,
        request: Request<GetActiveJobsRequest>,
    ) -> Result<Response<GetActiveJobsResponse>, Status> {
        Ok(Response::new(self.0.active_jobs(&Call::of(&request))))
    }
}
