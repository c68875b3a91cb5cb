//! A deliberation's journal, told as events.

use std::collections::BTreeMap;

use conclave_core::clock::Clock;
use conclave_core::entry::{Entry, JobInfo, Record};
use conclave_core::generation::{Failure, FinishReason, Generation};
use conclave_core::ids::{Actor, JobId, Seq};
use conclave_core::live::Update;
use conclave_core::outcome::{Candidate, Score, Spent, Verdict};
use conclave_core::view::{State, View};

use super::deliberation::{
    End, candidate, deliberation, generation_failure, placement, score, usage,
};
use super::pb;
use super::pb::deliberation_event::Event;
use crate::grpc::wire::{duration, int32, int64, timestamp};

/// Tells a deliberation's updates to a watcher. It is shown every record from the first on, since
/// what comes later refers to it, and tells what lies behind the last event that the watcher saw.
#[derive(Debug)]
pub(super) struct Narrator {
    after: Seq,
    clock: Clock,
    accepted_at_ms: u64,
    jobs: BTreeMap<JobId, JobInfo>,
    scorings: BTreeMap<Actor, Vec<Candidate>>,
}

impl Narrator {
    /// Tells what lies behind `after`.
    pub(super) fn new(after: Seq, clock: Clock) -> Self {
        Self {
            after,
            clock,
            accepted_at_ms: 0,
            jobs: BTreeMap::new(),
            scorings: BTreeMap::new(),
        }
    }

    /// The event that an update is, if it is one.
    pub(super) fn tell(&mut self, update: &Update) -> Option<pb::DeliberationEvent> {
        match update {
            Update::Record(record) => self.record(record),
            Update::Tokens { job, attempt, text } => Some(pb::DeliberationEvent {
                sequence: 0,
                time: Some(timestamp(self.clock.unix_ms())),
                event: Some(Event::Tokens(pb::Tokens {
                    job: int32(job.0),
                    attempt: int32(*attempt),
                    text: text.as_ref().to_owned(),
                })),
            }),
        }
    }

    fn record(&mut self, record: &Record) -> Option<pb::DeliberationEvent> {
        let event = self.entry(record);
        if record.seq <= self.after {
            return None;
        }
        Some(pb::DeliberationEvent {
            sequence: int64(record.seq.0),
            time: Some(timestamp(self.accepted_at_ms.saturating_add(record.at_ms))),
            event: Some(event?),
        })
    }

    /// The event that an entry is: those that only a replay needs are none.
    fn entry(&mut self, record: &Record) -> Option<Event> {
        Some(match &record.entry {
            Entry::Accepted(accepted) => {
                self.accepted_at_ms = accepted.accepted_at_ms;
                let view = View::of(std::slice::from_ref(record))?;
                Event::Accepted(Box::new(pb::Accepted {
                    deliberation: Some(deliberation(&view)),
                }))
            }
            Entry::Submitted { job, what, .. } => {
                self.jobs.insert(*job, what.clone());
                return None;
            }
            Entry::Attempt {
                job,
                attempt,
                after,
                ..
            } => self.started(*job, *attempt, after.as_ref()),
            Entry::Completed { job, result, .. } => self.finished(*job, result),
            Entry::Scoring {
                scorer, candidates, ..
            } => {
                self.scorings.insert(*scorer, candidates.clone());
                Event::CandidatesProposed(pb::CandidatesProposed {
                    call: int32(scorer.0),
                    candidates: candidates.iter().map(candidate).collect(),
                })
            }
            Entry::Scored { scorer, result, .. } => self.scored(*scorer, result),
            Entry::Emitted { kind, payload, .. } => Event::Progress(pb::Progress {
                kind: kind.clone(),
                payload_json: payload.clone(),
            }),
            Entry::CancelRequested { reason } => Event::CancelRequested(pb::CancelRequested {
                reason: reason.clone(),
            }),
            Entry::Paused { wasted_tokens } => Event::Paused(pb::Paused {
                wasted_tokens: int64(*wasted_tokens),
            }),
            Entry::Finished { verdict, spent } => Event::Finished(ended(verdict, spent)),
            Entry::Delivered { .. }
            | Entry::Cancelled { .. }
            | Entry::Budget { .. }
            | Entry::Timer { .. } => {
                return None;
            }
        })
    }

    fn started(&self, job: JobId, attempt: u32, after: Option<&Failure>) -> Event {
        let what = self.jobs.get(&job);
        let text = |of: fn(&JobInfo) -> &str| what.map(of).unwrap_or_default().to_owned();
        Event::GenerationStarted(pb::GenerationStarted {
            job: int32(job.0),
            agent_id: text(|what| what.agent.as_str()),
            model: text(|what| what.model.as_str()),
            phase: text(|what| &what.phase),
            round: int32(what.map_or(0, |what| what.round)),
            attempt: int32(attempt),
            retry_cause: after.map(generation_failure),
        })
    }

    fn finished(&self, job: JobId, result: &Result<Generation, Failure>) -> Event {
        use pb::generation_finished::Result as Wire;
        let what = self.jobs.get(&job);
        Event::GenerationFinished(pb::GenerationFinished {
            job: int32(job.0),
            agent_id: what.map(|what| what.agent.to_string()).unwrap_or_default(),
            result: Some(match result {
                Ok(answer) => Wire::Generation(generation(answer)),
                Err(failure) => Wire::Failure(generation_failure(failure)),
            }),
        })
    }

