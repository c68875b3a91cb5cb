//! Requests to submit, checked with the texts that the contract promises.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_core::plugin::PluginChoice;
use conclave_core::request::{AgentDraft, Draft};

use crate::grpc::headers::{Headers, plugin_choice};
use crate::grpc::pb::fleet::ray_executor::v1::ExecuteBacklogReviewDeliberationRequest;
use crate::grpc::pb::ray_executor::v1::{Agent, ExecuteDeliberationRequest, TaskConstraints};
use crate::grpc::status::Refusal;

/// What an agent's empty `model` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelRule {
    /// `vllm_model`.
    Optional,
    /// A mistake.
    Required,
}

/// A backlog review as the deliberation that it is.
pub(super) fn backlog_review(
    request: ExecuteBacklogReviewDeliberationRequest,
) -> Result<ExecuteDeliberationRequest, Refusal> {
    let id = &request.task_id;
    if id.trim().is_empty() {
        return Err(Refusal::field("task_id", "task_id is MISSING"));
    }
    if !(id.starts_with("ceremony-") && id.contains(":story-") && id.contains(":role-")) {
        return Err(Refusal::field("task_id", "Invalid task_id format"));
    }
    let given = request.constraints.unwrap_or_default();
    let mut metadata = given.metadata;
    // By it, events about the deliberation find the subject of backlog reviews.
    metadata
        .entry("task_type".to_owned())
        .or_insert_with(|| "BACKLOG_REVIEW_ROLE".to_owned());
    Ok(ExecuteDeliberationRequest {
        task_id: request.task_id,
        task_description: request.task_description,
        role: request.role,
        constraints: Some(TaskConstraints {
            story_id: given.story_id,
            plan_id: String::new(),
            timeout_seconds: given.timeout_seconds,
            max_retries: given.max_retries,
            metadata,
        }),
        agents: request.agents,
        vllm_url: request.vllm_url,
        vllm_model: request.vllm_model,
    })
}

/// The draft that a request stands for. What the contract has a text for is checked here, and the
/// first rule that is broken refuses the request; all else is the core's to check.
pub(super) fn draft(
    request: ExecuteDeliberationRequest,
    headers: Headers,
    models: ModelRule,
) -> Result<Draft, Refusal> {
    check(&request, models)?;
    let constraints = request.constraints.unwrap_or_default();
    let metadata = metadata(&constraints);
    let choice = |key: &str| chosen(&metadata, key);
    let strategy = choice("strategy")?.or(headers.strategy);
    let scorer = choice("scorer")?.or(headers.scorer);
    let given = |key: &str| metadata.get(key).filter(|text| !text.is_empty()).cloned();
    Ok(Draft {
        execution: None,
        task_id: request.task_id,
        description: request.task_description,
        role: request.role,
        agents: request.agents.into_iter().map(agent).collect(),
        model: request.vllm_model,
        endpoint: request.vllm_url,
        timeout: positive(constraints.timeout_seconds)
            .map(|seconds| Duration::from_secs(seconds.into())),
        retries_max: positive(constraints.max_retries),
        strategy,
        strategy_params: given("strategy_params").unwrap_or_default(),
        scorer,
        scorer_params: String::new(),
        labels: BTreeMap::new(),
        priority: priority(&metadata)?,
        correlation_id: headers.correlation_id.or_else(|| given("correlation_id")),
        metadata,
    })
}

fn check(request: &ExecuteDeliberationRequest, models: ModelRule) -> Result<(), Refusal> {
    not_empty("task_id", "task_id", &request.task_id)?;
    not_empty(
        "task_description",
        "task_description",
        &request.task_description,
    )?;
    not_empty("role", "role", &request.role)?;
    if request.agents.is_empty() {
        return Err(Refusal::field("agents", "At least one agent is required"));
    }
    for (at, agent) in request.agents.iter().enumerate() {
        not_empty(&format!("agents[{at}].id"), "agent_id", &agent.id)?;
        if models == ModelRule::Required {
            not_empty(&format!("agents[{at}].model"), "model", &agent.model)?;
        }
    }
    not_empty("vllm_url", "vllm_url", &request.vllm_url)?;
    not_empty("vllm_model", "vllm_model", &request.vllm_model)?;
    request
        .constraints
        .as_ref()
        .map_or(Ok(()), check_constraints)
}

