//! What came of a deliberation, for people.

use super::lines::{plugin, seconds};
use super::pb;
use super::pb::deliberation::State;
use super::story::Story;
use super::terminal::{Style, clean, one_line};
use super::timeline::timeline;

/// The whole report: question, answer or failure, candidates, cost, and when each generation ran.
pub(super) fn report(story: &Story, style: Style) -> String {
    let deliberation = &story.deliberation;
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let name = style.dim(&format!("{name:<10}"));
        text.push_str(&format!(
            "{name} {}\n",
            value.replace('\n', "\n           ")
        ));
    };
    let question = deliberation
        .task
        .as_ref()
        .map_or("", |task| &task.description);
    field("Question", &style.bold(&clean(question)));
    field("Id", &deliberation.uid);
    match deliberation.state() {
        State::Completed => {
            if let Some(outcome) = &deliberation.outcome {
                field("Answer", &style.green(&answer(outcome)));
                field("Why", &clean(&outcome.reasoning));
            }
        }
        State::Failed => {
            let failure = deliberation.failure.clone().unwrap_or_default();
            let message = format!("{} ({})", clean(&failure.message), failure.reason);
            field("Failed", &style.red(&message));
        }
        State::Cancelled => {
            let reason = &deliberation.cancel_reason;
            let reason = if reason.is_empty() {
                "no reason was given"
            } else {
                reason
            };
            field("Cancelled", &clean(reason));
        }
        State::Running | State::Unspecified => field("State", "running"),
    }
    let plugins =
        [&deliberation.strategy, &deliberation.scorer].map(|selection| plugin(selection.as_ref()));
    field(
        "Plugins",
        &format!("{}, scored by {}", plugins[0], plugins[1]),
    );
    field("Tokens", &tokens(deliberation));
    if let Some((saved, used, planned)) = saved(deliberation) {
        let saved = format!("about {saved} tokens, by stopping after {used} of {planned} samples");
        field("Saved", &style.green(&saved));
    }
    if let Some(degraded) = degraded(deliberation) {
        field("Agents", &style.red(&degraded));
    }
    if let Some(took_ms) = story.took_ms() {
        field("Took", &format!("{:.1} s", seconds(took_ms)));
    }
    if let Some(outcome) = &deliberation.outcome {
        text.push('\n');
        text.push_str(&candidates(outcome, style));
    }
    let timeline = timeline(story, style);
    if !timeline.is_empty() {
        text.push('\n');
        text.push_str(&timeline);
    }
    text
}

/// What the strategy extracted, or else the winner's whole text.
fn answer(outcome: &pb::Outcome) -> String {
    let winner = outcome
        .ranked
        .first()
        .and_then(|ranked| ranked.candidate.as_ref());
    let whole = winner.map_or("", |candidate| &candidate.content);
    let extracted = outcome
        .metadata
        .get("answer")
        .filter(|answer| !answer.is_empty());
    clean(extracted.map_or(whole, String::as_str).trim())
}

/// What was used.
fn tokens(deliberation: &pb::Deliberation) -> String {
    let usage = deliberation.usage.unwrap_or_default();
    let mut text = format!(
        "{} used ({} prompt, {} completion)",
        usage.prompt_tokens + usage.completion_tokens,
        usage.prompt_tokens,
        usage.completion_tokens
    );
    if usage.wasted_tokens > 0 {
        text.push_str(&format!(
            ", {} wasted in aborted generations",
            usage.wasted_tokens
        ));
    }
    text
}

/// Tokens that were not spent: the samples that were not finished, at the mean of those that were,
/// less what they had taken when they were aborted.
fn saved(deliberation: &pb::Deliberation) -> Option<(i64, i64, i64)> {
    let outcome = deliberation.outcome.as_ref()?;
    let usage = deliberation.usage.unwrap_or_default();
    let number = |key: &str| outcome.metadata.get(key)?.parse::<i64>().ok();
    let (planned, used) = (number("samples_planned")?, number("samples_used")?);
    let finished = i64::from(usage.generations_completed);
    if !outcome.stopped_early || used >= planned || finished == 0 {
        return None;
    }
    let mean = (usage.prompt_tokens + usage.completion_tokens) as f64 / finished as f64;
    let spared = (mean * (planned - used) as f64).round() as i64 - usage.wasted_tokens;
    (spared > 0).then_some((spared, used, planned))
}

/// A degraded answer must not look like a full one.
fn degraded(deliberation: &pb::Deliberation) -> Option<String> {
    let completeness = deliberation.outcome.as_ref()?.completeness?;
    (completeness.agents_failed > 0).then(|| {
        format!(
            "{} of {} answered, {} failed",
            completeness.agents_completed, completeness.agents, completeness.agents_failed
        )
    })
}

fn candidates(outcome: &pb::Outcome, style: Style) -> String {
    let agent = |ranked: &pb::RankedCandidate| {
        ranked
            .candidate
            .as_ref()
            .map_or_else(String::new, |one| one_line(&one.agent_id, 24))
    };
    let agent_width = outcome
        .ranked
        .iter()
        .map(|ranked| agent(ranked).chars().count())
        .max();
    let agent_width = agent_width.unwrap_or_default().max("agent".len());
    let room = style.width.saturating_sub(agent_width + 26).max(20);
    let header = format!(
        "  {:>3}  {:agent_width$}  {:>5}  {:>5}  candidate",
        "#", "agent", "score", "votes"
    );
    let mut table = format!("{}\n", style.dim(&header));
    for (at, ranked) in outcome.ranked.iter().enumerate() {
        let candidate = ranked.candidate.clone().unwrap_or_default();
        let score = ranked.score.as_ref().map_or(0.0, |score| score.value);
        let line = format!(
            "  {:>3}  {:agent_width$}  {score:>5.2}  {:>5}  {}",
            at + 1,
            agent(ranked),
            candidate.jobs.len().max(1),
            one_line(&candidate.content, room)
        );
        table.push_str(&if at == 0 { style.bold(&line) } else { line });
        table.push('\n');
    }
    table
}
