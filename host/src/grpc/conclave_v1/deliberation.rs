//! Deliberations as the native API shows them.

use conclave_core::cluster::Placement;
use conclave_core::entry::Accepted;
use conclave_core::generation::Failure;
use conclave_core::live::Live;
use conclave_core::outcome::{Candidate, Cause, Completeness, Outcome, Ranked, Score, Spent};
use conclave_core::plugin::PluginRef;
use conclave_core::request::{Agent, Task};
use conclave_core::view::{State, View};
use serde_json::Value;

use super::pb;
use super::request::COLLECTION;
use crate::grpc::wire::{duration, int32, int64, timestamp};

/// The deliberation as it is.
pub(super) fn deliberation(view: &View) -> pb::Deliberation {
    let Accepted {
        id,
        request,
        accepted_at_ms,
        ..
    } = &view.accepted;
    let at = |ms: u64| Some(timestamp(accepted_at_ms.saturating_add(ms)));
    let end = End::of(&view.state);
    pb::Deliberation {
        name: format!("{COLLECTION}{id}"),
        uid: id.to_string(),
        state: end.state.into(),
        task: Some(task(&request.task)),
        endpoint: request
            .endpoint
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        strategy: Some(plugin(&view.accepted.strategy, &request.strategy_params)),
        scorer: Some(plugin(&view.accepted.scorer, &request.scorer_params)),
        timeout: Some(duration(request.timeout)),
        max_retries: Some(int32(request.retries_max)),
        labels: request.labels.clone().into_iter().collect(),
        correlation_id: request.correlation_id.clone().unwrap_or_default(),
        create_time: at(0),
        update_time: at(view.last_at_ms),
        end_time: view.is_finished().then(|| at(view.last_at_ms)).flatten(),
        deadline_time: at(view.accepted.deadline_ms()),
        sequence: int64(view.last.0),
        usage: Some(usage(&view.spent)),
        outcome: end.outcome,
        failure: end.failure,
        cancel_reason: end.cancel_reason,
        priority: Some(request.priority.get().into()),
        execution: request.execution.as_str().to_owned(),
        open_generations: Vec::new(),
    }
}

/// The deliberation as it is, with what is on its way if this host holds it.
pub(super) fn with_open(view: &View, live: &Live) -> pb::Deliberation {
    let mut one = deliberation(view);
    if !view.is_finished()
        && let Some(handle) = live.get(&view.accepted.id)
    {
        let open = handle.open_generations().into_iter();
        one.open_generations = open
            .map(|generation| pb::OpenGeneration {
                job: int32(generation.job.0),
                running: generation.is_running,
                placement: generation.placement.as_deref().map(placement),
            })
            .collect();
    }
    one
}

pub(super) fn placement(placement: &Placement) -> pb::Placement {
    pb::Placement {
        cluster: placement.cluster.clone(),
        submission_id: placement.submission_id.clone(),
        actor: placement.actor.clone().unwrap_or_default(),
        node: placement.node.clone().unwrap_or_default(),
    }
}

/// What became of a deliberation.
pub(super) struct End {
    pub(super) state: pb::deliberation::State,
    pub(super) outcome: Option<pb::Outcome>,
    pub(super) failure: Option<pb::Failure>,
    pub(super) cancel_reason: String,
}

impl End {
    pub(super) fn of(state: &State) -> Self {
        let (pb_state, outcome, failure, reason) = match state {
            State::Running => (pb::deliberation::State::Running, None, None, ""),
            State::Completed(own) => (
                pb::deliberation::State::Completed,
                Some(outcome(own)),
                None,
                "",
            ),
            State::Failed(cause) => (
                pb::deliberation::State::Failed,
                None,
                Some(failure(cause)),
                "",
            ),
            State::Cancelled(reason) => (
                pb::deliberation::State::Cancelled,
                None,
                None,
                reason.as_str(),
            ),
        };
        Self {
            state: pb_state,
            outcome,
            failure,
            cancel_reason: reason.to_owned(),
        }
    }
}

