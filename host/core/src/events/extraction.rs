//! The list of tasks that a task extraction came to.

use serde::Serialize;

use super::Event;
use super::agents::{COMPLETED, Reason, part_of};
use super::envelope::Context;
use crate::ids::ModelName;
use crate::outcome::Candidate;
use crate::tasks_extracted::{ExtractedTask, TasksExtracted};

#[derive(Serialize)]
struct Payload<'a> {
    task_id: &'a str,
    story_id: &'a str,
    ceremony_id: &'a str,
    tasks: &'a [ExtractedTask],
    model: &'a str,
    timestamp: &'a str,
    duration_ms: u64,
    validated_at: &'a str,
}

/// The event of the winner's list; the error is why the answer is no list of tasks.
pub(super) fn event(
    context: &Context<'_>,
    winner: &Candidate,
    model: &ModelName,
    duration_ms: u64,
    story_id: &str,
) -> Result<Event, Reason> {
    let list = TasksExtracted::parse(&winner.content).map_err(|error| Reason {
        error_type: "invalid_output".to_owned(),
        error: error.to_string(),
    })?;
    let task_id = context.task_id();
    let ceremony_id = context
        .metadata("ceremony_id")
        .or_else(|| part_of(task_id, "ceremony-"));
    let payload = Payload {
        task_id,
        story_id,
        ceremony_id: ceremony_id.unwrap_or_default(),
        tasks: &list.tasks,
        model: model.as_str(),
        timestamp: &context.time,
        duration_ms,
        // The time of the verdict, so that the event is the same whenever it is made.
        validated_at: &context.time,
    };
    let subject = "agent.response.completed.task-extraction";
    Ok(context.event(subject, COMPLETED, winner.agent.as_str(), payload))
}
