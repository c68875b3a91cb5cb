//! Requests of the native API.

use std::collections::HashMap;

use conclave_core::ids::DeliberationId;
use conclave_core::plugin::PluginChoice;
use conclave_core::request::{AgentDraft, Draft};

use super::pb;
use crate::grpc::headers::digest;
use crate::grpc::status::Refusal;
use crate::grpc::wire::parse_duration;

/// The collection that every name begins with.
pub(super) const COLLECTION: &str = "deliberations/";

/// Far above the length of any id; it bounds what a wrong one costs.
const ID_CHARS_MAX: usize = 256;

const REASON_CHARS_MAX: usize = 1024;

/// Takes the name of a deliberation.
pub(super) fn id(name: &str) -> Result<DeliberationId, Refusal> {
    id_in("name", name)
}

/// Takes the name of a deliberation in this field.
pub(super) fn id_in(field: &str, name: &str) -> Result<DeliberationId, Refusal> {
    parsed(name).ok_or_else(|| wrong_name(field, name, ""))
}

/// Takes the name of a generation: its deliberation, and its number.
pub(super) fn generation(name: &str) -> Result<(DeliberationId, u32), Refusal> {
    let parts = name.rsplit_once("/generations/").and_then(|(parent, job)| {
        // As numbers are written in names, and not `+1` or `01`.
        let number: u32 = job.parse().ok()?;
        (number.to_string() == job).then_some((parsed(parent)?, number))
    });
    parts.ok_or_else(|| wrong_name("name", name, ", `/generations/` and a number"))
}

/// Takes the name of a deliberation's usage.
pub(super) fn usage(name: &str) -> Result<DeliberationId, Refusal> {
    let parent = name.strip_suffix("/usage").and_then(parsed);
    parent.ok_or_else(|| wrong_name("name", name, " and `/usage`"))
}

fn parsed(name: &str) -> Option<DeliberationId> {
    let id = name.strip_prefix(COLLECTION)?;
    let graphic = id
        .chars()
        .all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
    let sound = graphic && (1..=ID_CHARS_MAX).contains(&id.chars().count());
    sound.then(|| DeliberationId::new(id))
}

/// `rest` is what must stand behind the id.
fn wrong_name(field: &str, name: &str, rest: &str) -> Refusal {
    let and = if rest.is_empty() {
        " and an id"
    } else {
        ", an id"
    };
    let message = format!("{field} is {name:?}, it must be `{COLLECTION}`{and}{rest}");
    Refusal::field(field, message)
}

/// Takes the reason that somebody gives.
pub(super) fn reason(reason: String) -> Result<String, Refusal> {
    let count = reason.chars().count();
    if count > REASON_CHARS_MAX {
        let message =
            format!("reason has {count} characters, at most {REASON_CHARS_MAX} are allowed");
        return Err(Refusal::field("reason", message));
    }
    Ok(reason)
}

/// The draft that a deliberation stands for; `correlation_id` is the header's.
pub(super) fn draft(
    asked: pb::Deliberation,
    correlation_id: Option<String>,
) -> Result<Draft, Refusal> {
    let task = asked.task.unwrap_or_default();
    let strategy = asked.strategy.unwrap_or_default();
    let scorer = asked.scorer.unwrap_or_default();
    let timeout = asked
        .timeout
        .map(|wire| parse_duration("deliberation.timeout", wire));
    let own = Some(asked.correlation_id).filter(|text| !text.is_empty());
    let of_metadata = task.metadata.get("correlation_id");
    let of_metadata = of_metadata.filter(|text| !text.is_empty()).cloned();
    Ok(Draft {
        execution: None,
        task_id: task.id,
        description: task.description,
        role: task.role,
        agents: task.agents.into_iter().map(agent).collect(),
        model: task.model,
        endpoint: asked.endpoint,
        metadata: sorted(task.metadata),
        timeout: timeout.transpose()?,
        retries_max: asked.max_retries.map(retries).transpose()?,
        strategy: choice("deliberation.strategy", &strategy)?,
        strategy_params: strategy.params_json,
        scorer: choice("deliberation.scorer", &scorer)?,
        scorer_params: scorer.params_json,
        labels: sorted(asked.labels),
        priority: asked.priority.map(priority).transpose()?,
        correlation_id: own.or(correlation_id).or(of_metadata),
    })
}

fn retries(number: i32) -> Result<u32, Refusal> {
    u32::try_from(number).map_err(|_| {
        let message = format!("max_retries is {number}, it must not be negative");
        Refusal::field("deliberation.max_retries", message)
    })
}

