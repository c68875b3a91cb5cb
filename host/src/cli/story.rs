//! What a watcher knows of a deliberation: a fold over its events, which the live view, the report
//! and the timeline draw from.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use serde_json::Value;

use super::pb;
use super::pb::deliberation::State;
use super::pb::deliberation_event::Event;
use super::pb::generation_finished;

/// A deliberation as it was told so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// What was asked for, and at the end what came of it.
    pub(super) deliberation: pb::Deliberation,
    /// By number.
    pub(super) generations: BTreeMap<i32, Generation>,
    /// Votes by answer, most first, where the strategy tells them.
    pub(super) votes: Vec<(String, u64)>,
    /// The last grades: agent and score.
    pub(super) scores: Vec<(String, f64)>,
    /// Whether the host let it rest.
    pub(super) paused: bool,
    /// The last journal entry that was told.
    pub(super) after: i64,
    /// The time of the last event, in milliseconds since acceptance.
    pub(super) now_ms: u64,
}

/// One generation as it was told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Generation {
    pub(super) agent: String,
    pub(super) phase: String,
    pub(super) model: String,
    pub(super) attempt: i32,
    pub(super) started_ms: u64,
    pub(super) ended_ms: Option<u64>,
    /// Pieces that were received, and in the end what the server counted.
    pub(super) tokens: u32,
    pub(super) text: String,
    pub(super) progress: Progress,
}

/// Where a generation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    #[default]
    Running,
    Completed,
    Failed(String),
    Cancelled,
}