    fn scored(&mut self, scorer: Actor, result: &Result<Vec<Score>, Failure>) -> Event {
        let candidates = self.scorings.remove(&scorer).unwrap_or_default();
        let scores = result.as_deref().unwrap_or_default();
        let pairs = candidates.iter().zip(scores);
        let ranked = |(of, grade): (&Candidate, &Score)| pb::RankedCandidate {
            candidate: Some(candidate(of)),
            score: Some(score(grade)),
        };
        Event::CandidatesScored(pb::CandidatesScored {
            call: int32(scorer.0),
            scored: pairs.map(ranked).collect(),
            failure: result.as_ref().err().map(generation_failure),
        })
    }
}

pub(super) fn generation(generation: &Generation) -> pb::Generation {
    use pb::generation::FinishReason as Wire;
    let finish_reason = match generation.finish {
        FinishReason::Stop => Wire::Stop,
        FinishReason::Length => Wire::Length,
        FinishReason::Aborted => Wire::Aborted,
    };
    pb::Generation {
        text: generation.text.clone(),
        reasoning: generation.reasoning.clone().unwrap_or_default(),
        finish_reason: finish_reason.into(),
        prompt_tokens: int32(generation.usage.prompt_tokens),
        cached_tokens: int32(generation.usage.cached_tokens),
        completion_tokens: int32(generation.usage.completion_tokens),
        latency: Some(duration(std::time::Duration::from_millis(
            generation.latency_ms.into(),
        ))),
        placement: generation.placement.as_deref().map(placement),
    }
}

fn ended(verdict: &Verdict, spent: &Spent) -> pb::Finished {
    let end = End::of(&match verdict.clone() {
        Verdict::Completed(outcome) => State::Completed(outcome),
        Verdict::Failed(cause) => State::Failed(cause),
        Verdict::Cancelled(reason) => State::Cancelled(reason),
    });
    pb::Finished {
        state: end.state.into(),
        outcome: end.outcome,
        failure: end.failure,
        cancel_reason: end.cancel_reason,
        usage: Some(usage(spent)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conclave_core::ids::DeliberationId;
    use conclave_core::testkit::journal::every_entry;

    use super::*;

    fn told(after: u64) -> Vec<pb::DeliberationEvent> {
        let mut narrator = Narrator::new(Seq(after), Clock::system());
        let records = every_entry(&DeliberationId::new("deliberation-1"));
        let updates = records.into_iter().map(Update::Record);
        updates
            .filter_map(|update| narrator.tell(&update))
            .collect()
    }

    #[test]
    fn an_entry_is_at_most_one_event_with_its_sequence_and_time() {
        let events = told(0);
        let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert!(
            sequences.windows(2).all(|pair| pair[0] < pair[1]),
            "{sequences:?}"
        );
        assert!(matches!(&events[0].event, Some(Event::Accepted(_))));
        let Some(Event::Finished(finished)) = &events.last().unwrap().event else {
            panic!("{events:?}");
        };
        assert_eq!(finished.state(), pb::deliberation::State::Completed);
        assert_eq!(events[1].sequence, 3);
        let time = events[1].time.unwrap();
        assert_eq!((time.seconds, time.nanos), (1_763_766_000, 144_000_000));
    }

    #[test]
    fn a_resumed_watch_knows_what_came_before() {
        let all = told(0);
        for (seen, last) in all.iter().enumerate() {
            let resumed = told(u64::try_from(last.sequence).unwrap());
            assert_eq!(resumed, all[seen + 1..], "behind {}", last.sequence);
        }
        let scored = all.iter().find_map(|event| match &event.event {
            Some(Event::CandidatesScored(scored)) if scored.failure.is_none() => Some(scored),
            _ => None,
        });
        assert_eq!(
            scored.unwrap().scored[0]
                .candidate
                .as_ref()
                .unwrap()
                .content,
            "yes"
        );
    }

    #[test]
    fn a_generation_is_told_with_its_agent_and_its_cause_of_retry() {
        let started: Vec<_> = told(0)
            .into_iter()
            .filter_map(|event| match event.event {
                Some(Event::GenerationStarted(started)) => Some(started),
                _ => None,
            })
            .collect();
        assert_eq!(
            (started[0].agent_id.as_str(), started[0].phase.as_str()),
            ("skeptic", "propose")
        );
        assert_eq!(
            (started[0].round, started[0].retry_cause.clone()),
            (2, None)
        );
        let cause = started.last().unwrap().retry_cause.clone().unwrap();
        assert_eq!(
            (cause.kind.as_str(), cause.message.as_str()),
            ("unavailable", "connection refused")
        );
    }

    #[test]
    fn tokens_have_no_sequence() {
        let mut narrator = Narrator::new(Seq::START, Clock::system());
        let tokens = Update::Tokens {
            job: JobId(2),
            attempt: 1,
            text: Arc::from("for"),
        };
        let event = narrator.tell(&tokens).unwrap();
        assert_eq!(event.sequence, 0);
        assert!(matches!(event.event, Some(Event::Tokens(tokens)) if tokens.text == "for"));
    }
}
