//! The service `Records`: what a deliberation did.

use std::time::Duration;

use conclave_core::account::{Account, Cost, GenerationAccount, Progress, ScoreAccount};
use conclave_core::ids::{DeliberationId, JobId};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::deliberation::{candidate, generation_failure, score, usage};
use super::event::generation;
use super::pages::{List, page};
use super::pb::records_server::Records;
use super::pieces::pieces;
use super::{ConclaveV1, answered, pb, request};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;
use crate::grpc::wire::{duration, int32, int64, timestamp};
use crate::rehearsal::record;

#[tonic::async_trait]
impl Records for ConclaveV1 {
    type ExportRecordStream = BoxStream<pb::ExportRecordResponse>;

    async fn list_generations(
        &self,
        request: Request<pb::ListGenerationsRequest>,
    ) -> Result<Response<pb::ListGenerationsResponse>, Status> {
        answered(self.generations(request).await)
    }

    async fn get_generation(
        &self,
        request: Request<pb::GetGenerationRequest>,
    ) -> Result<Response<pb::GenerationRecord>, Status> {
        answered(self.generation(request).await)
    }

    async fn list_scores(
        &self,
        request: Request<pb::ListScoresRequest>,
    ) -> Result<Response<pb::ListScoresResponse>, Status> {
        answered(self.scores(request).await)
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::UsageReport>, Status> {
        answered(self.usage(request).await)
    }

    async fn export_record(
        &self,
        request: Request<pb::ExportRecordRequest>,
    ) -> Result<Response<Self::ExportRecordStream>, Status> {
        answered(self.export(request).await)
    }
}

impl ConclaveV1 {
    async fn generations(
        &self,
        request: Request<pb::ListGenerationsRequest>,
    ) -> Result<pb::ListGenerationsResponse, Refusal> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let id = request::id_in("parent", &request.parent)?;
        let account = self.account(&call, &id).await?;
        let (generations, next_page_token) = page(
            List::of(&["generations", id.as_str()]),
            request.page_size,
            &request.page_token,
            &account.generations,
            |one| one.job.0,
            |one| generation_record(&account, one),
        )?;
        Ok(pb::ListGenerationsResponse {
            generations,
            next_page_token,
        })
    }

    async fn generation(
        &self,
        request: Request<pb::GetGenerationRequest>,
    ) -> Result<pb::GenerationRecord, Refusal> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        let (id, job) = request::generation(&name)?;
        let account = self.account(&call, &id).await?;
        let found = account.generations.iter().find(|one| one.job == JobId(job));
        let found = found.map(|one| generation_record(&account, one));
        found.ok_or(Refusal::NoSuchChild {
            reason: "GENERATION_NOT_FOUND",
            name,
        })
    }

    async fn scores(
        &self,
        request: Request<pb::ListScoresRequest>,
    ) -> Result<pb::ListScoresResponse, Refusal> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let id = request::id_in("parent", &request.parent)?;
        let account = self.account(&call, &id).await?;
        let (scores, next_page_token) = page(
            List::of(&["scores", id.as_str()]),
            request.page_size,
            &request.page_token,
            &account.scores,
            |one| one.call.0,
            |one| score_record(&account, one),
        )?;
        Ok(pb::ListScoresResponse {
            scores,
            next_page_token,
        })
    }

    async fn usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<pb::UsageReport, Refusal> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        let id = request::usage(&name)?;
        let account = self.account(&call, &id).await?;
        let by = |key: fn(&GenerationAccount) -> String| {
            let costs = account.cost_by(key).into_iter();
            costs.map(|(key, of)| cost(key, &of)).collect()
        };
        Ok(pb::UsageReport {
            name,
            total: Some(cost(String::new(), &account.cost())),
            agents: by(|one| one.what.agent.to_string()),
            phases: by(|one| one.what.phase.clone()),
            models: by(|one| one.what.model.to_string()),
        })
    }

    async fn export(
        &self,
        request: Request<pb::ExportRecordRequest>,
    ) -> Result<BoxStream<pb::ExportRecordResponse>, Refusal> {
        let call = Call::of(&request);
        let id = request::id(&request.into_inner().name)?;
        let accounts = &self.host.accounts;
        let records = accounts.records(&call.caller.tenant, &id).await?;
        let file = record::write(&records);
        Ok(pieces(file, |data| pb::ExportRecordResponse { data }))
    }

    async fn account(&self, call: &Call, id: &DeliberationId) -> Result<Account, Refusal> {
        let account = self.host.accounts.read(&call.caller.tenant, id).await;
        Ok(account?)
    }
}

/// A time of a deliberation, from milliseconds since its acceptance.
fn at(account: &Account, at_ms: u64) -> Option<prost_types::Timestamp> {
    let accepted_at_ms = account.accepted.accepted_at_ms;
    Some(timestamp(accepted_at_ms.saturating_add(at_ms)))
}

fn generation_record(account: &Account, one: &GenerationAccount) -> pb::GenerationRecord {
    use pb::generation_record::State;
    let (state, result, failure) = match &one.progress {
        Progress::Waiting => (State::Waiting, None, None),
        Progress::Running => (State::Running, None, None),
        Progress::Completed(result) => (State::Completed, Some(generation(result)), None),
        Progress::Failed(failure) => (State::Failed, None, Some(generation_failure(failure))),
        Progress::Cancelled => (State::Cancelled, None, None),
    };
    let job = int32(one.job.0);
    pb::GenerationRecord {
        name: format!(
            "{}{}/generations/{job}",
            request::COLLECTION,
            account.accepted.id
        ),
        job,
        agent_id: one.what.agent.to_string(),
        model: one.what.model.to_string(),
        phase: one.what.phase.clone(),
        round: int32(one.what.round),
        score_call: int32(one.actor.0),
        state: state.into(),
        attempts: int32(one.attempts),
        retry_causes: one.retry_causes.iter().map(generation_failure).collect(),
        create_time: at(account, one.submitted_at_ms),
        start_time: one.started_at_ms.and_then(|ms| at(account, ms)),
        end_time: one.ended_at_ms.and_then(|ms| at(account, ms)),
        result,
        failure,
        wasted_tokens: int32(one.wasted_tokens),
    }
}

fn score_record(account: &Account, one: &ScoreAccount) -> pb::ScoreRecord {
    let call = int32(one.call.0);
    let (scores, failure) = match &one.result {
        Some(Ok(scores)) => (&scores[..], None),
        Some(Err(failure)) => (&[][..], Some(generation_failure(failure))),
        None => (&[][..], None),
    };
    pb::ScoreRecord {
        name: format!(
            "{}{}/scores/{call}",
            request::COLLECTION,
            account.accepted.id
        ),
        call,
        candidates: one.candidates.iter().map(candidate).collect(),
        scores: scores.iter().map(score).collect(),
        failure,
        create_time: at(account, one.started_at_ms),
        end_time: one.ended_at_ms.and_then(|ms| at(account, ms)),
    }
}

fn cost(key: String, cost: &Cost) -> pb::Cost {
    pb::Cost {
        key,
        usage: Some(usage(&cost.spent)),
        cached_tokens: int64(cost.cached_tokens),
        latency: Some(duration(Duration::from_millis(cost.latency_ms_sum))),
    }
}
