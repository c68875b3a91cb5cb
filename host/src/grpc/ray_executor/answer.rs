//! Views of deliberations as these packages tell them.

use std::collections::HashMap;

use conclave_core::entry::Entry;
use conclave_core::ids::DeliberationId;
use conclave_core::journal::Totals;
use conclave_core::live::Handle;
use conclave_core::outcome::Outcome;
use conclave_core::view::{State, View};

use crate::grpc::pb::ray_executor::v1::{
    DeliberationResult, ExecutionStats, GetDeliberationStatusResponse, JobInfo,
};
use crate::grpc::wire::{int64, timestamp};

/// How a deliberation stands. Queued and paused are running; cancelled is failed.
pub(super) fn status(view: &View) -> GetDeliberationStatusResponse {
    let (status, result, error_message) = match &view.state {
        State::Running => ("running", None, String::new()),
        State::Completed(outcome) => ("completed", Some(result(view, outcome)), String::new()),
        State::Failed(cause) => ("failed", None, cause.message.clone()),
        State::Cancelled(reason) => ("failed", None, cancelled(reason)),
    };
    GetDeliberationStatusResponse {
        status: status.to_owned(),
        result,
        error_message,
    }
}

/// That no deliberation has the id.
pub(super) fn not_found(message: String) -> GetDeliberationStatusResponse {
    GetDeliberationStatusResponse {
        status: "not_found".to_owned(),
        result: None,
        error_message: message,
    }
}

fn cancelled(reason: &str) -> String {
    let reason = if reason.is_empty() {
        "no reason was given"
    } else {
        reason
    };
    format!("cancelled: {reason}")
}

/// The winner. The host's own facts win over the strategy's of the same name.
fn result(view: &View, outcome: &Outcome) -> DeliberationResult {
    let winner = outcome.winner();
    let completeness = outcome.completeness;
    let mut metadata: HashMap<_, _> = outcome.proposal.metadata.clone().into_iter().collect();
    let facts = [
        ("total_agents", completeness.agents.to_string()),
        (
            "completed_agents",
            completeness.agents_completed.to_string(),
        ),
        ("failed_agents", completeness.agents_failed.to_string()),
        ("average_score", format!("{:.4}", outcome.average_score())),
        ("strategy", view.accepted.strategy.to_string()),
        ("scorer", view.accepted.scorer.to_string()),
    ];
    metadata.extend(facts.map(|(key, value)| (key.to_owned(), value)));
    let reasoning = winner.candidate.reasoning.as_ref();
    DeliberationResult {
        agent_id: winner.candidate.agent.to_string(),
        proposal: winner.candidate.content.clone(),
        reasoning: reasoning.unwrap_or(&outcome.proposal.reasoning).clone(),
        score: winner.score.value as f32,
        metadata,
    }
}

/// The totals as these packages count: a cancelled deliberation is a failed one.
pub(super) fn stats(totals: &Totals) -> ExecutionStats {
    let failed = totals.failed + totals.cancelled;
    let ended = totals.completed + failed;
    let average = match ended {
        0 => 0.0,
        ended => totals.duration_ms_sum as f64 / ended as f64,
    };
    ExecutionStats {
        total_deliberations: int64(totals.accepted),
        active_deliberations: int64(totals.accepted.saturating_sub(ended)),
        completed_deliberations: int64(totals.completed),
        failed_deliberations: int64(failed),
        average_execution_time_ms: average as f32,
    }
}

/// A running deliberation. Its job is the Ray job that runs its newest generation, or it is its own where
/// no Ray job does.
pub(super) fn job(id: &DeliberationId, handle: &Handle, now_ms: u64) -> Option<JobInfo> {
    let Entry::Accepted(accepted) = &handle.accepted().entry else {
        return None;
    };
    let status = if handle.has_begun() {
        "RUNNING"
    } else {
        "PENDING"
    };
    let task = &accepted.request.task;
    Some(JobInfo {
        job_id: handle
            .placements()
            .pop()
            .map_or_else(|| id.to_string(), |(_, place)| place.submission_id.clone()),
        name: format!("vllm-agent-job-{id}"),
        status: status.to_owned(),
        submission_id: id.to_string(),
        role: task.role.clone(),
        task_id: task.id.clone(),
        start_time: Some(timestamp(accepted.accepted_at_ms)),
        end_time: None,
        runtime: runtime(now_ms.saturating_sub(accepted.accepted_at_ms) / 1000),
    })
}