fn check_constraints(constraints: &TaskConstraints) -> Result<(), Refusal> {
    not_empty("constraints.story_id", "story_id", &constraints.story_id)?;
    let seconds = constraints.timeout_seconds;
    if seconds < 0 {
        let message = format!("timeout_seconds must be positive, got {seconds}");
        return Err(Refusal::field("constraints.timeout_seconds", message));
    }
    let retries = constraints.max_retries;
    if retries < 0 {
        let message = format!("max_retries cannot be negative, got {retries}");
        return Err(Refusal::field("constraints.max_retries", message));
    }
    Ok(())
}

/// `name` is what the contract's text calls the field.
fn not_empty(field: &str, name: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::field(field, format!("{name} cannot be empty")));
    }
    Ok(())
}

/// 0 stands for the host's default.
fn positive(number: i32) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0)
}

/// The client's metadata, and the two references that have fields of their own.
fn metadata(constraints: &TaskConstraints) -> BTreeMap<String, String> {
    let given = constraints.metadata.iter();
    let mut metadata: BTreeMap<_, _> = given
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in [
        ("story_id", &constraints.story_id),
        ("plan_id", &constraints.plan_id),
    ] {
        if !value.is_empty() {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    metadata
}

fn chosen(metadata: &BTreeMap<String, String>, key: &str) -> Result<Option<PluginChoice>, Refusal> {
    let text = metadata.get(key).map(|text| text.trim());
    text.filter(|text| !text.is_empty())
        .map(|text| plugin_choice(&format!("constraints.metadata[{key}]"), text))
        .transpose()
}

/// A number in the metadata; the core checks that it is on the scale.
fn priority(metadata: &BTreeMap<String, String>) -> Result<Option<u32>, Refusal> {
    let text = metadata.get("priority").map(|text| text.trim());
    let number = text.filter(|text| !text.is_empty()).map(|text| {
        text.parse().map_err(|_| {
            let message = format!("priority is `{text}`, it must be 0 (last) to 9 (first)");
            Refusal::field("constraints.metadata[priority]", message)
        })
    });
    number.transpose()
}

fn agent(agent: Agent) -> AgentDraft {
    AgentDraft {
        id: agent.id,
        role: agent.role,
        model: agent.model,
        prompt_template: agent.prompt_template,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::grpc::pb::fleet::ray_executor::v1::BacklogReviewTaskConstraints;

    fn request() -> ExecuteDeliberationRequest {
        ExecuteDeliberationRequest {
            task_id: "t-1".to_owned(),
            task_description: "Is 7 prime?".to_owned(),
            role: "DEV".to_owned(),
            constraints: Some(constraints()),
            agents: vec![Agent {
                id: "a".to_owned(),
                model: "m".to_owned(),
                ..Agent::default()
            }],
            vllm_url: "http://h:8000".to_owned(),
            vllm_model: "m".to_owned(),
        }
    }

    fn constraints() -> TaskConstraints {
        TaskConstraints {
            story_id: "s-1".to_owned(),
            ..TaskConstraints::default()
        }
    }

    fn refused(
        models: ModelRule,
        change: impl FnOnce(&mut ExecuteDeliberationRequest),
    ) -> (String, String) {
        let mut request = request();
        change(&mut request);
        match draft(request, Headers::default(), models) {
            Err(Refusal::Field { field, message }) => (field, message),
            other => (String::new(), format!("{other:?}")),
        }
    }

    type Change = fn(&mut ExecuteDeliberationRequest);

    fn of(request: &mut ExecuteDeliberationRequest) -> &mut TaskConstraints {
        request.constraints.get_or_insert_default()
    }

    #[test]
    fn each_rule_has_the_text_of_the_contract() {
        let cases: [(Change, &str, &str); 11] = [
            (|r| r.task_id.clear(), "task_id", "task_id cannot be empty"),
            (
                |r| r.task_description = " \n".to_owned(),
                "task_description",
                "task_description cannot be empty",
            ),
            (|r| r.role.clear(), "role", "role cannot be empty"),
            (
                |r| r.agents.clear(),
                "agents",
                "At least one agent is required",
            ),
            (
                |r| r.agents[0].id.clear(),
                "agents[0].id",
                "agent_id cannot be empty",
            ),
            (
                |r| r.agents[0].model.clear(),
                "agents[0].model",
                "model cannot be empty",
            ),
            (
                |r| r.vllm_url.clear(),
                "vllm_url",
                "vllm_url cannot be empty",
            ),
            (
                |r| r.vllm_model.clear(),
                "vllm_model",
                "vllm_model cannot be empty",
            ),
            (
                |r| of(r).story_id.clear(),
                "constraints.story_id",
                "story_id cannot be empty",
            ),
            (
                |r| of(r).timeout_seconds = -5,
                "constraints.timeout_seconds",
                "timeout_seconds must be positive, got -5",
            ),
            (
                |r| of(r).max_retries = -1,
                "constraints.max_retries",
                "max_retries cannot be negative, got -1",
            ),
        ];
        for (change, field, message) in cases {
            let refused = refused(ModelRule::Required, change);
            assert_eq!(refused, (field.to_owned(), message.to_owned()));
        }
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let mut lean = request();
        lean.constraints = None;
        lean.agents[0].model.clear();
        let draft = draft(lean, Headers::default(), ModelRule::Optional).unwrap();
        assert_eq!((draft.timeout, draft.retries_max), (None, None));
        assert!(draft.metadata.is_empty() && draft.strategy.is_none());
    }

    #[test]
    fn metadata_chooses_before_headers_and_keeps_the_references() {
        let mut request = request();
        *of(&mut request) = TaskConstraints {
            plan_id: "p-1".to_owned(),
            timeout_seconds: 60,
            max_retries: 2,
            metadata: HashMap::from(
                [
                    ("strategy", "debate@1.0.0"),
                    ("scorer", ""),
                    ("strategy_params", "{}"),
                    ("correlation_id", "c-1"),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
            ),
            ..constraints()
        };
        let headers = Headers {
            strategy: Some(PluginChoice::named("other")),
            scorer: Some(PluginChoice::named("judge")),
            ..Headers::default()
        };
        let draft = draft(request, headers, ModelRule::Required).unwrap();
        assert_eq!(draft.strategy.unwrap().to_string(), "debate@1.0.0");
        assert_eq!(draft.scorer.unwrap().to_string(), "judge");
        assert_eq!(draft.strategy_params, "{}");
        assert_eq!(draft.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(draft.timeout, Some(Duration::from_secs(60)));
        assert_eq!(draft.retries_max, Some(2));
        assert_eq!(draft.metadata["story_id"], "s-1");
        assert_eq!(draft.metadata["plan_id"], "p-1");
    }

    #[test]
    fn metadata_may_hold_a_priority() {
        let asked = |text: &str| {
            let mut request = request();
            let metadata = &mut of(&mut request).metadata;
            metadata.insert("priority".to_owned(), text.to_owned());
            draft(request, Headers::default(), ModelRule::Required)
        };
        assert_eq!(asked(" 7 ").unwrap().priority, Some(7));
        assert_eq!(asked("").unwrap().priority, None);
        for wrong in ["high", "-1", "7.5"] {
            assert!(
                matches!(asked(wrong), Err(Refusal::Field { field, .. }) if field == "constraints.metadata[priority]"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_backlog_review_names_ceremony_story_and_role() {
        let review = |task_id: &str| {
            backlog_review(ExecuteBacklogReviewDeliberationRequest {
                task_id: task_id.to_owned(),
                constraints: Some(BacklogReviewTaskConstraints {
                    story_id: "s".to_owned(),
                    timeout_seconds: 9,
                    ..BacklogReviewTaskConstraints::default()
                }),
                ..ExecuteBacklogReviewDeliberationRequest::default()
            })
        };
        let sound = review("ceremony-1:story-2:role-QA")
            .unwrap()
            .constraints
            .unwrap();
        assert_eq!(sound.timeout_seconds, 9);
        assert_eq!(sound.metadata["task_type"], "BACKLOG_REVIEW_ROLE");
        let message = |task_id| match review(task_id) {
            Err(Refusal::Field { message, .. }) => message,
            other => format!("{other:?}"),
        };
        assert_eq!(message(" "), "task_id is MISSING");
        for wrong in [
            "story-2",
            "ceremony-1:role-QA",
            "ceremony-1:story-2",
            "x:ceremony-1:story-2:role-QA",
        ] {
            assert_eq!(message(wrong), "Invalid task_id format", "{wrong}");
        }
    }
}