fn priority(number: i32) -> Result<u32, Refusal> {
    u32::try_from(number).map_err(|_| {
        let message = format!("priority is {number}, it must be 0 (last) to 9 (first)");
        Refusal::field("deliberation.priority", message)
    })
}

/// `None` when only params are given, or nothing: the default plugin is meant.
fn choice(field: &str, selection: &pb::PluginSelection) -> Result<Option<PluginChoice>, Refusal> {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let digest = match selection.digest.as_str() {
        "" => None,
        text => Some(digest(&format!("{field}.digest"), text)?),
    };
    let version = given(&selection.version);
    if selection.name.is_empty() && version.is_none() && digest.is_none() {
        return Ok(None);
    }
    Ok(Some(PluginChoice {
        name: selection.name.clone(),
        version,
        digest,
    }))
}

fn agent(agent: pb::Agent) -> AgentDraft {
    AgentDraft {
        id: agent.id,
        role: agent.role,
        model: agent.model,
        prompt_template: agent.prompt_template,
    }
}

fn sorted(map: HashMap<String, String>) -> std::collections::BTreeMap<String, String> {
    map.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<impl std::fmt::Debug, Refusal>) -> String {
        match result {
            Err(Refusal::Field { field, message }) => format!("{field} | {message}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_the_collection_and_an_id() {
        assert_eq!(
            id("deliberations/deliberation-1").unwrap().as_str(),
            "deliberation-1"
        );
        for wrong in [
            "",
            "deliberation-1",
            "deliberations/",
            "deliberations/a/b",
            "deliberations/a\n",
            "deliberations/ ",
        ] {
            assert!(message(id(wrong)).starts_with("name | name is "), "{wrong}");
        }
        assert!(id(&format!("deliberations/{}", "x".repeat(257))).is_err());
    }

    #[test]
    fn the_name_of_a_child_is_its_parents_and_its_own() {
        let (id, job) = generation("deliberations/d-1/generations/12").unwrap();
        assert_eq!((id.as_str(), job), ("d-1", 12));
        assert_eq!(usage("deliberations/d-1/usage").unwrap().as_str(), "d-1");
        for wrong in [
            "",
            "deliberations/d-1",
            "deliberations/d-1/generations/",
            "deliberations/d-1/generations/01",
            "deliberations/d-1/generations/-1",
            "deliberations/d-1/scores/1",
            "generations/1",
            "deliberations/a/b/generations/1",
        ] {
            assert!(
                message(generation(wrong)).starts_with("name | name is "),
                "{wrong}"
            );
            assert!(usage(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_bounded() {
        assert_eq!(reason("é".repeat(1024)).unwrap().chars().count(), 1024);
        assert_eq!(
            message(reason("é".repeat(1025))),
            "reason | reason has 1025 characters, at most 1024 are allowed"
        );
    }

    #[test]
    fn what_is_left_out_is_the_host_s_default() {
        let draft = draft(pb::Deliberation::default(), Some("c-1".to_owned())).unwrap();
        assert!(draft.strategy.is_none() && draft.scorer.is_none());
        assert!(draft.timeout.is_none() && draft.retries_max.is_none());
        assert_eq!(draft.correlation_id.as_deref(), Some("c-1"));
    }

    #[test]
    fn params_do_not_choose_a_plugin_but_a_version_does() {
        let strategy = |selection| pb::Deliberation {
            strategy: Some(selection),
            ..pb::Deliberation::default()
        };
        let params = pb::PluginSelection {
            params_json: "{}".to_owned(),
            ..pb::PluginSelection::default()
        };
        assert!(draft(strategy(params), None).unwrap().strategy.is_none());
        let version = pb::PluginSelection {
            version: "1.0.0".to_owned(),
            ..pb::PluginSelection::default()
        };
        // The core refuses it: it has no name.
        assert_eq!(
            draft(strategy(version), None)
                .unwrap()
                .strategy
                .unwrap()
                .name,
            ""
        );
        let digest = pb::PluginSelection {
            digest: "12".to_owned(),
            ..pb::PluginSelection::default()
        };
        assert!(
            message(draft(strategy(digest), None)).starts_with("deliberation.strategy.digest | ")
        );
    }

    #[test]
    fn negative_numbers_are_refused_by_field() {
        let retries = pb::Deliberation {
            max_retries: Some(-1),
            ..pb::Deliberation::default()
        };
        assert_eq!(
            message(draft(retries, None)),
            "deliberation.max_retries | max_retries is -1, it must not be negative"
        );
        let timeout = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        let timeout = pb::Deliberation {
            timeout: Some(timeout),
            ..pb::Deliberation::default()
        };
        assert!(message(draft(timeout, None)).starts_with("deliberation.timeout | "));
    }
}