fn runtime(seconds: u64) -> String {
    format!("{}m {}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::Seq;
    use conclave_core::outcome::Verdict;
    use conclave_core::outcome::{Cause, CauseKind};
    use conclave_core::testkit::journal::{accepted, every_entry, finished};

    use super::*;

    fn ended(verdict: Verdict) -> GetDeliberationStatusResponse {
        let first = accepted(&DeliberationId::new("deliberation-1"));
        let last = finished(Seq(2), 1000, verdict);
        status(&View::of(&[first, (*last).clone()]).unwrap())
    }

    #[test]
    fn a_deliberation_is_told_by_its_end() {
        let running =
            status(&View::of(&[accepted(&DeliberationId::new("deliberation-1"))]).unwrap());
        assert_eq!((running.status.as_str(), running.result), ("running", None));
        let failed = ended(Verdict::Failed(Cause::new(
            CauseKind::AllAgentsFailed,
            "no agent answered",
        )));
        assert_eq!(
            (failed.status.as_str(), failed.error_message.as_str()),
            ("failed", "no agent answered")
        );
        assert_eq!(failed.result, None);
        let cancelled = ended(Verdict::Cancelled("too late".to_owned()));
        assert_eq!(
            (cancelled.status.as_str(), cancelled.error_message.as_str()),
            ("failed", "cancelled: too late")
        );
        let silent = ended(Verdict::Cancelled(String::new()));
        assert_eq!(silent.error_message, "cancelled: no reason was given");
    }

    #[test]
    fn a_result_is_the_winner_with_the_facts_of_the_host() {
        let entries = every_entry(&DeliberationId::new("deliberation-1"));
        let records: Vec<_> = entries.iter().map(|record| (**record).clone()).collect();
        let response = status(&View::of(&records).unwrap());
        assert_eq!(response.status, "completed");
        let result = response.result.unwrap();
        assert_eq!(
            (result.agent_id.as_str(), result.proposal.as_str()),
            ("skeptic", "yes")
        );
        assert_eq!(result.reasoning, "majority");
        let fact = |key: &str| result.metadata[key].as_str();
        assert_eq!(
            (
                fact("total_agents"),
                fact("completed_agents"),
                fact("failed_agents")
            ),
            ("3", "2", "1")
        );
        assert_eq!(
            (fact("strategy"), fact("scorer")),
            ("sample-vote@0.1.0", "agreement@0.1.0")
        );
        assert_eq!(fact("votes"), "2/3");
        assert!((0.0..=1.0).contains(&fact("average_score").parse::<f64>().unwrap()));
    }

    #[test]
    fn statistics_count_a_cancelled_deliberation_as_failed() {
        let told = stats(&Totals {
            accepted: 10,
            completed: 4,
            failed: 2,
            cancelled: 2,
            duration_ms_sum: 4000,
        });
        let counts = (
            told.total_deliberations,
            told.active_deliberations,
            told.completed_deliberations,
            told.failed_deliberations,
        );
        assert_eq!(counts, (10, 2, 4, 4));
        assert!((told.average_execution_time_ms - 500.0).abs() < f32::EPSILON);
        assert!(stats(&Totals::default()).average_execution_time_ms.abs() < f32::EPSILON);
    }

    #[test]
    fn a_runtime_reads_in_minutes_and_seconds() {
        assert_eq!(runtime(330), "5m 30s");
        assert_eq!(runtime(0), "0m 0s");
        assert_eq!(runtime(3725), "62m 5s");
    }
}