fn task(task: &Task) -> pb::Task {
    pb::Task {
        id: task.id.clone(),
        description: task.description.clone(),
        role: task.role.clone(),
        agents: task.agents.iter().map(agent).collect(),
        model: task.model.to_string(),
        metadata: task.metadata.clone().into_iter().collect(),
        title: title(&task.description),
    }
}

/// Characters of a title.
const TITLE_CHARS_MAX: usize = 120;

/// The first line that is not empty, or as much of it as fits with an ellipsis.
fn title(description: &str) -> String {
    let mut lines = description.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    match line.char_indices().nth(TITLE_CHARS_MAX) {
        None => line.to_owned(),
        Some(_) => {
            let kept = line.chars().take(TITLE_CHARS_MAX - 1);
            kept.chain(['…']).collect()
        }
    }
}

fn agent(agent: &Agent) -> pb::Agent {
    pb::Agent {
        id: agent.id.to_string(),
        role: agent.role.clone(),
        model: agent.model.to_string(),
        prompt_template: agent.prompt_template.clone().unwrap_or_default(),
    }
}

fn plugin(reference: &PluginRef, params: &Value) -> pb::PluginSelection {
    pb::PluginSelection {
        name: reference.name.clone(),
        version: reference.version.clone(),
        digest: reference.digest.to_string(),
        params_json: params.to_string(),
    }
}

fn outcome(outcome: &Outcome) -> pb::Outcome {
    let proposal = &outcome.proposal;
    let Completeness {
        agents,
        agents_completed,
        agents_failed,
    } = outcome.completeness;
    pb::Outcome {
        ranked: proposal.ranked.iter().map(ranked).collect(),
        reasoning: proposal.reasoning.clone(),
        rounds: int32(proposal.rounds),
        stopped_early: proposal.stopped_early,
        metadata: proposal.metadata.clone().into_iter().collect(),
        completeness: Some(pb::Completeness {
            agents: int32(agents),
            agents_completed: int32(agents_completed),
            agents_failed: int32(agents_failed),
        }),
    }
}

fn ranked(ranked: &Ranked) -> pb::RankedCandidate {
    pb::RankedCandidate {
        candidate: Some(candidate(&ranked.candidate)),
        score: Some(score(&ranked.score)),
    }
}

/// An answer that was put forward.
pub(super) fn candidate(candidate: &Candidate) -> pb::Candidate {
    pb::Candidate {
        agent_id: candidate.agent.to_string(),
        content: candidate.content.clone(),
        reasoning: candidate.reasoning.clone().unwrap_or_default(),
        jobs: candidate.jobs.iter().map(|job| int32(job.0)).collect(),
    }
}

/// A grade.
pub(super) fn score(score: &Score) -> pb::Score {
    pb::Score {
        value: score.value,
        confidence: score.confidence,
        rationale: score.rationale.clone().unwrap_or_default(),
    }
}

fn failure(cause: &Cause) -> pb::Failure {
    pb::Failure {
        reason: cause.kind.reason().to_owned(),
        message: cause.message.clone(),
    }
}

/// Takes out what [`pb::DeliberationView::Basic`] leaves out.
pub(super) fn shorten(deliberation: &mut pb::Deliberation) {
    if let Some(task) = &mut deliberation.task {
        task.description.clear();
        task.metadata.clear();
        for agent in &mut task.agents {
            agent.prompt_template.clear();
        }
    }
    let plugins = [&mut deliberation.strategy, &mut deliberation.scorer];
    for plugin in plugins.into_iter().flatten() {
        plugin.params_json.clear();
    }
    if let Some(outcome) = &mut deliberation.outcome {
        outcome.ranked.truncate(1);
        outcome.metadata.clear();
        outcome.reasoning.clear();
        for winner in &mut outcome.ranked {
            if let Some(candidate) = &mut winner.candidate {
                candidate.content.clear();
                candidate.reasoning.clear();
            }
            if let Some(score) = &mut winner.score {
                score.rationale.clear();
            }
        }
    }
}

/// Why a generation, or a grading, gave nothing.
pub(super) fn generation_failure(failure: &Failure) -> pb::GenerationFailure {
    pb::GenerationFailure {
        kind: failure.kind().to_owned(),
        message: failure.to_string(),
    }
}

