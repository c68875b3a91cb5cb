//! Events as lines of text, for pipes and logs: one line each, none for tokens.

use super::pb;
use super::pb::deliberation::State;
use super::pb::deliberation_event::Event;
use super::pb::generation_finished;
use super::story::{Story, votes};
use super::terminal::one_line;

/// The event as a line; the story has taken it in already.
pub(super) fn line(story: &Story, event: &pb::DeliberationEvent) -> Option<String> {
    let what = match event.event.as_ref()? {
        Event::Tokens(_) => return None,
        Event::Accepted(_) => accepted(&story.deliberation),
        Event::GenerationStarted(started) => generation_started(started),
        Event::GenerationFinished(finished) => generation_finished(story, finished),
        Event::CandidatesProposed(proposed) => {
            format!("scoring {}", candidates(proposed.candidates.len()))
        }
        Event::CandidatesScored(scored) => match &scored.failure {
            Some(failure) => format!("scoring failed: {}", one_line(&failure.message, 200)),
            None => format!("scored {}", scores(&story.scores)),
        },
        Event::Progress(progress) => progress_line(progress),
        Event::CancelRequested(request) => with_reason("cancel requested", &request.reason),
        Event::Paused(_) => {
            "paused: the host stopped, the deliberation goes on when it starts again".to_owned()
        }
        Event::Finished(finished) => finished_line(finished),
    };
    Some(format!("{:>7.1} s  {what}", seconds(story.now_ms)))
}

fn accepted(deliberation: &pb::Deliberation) -> String {
    let agents = deliberation
        .task
        .as_ref()
        .map_or(0, |task| task.agents.len());
    let noun = if agents == 1 { "agent" } else { "agents" };
    format!(
        "accepted {}: {}, scored by {}, {agents} {noun}",
        deliberation.uid,
        plugin(deliberation.strategy.as_ref()),
        plugin(deliberation.scorer.as_ref())
    )
}

fn generation_started(started: &pb::GenerationStarted) -> String {
    let who = who(&started.agent_id, started.job);
    let phase = one_line(&started.phase, 64);
    match &started.retry_cause {
        Some(cause) => format!(
            "{who} attempt {} at {phase}, after: {}",
            started.attempt,
            one_line(&cause.message, 200)
        ),
        None => format!("{who} {phase} on {}", one_line(&started.model, 80)),
    }
}

fn generation_finished(story: &Story, finished: &pb::GenerationFinished) -> String {
    let who = who(&finished.agent_id, finished.job);
    match &finished.result {
        Some(generation_finished::Result::Generation(generation)) => {
            let started_ms = story
                .generations
                .get(&finished.job)
                .map(|one| one.started_ms);
            let took = story
                .now_ms
                .saturating_sub(started_ms.unwrap_or(story.now_ms));
            format!(
                "{who} answered with {} tokens in {:.1} s: {}",
                generation.completion_tokens,
                seconds(took),
                one_line(&generation.text, 120)
            )
        }
        Some(generation_finished::Result::Failure(failure)) if failure.kind == "cancelled" => {
            format!("{who} cancelled")
        }
        Some(generation_finished::Result::Failure(failure)) => {
            format!("{who} failed: {}", one_line(&failure.message, 200))
        }
        None => format!("{who} ended"),
    }
}

fn progress_line(progress: &pb::Progress) -> String {
    let kind = one_line(&progress.kind, 64);
    if kind == "vote"
        && let Some(votes) = votes(&progress.payload_json)
    {
        return format!("votes {}", tally(&votes));
    }
    format!("{kind} {}", one_line(&progress.payload_json, 160))
}

fn finished_line(finished: &pb::Finished) -> String {
    match finished.state() {
        State::Completed => "completed".to_owned(),
        State::Cancelled => with_reason("cancelled", &finished.cancel_reason),
        _ => match &finished.failure {
            Some(failure) => format!(
                "failed ({}): {}",
                failure.reason,
                one_line(&failure.message, 300)
            ),
            None => "failed".to_owned(),
        },
    }
}

fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        return what.to_owned();
    }
    format!("{what}: {}", one_line(reason, 200))
}

fn who(agent: &str, job: i32) -> String {
    if agent.is_empty() {
        return format!("#{job}");
    }
    format!("{} #{job}", one_line(agent, 40))
}

fn candidates(count: usize) -> String {
    format!(
        "{count} {}",
        if count == 1 {
            "candidate"
        } else {
            "candidates"
        }
    )
}

/// `yes 3, no 1`
pub(super) fn tally(votes: &[(String, u64)]) -> String {
    let votes = votes
        .iter()
        .take(6)
        .map(|(answer, votes)| format!("{} {votes}", one_line(answer, 24)));
    votes.collect::<Vec<_>>().join(", ")
}

/// `a 0.75, b 0.25`
pub(super) fn scores(scores: &[(String, f64)]) -> String {
    let scores = scores
        .iter()
        .take(8)
        .map(|(agent, score)| format!("{} {score:.2}", one_line(agent, 24)));
    scores.collect::<Vec<_>>().join(", ")
}

/// `name@version`
pub(super) fn plugin(selection: Option<&pb::PluginSelection>) -> String {
    match selection {
        Some(plugin) if plugin.version.is_empty() => plugin.name.clone(),
        Some(plugin) => format!("{}@{}", plugin.name, plugin.version),
        None => "?".to_owned(),
    }
}

pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