impl Story {
    /// A story that begins with what a host answered.
    pub(super) fn of(deliberation: pb::Deliberation) -> Self {
        Self {
            deliberation,
            ..Self::default()
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        is_final(&self.deliberation)
    }

    pub(super) fn agents(&self) -> &[pb::Agent] {
        self.deliberation
            .task
            .as_ref()
            .map_or(&[], |task| &task.agents)
    }

    /// Takes an event in.
    pub(super) fn apply(&mut self, event: &pb::DeliberationEvent) {
        self.after = self.after.max(event.sequence);
        if let Some(Event::Accepted(accepted)) = &event.event
            && let Some(deliberation) = &accepted.deliberation
        {
            self.deliberation = deliberation.clone();
        }
        if let Some(time) = &event.time {
            self.now_ms = self.now_ms.max(self.since_acceptance(time));
        }
        match &event.event {
            Some(Event::GenerationStarted(started)) => self.start(started),
            Some(Event::Tokens(tokens)) => self.receive(tokens),
            Some(Event::GenerationFinished(finished)) => self.end(finished),
            Some(Event::Progress(progress)) if progress.kind == "vote" => {
                self.votes = votes(&progress.payload_json).unwrap_or_default();
            }
            Some(Event::CandidatesScored(scored)) => {
                self.scores = scored.scored.iter().filter_map(graded).collect();
            }
            Some(Event::Paused(_)) => self.rest(),
            Some(Event::Finished(finished)) => self.finish(finished, event.time),
            _ => {}
        }
    }

    /// Takes in all generations at once, as a host has them on record.
    pub(super) fn take_records(&mut self, records: &[pb::GenerationRecord]) {
        use pb::generation_record::State as Recorded;
        if let Some(time) = self.deliberation.update_time {
            self.now_ms = self.since_acceptance(&time);
        }
        for record in records {
            let Some(started) = &record.start_time else {
                continue;
            };
            let result = record.result.as_ref();
            let tokens = result.map_or(record.wasted_tokens, |result| result.completion_tokens);
            let generation = Generation {
                agent: record.agent_id.clone(),
                phase: record.phase.clone(),
                model: record.model.clone(),
                attempt: record.attempts,
                started_ms: self.since_acceptance(started),
                ended_ms: record.end_time.map(|time| self.since_acceptance(&time)),
                tokens: u32::try_from(tokens).unwrap_or_default(),
                text: result.map(|result| result.text.clone()).unwrap_or_default(),
                progress: match record.state() {
                    Recorded::Completed => Progress::Completed,
                    Recorded::Failed => {
                        let failure = record.failure.as_ref();
                        Progress::Failed(failure.map(|one| one.message.clone()).unwrap_or_default())
                    }
                    Recorded::Cancelled => Progress::Cancelled,
                    Recorded::Running | Recorded::Waiting | Recorded::Unspecified => {
                        Progress::Running
                    }
                },
            };
            self.generations.insert(record.job, generation);
        }
    }

    fn start(&mut self, started: &pb::GenerationStarted) {
        self.paused = false;
        let now_ms = self.now_ms;
        let generation = self.generations.entry(started.job).or_default();
        if generation.attempt == 0 {
            generation.started_ms = now_ms;
        }
        started.agent_id.clone_into(&mut generation.agent);
        started.phase.clone_into(&mut generation.phase);
        started.model.clone_into(&mut generation.model);
        generation.attempt = started.attempt;
        generation.tokens = 0;
        generation.text.clear();
        generation.ended_ms = None;
        generation.progress = Progress::Running;
    }

    fn receive(&mut self, tokens: &pb::Tokens) {
        if let Some(generation) = self.generations.get_mut(&tokens.job)
            && generation.attempt == tokens.attempt
        {
            generation.tokens += 1;
            generation.text.push_str(&tokens.text);
        }
    }

    fn end(&mut self, finished: &pb::GenerationFinished) {
        let now_ms = self.now_ms;
        let generation = self.generations.entry(finished.job).or_default();
        finished.agent_id.clone_into(&mut generation.agent);
        generation.ended_ms = Some(now_ms);
        match &finished.result {
            Some(generation_finished::Result::Generation(result)) => {
                generation.progress = Progress::Completed;
                generation.tokens = u32::try_from(result.completion_tokens).unwrap_or_default();
                result.text.clone_into(&mut generation.text);
            }
            Some(generation_finished::Result::Failure(failure)) if failure.kind == "cancelled" => {
                generation.progress = Progress::Cancelled;
            }
            Some(generation_finished::Result::Failure(failure)) => {
                generation.progress = Progress::Failed(failure.message.clone());
            }
            // An end that this build does not know.
            None => generation.progress = Progress::Failed(String::new()),
        }
    }

    /// What was open will be sent again.
    fn rest(&mut self) {
        self.paused = true;
        self.close_open();
    }

    fn finish(&mut self, finished: &pb::Finished, time: Option<Timestamp>) {
        self.close_open();
        self.paused = false;
        let deliberation = &mut self.deliberation;
        deliberation.set_state(finished.state());
        deliberation.outcome.clone_from(&finished.outcome);
        deliberation.failure.clone_from(&finished.failure);
        deliberation
            .cancel_reason
            .clone_from(&finished.cancel_reason);
        deliberation.usage = finished.usage;
        deliberation.end_time = time;
        deliberation.update_time = time;
        deliberation.sequence = self.after;
    }

    fn close_open(&mut self) {
        let now_ms = self.now_ms;
        for generation in self.generations.values_mut() {
            if generation.progress == Progress::Running {
                generation.progress = Progress::Cancelled;
                generation.ended_ms = Some(now_ms);
            }
        }
    }

    fn since_acceptance(&self, time: &Timestamp) -> u64 {
        let start = self
            .deliberation
            .create_time
            .as_ref()
            .map_or_else(|| unix_ms(time), unix_ms);
        u64::try_from(unix_ms(time) - start).unwrap_or_default()
    }

    /// From acceptance to the end, where both are known.
    pub(super) fn took_ms(&self) -> Option<u64> {
        let start = self.deliberation.create_time.as_ref().map(unix_ms)?;
        let end = self.deliberation.end_time.as_ref().map(unix_ms)?;
        u64::try_from(end - start).ok()
    }
}

/// Whether it has its one outcome.
pub(super) fn is_final(deliberation: &pb::Deliberation) -> bool {
    !matches!(deliberation.state(), State::Running | State::Unspecified)
}

pub(super) fn unix_ms(time: &Timestamp) -> i64 {
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

fn graded(ranked: &pb::RankedCandidate) -> Option<(String, f64)> {
    let agent = ranked.candidate.as_ref()?.agent_id.clone();
    Some((agent, ranked.score.as_ref()?.value))
}

/// Votes by answer, most first, from a JSON object with `answers`, or from one that is the answers.
pub(super) fn votes(json: &str) -> Option<Vec<(String, u64)>> {
    let payload: Value = serde_json::from_str(json).ok()?;
    let answers = payload.get("answers").unwrap_or(&payload).as_object()?;
    let votes = answers
        .iter()
        .map(|(answer, votes)| Some((answer.clone(), votes.as_u64()?)));
    let mut votes = votes.collect::<Option<Vec<_>>>()?;
    votes.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    Some(votes)
}