/// What it cost.
pub(super) fn usage(spent: &Spent) -> pb::Usage {
    pb::Usage {
        generations: int32(spent.generations),
        generations_completed: int32(spent.generations_completed),
        generations_failed: int32(spent.generations_failed),
        generations_cancelled: int32(spent.generations_cancelled),
        prompt_tokens: int64(spent.prompt_tokens),
        completion_tokens: int64(spent.completion_tokens),
        wasted_tokens: int64(spent.wasted_tokens),
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::{DeliberationId, Seq};
    use conclave_core::outcome::{CauseKind, Verdict};
    use conclave_core::testkit::journal::{accepted, every_entry, finished};

    use super::*;

    #[test]
    fn a_running_deliberation_shows_what_was_resolved_and_no_end() {
        let first = accepted(&DeliberationId::new("deliberation-1"));
        let shown = deliberation(&View::of(&[first]).unwrap());
        assert_eq!(
            (shown.name.as_str(), shown.uid.as_str()),
            ("deliberations/deliberation-1", "deliberation-1")
        );
        assert_eq!(shown.state(), pb::deliberation::State::Running);
        let strategy = shown.strategy.unwrap();
        assert_eq!(
            (strategy.name.as_str(), strategy.version.as_str()),
            ("sample-vote", "0.1.0")
        );
        assert_eq!(strategy.digest.len(), 64);
        // Integers beyond those of a double survive.
        assert!(
            strategy.params_json.contains(&u64::MAX.to_string()),
            "{}",
            strategy.params_json
        );
        let create = shown.create_time.unwrap();
        assert_eq!((create.seconds, create.nanos), (1_763_766_000, 123_000_000));
        assert_eq!(shown.deadline_time.unwrap().seconds, 1_763_766_301);
        assert_eq!(
            (shown.end_time, shown.outcome, shown.failure),
            (None, None, None)
        );
        assert_eq!(shown.sequence, 1);
    }

    #[test]
    fn a_title_is_the_first_line_that_is_not_empty() {
        assert_eq!(title("\n  Is 7 prime? \nExplain."), "Is 7 prime?");
        assert_eq!(title(" \n"), "");
        assert_eq!(title(&"é".repeat(120)), "é".repeat(120));
        let long = title(&"é".repeat(121));
        assert!(long.ends_with('…') && long.chars().count() == 120, "{long}");
    }

    #[test]
    fn each_end_shows_its_own_and_nothing_else() {
        let first = accepted(&DeliberationId::new("deliberation-1"));
        let ended = |verdict| {
            let last = finished(Seq(2), 1500, verdict);
            deliberation(&View::of(&[first.clone(), (*last).clone()]).unwrap())
        };
        let failed = ended(Verdict::Failed(Cause::new(
            CauseKind::PluginTrapped,
            "it trapped",
        )));
        assert_eq!(failed.state(), pb::deliberation::State::Failed);
        let failure = failed.failure.unwrap();
        assert_eq!(
            (failure.reason.as_str(), failure.message.as_str()),
            ("PLUGIN_TRAPPED", "it trapped")
        );
        let end = failed.end_time.unwrap();
        assert_eq!((end.seconds, end.nanos), (1_763_766_001, 623_000_000));
        let cancelled = ended(Verdict::Cancelled("why".to_owned()));
        assert_eq!(cancelled.state(), pb::deliberation::State::Cancelled);
        assert_eq!(
            (cancelled.cancel_reason.as_str(), cancelled.failure),
            ("why", None)
        );
    }

    #[test]
    fn an_outcome_has_every_candidate_with_its_score() {
        let entries = every_entry(&DeliberationId::new("deliberation-1"));
        let records: Vec<_> = entries.iter().map(|record| (**record).clone()).collect();
        let shown = deliberation(&View::of(&records).unwrap());
        let outcome = shown.outcome.unwrap();
        assert_eq!(outcome.ranked.len(), 46);
        assert_eq!(outcome.ranked[0].candidate.as_ref().unwrap().jobs, [1]);
        assert_eq!(outcome.completeness.unwrap().agents_failed, 1);
        assert_eq!(
            shown.usage.unwrap().completion_tokens,
            i64::from(u32::MAX) + 1
        );
    }
}
