//! What the journal of a deliberation holds of each generation and of each call of the scorer, and
//! what they cost: folds over its entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Accepted, Entry, JobInfo, Record};
use crate::generation::{Failure, Generation};
use crate::ids::{Actor, DeliberationId, JobId, Seq, Tenant};
use crate::journal::{Error, Journal};
use crate::outcome::{Candidate, Score, Spent};

/// What has become of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It was asked for and not sent yet.
    Waiting,
    /// It was sent and has not ended. While the host is down, it rests.
    Running,
    /// It has a result.
    Completed(Generation),
    /// It has none, and is not tried again.
    Failed(Failure),
    /// Nobody wanted it any more.
    Cancelled,
}

/// One generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationAccount {
    /// Its number.
    pub job: JobId,
    /// Who asked for it: the strategy, or the scorer in one of its calls.
    pub actor: Actor,
    /// What it is.
    pub what: JobInfo,
    /// How often it was sent.
    pub attempts: u32,
    /// Why attempts failed that were followed by another one, in order.
    pub retry_causes: Vec<Failure>,
    /// What has become of it.
    pub progress: Progress,
    /// Tokens that were received from aborted attempts.
    pub wasted_tokens: u32,
    /// When it was asked for, in milliseconds since acceptance.
    pub submitted_at_ms: u64,
    /// When it was first about to be sent.
    pub started_at_ms: Option<u64>,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
}

/// One call of the scorer.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreAccount {
    /// The scorer's actor in this call, numbered from 1.
    pub call: Actor,
    /// What was to be graded.
    pub candidates: Vec<Candidate>,
    /// A grade for each candidate, in order; `None` while the scorer works, and for ever when the
    /// deliberation ended meanwhile.
    pub result: Option<Result<Vec<Score>, Failure>>,
    /// When it was asked for, in milliseconds since acceptance.
    pub started_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
}

/// The account of a deliberation.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// As it was accepted.
    pub accepted: Box<Accepted>,
    /// In the order in which they were asked for.
    pub generations: Vec<GenerationAccount>,
    /// In the order in which they were made.
    pub scores: Vec<ScoreAccount>,
}

impl Account {
    /// The account of these records; `None` when the first is not the acceptance.
    #[must_use]
    pub fn of(records: &[Record]) -> Option<Self> {
        let Entry::Accepted(accepted) = &records.first()?.entry else {
            return None;
        };
        let mut account = Self {
            accepted: accepted.clone(),
            generations: Vec::new(),
            scores: Vec::new(),
        };
        // Generations by number: a scorer's are numbered among the strategy's.
        let mut places = BTreeMap::new();
        for record in records {
            account.observe(record, &mut places);
        }
        account.generations.sort_by_key(|one| one.job);
        Some(account)
    }

    fn observe(&mut self, record: &Record, places: &mut BTreeMap<JobId, usize>) {
        let at_ms = record.at_ms;
        let generations = &mut self.generations;
        match &record.entry {
            Entry::Submitted {
                actor, job, what, ..
            } => {
                places.insert(*job, generations.len());
                generations.push(GenerationAccount {
                    job: *job,
                    actor: *actor,
                    what: what.clone(),
                    attempts: 0,
                    retry_causes: Vec::new(),
                    progress: Progress::Waiting,
                    wasted_tokens: 0,
                    submitted_at_ms: at_ms,
                    started_at_ms: None,
                    ended_at_ms: None,
                });
            }
            Entry::Attempt { job, after, .. } => {
                if let Some(one) = places.get(job).map(|at| &mut generations[*at]) {
                    one.attempts += 1;
                    one.retry_causes.extend(after.clone());
                    one.progress = Progress::Running;
                    one.started_at_ms.get_or_insert(at_ms);
                }
            }
            Entry::Completed {
                job,
                result,
                wasted_tokens,
            } => {
                if let Some(one) = places.get(job).map(|at| &mut generations[*at]) {
                    one.ended_at_ms = Some(at_ms);
                    one.wasted_tokens = one.wasted_tokens.saturating_add(*wasted_tokens);
                    one.progress = match result {
                        Ok(generation) => Progress::Completed(generation.clone()),
                        Err(Failure::Cancelled) => Progress::Cancelled,
                        Err(failure) => Progress::Failed(failure.clone()),
                    };
                }
            }
            Entry::Scoring {
                scorer, candidates, ..
            } => self.scores.push(ScoreAccount {
                call: *scorer,
                candidates: candidates.clone(),
                result: None,
                started_at_ms: at_ms,
                ended_at_ms: None,
            }),
            Entry::Scored { scorer, result, .. } => {
                let call = self.scores.iter_mut().rfind(|one| one.call == *scorer);
                if let Some(call) = call {
                    call.result = Some(result.clone());
                    call.ended_at_ms = Some(at_ms);
                }
            }
            // Whatever was open when it ended is wanted by nobody.
            Entry::Finished { .. } => {
                for one in generations.iter_mut().filter(|one| one.is_open()) {
                    one.progress = Progress::Cancelled;
                    one.ended_at_ms = Some(at_ms);
                }
            }
            _ => {}
        }
    }

    /// What it cost, grouped by what `key` says of each generation, in the order of the keys.
    #[must_use]
    pub fn cost_by(&self, key: impl Fn(&GenerationAccount) -> String) -> BTreeMap<String, Cost> {
        let mut costs = BTreeMap::<String, Cost>::new();
        for generation in &self.generations {
            costs.entry(key(generation)).or_default().add(generation);
        }
        costs
    }

    /// What all generations cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for generation in &self.generations {
            cost.add(generation);
        }
        cost
    }
}

impl GenerationAccount {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Waiting | Progress::Running)
    }
}

/// What generations cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers and tokens. Tokens of attempts that a stop of the host aborted are no generation's, and
    /// only in the deliberation's own sum.
    pub spent: Spent,
    /// Prompt tokens that the model server had cached.
    pub cached_tokens: u64,
    /// Sum of the latencies of finished generations, in milliseconds: more than the time that passed
    /// when they ran side by side.
    pub latency_ms_sum: u64,
}

impl Cost {
    fn add(&mut self, generation: &GenerationAccount) {
        let spent = &mut self.spent;
        spent.generations += 1;
        spent.wasted_tokens += u64::from(generation.wasted_tokens);
        match &generation.progress {
            Progress::Completed(result) => {
                spent.generations_completed += 1;
                spent.prompt_tokens += u64::from(result.usage.prompt_tokens);
                spent.completion_tokens += u64::from(result.usage.completion_tokens);
                self.cached_tokens += u64::from(result.usage.cached_tokens);
                self.latency_ms_sum += u64::from(result.latency_ms);
            }
            Progress::Failed(_) => spent.generations_failed += 1,
            Progress::Cancelled => spent.generations_cancelled += 1,
            Progress::Waiting | Progress::Running => {}
        }
    }
}

/// Reads accounts from the journal.
#[derive(Clone)]
pub struct ReadAccount {
    journal: Arc<dyn Journal>,
}

impl ReadAccount {
    /// Reads what the journal holds.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal }
    }

    /// The account of a deliberation up to now.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, and for one of another tenant.
    pub async fn read(&self, tenant: &Tenant, id: &DeliberationId) -> Result<Account, Error> {
        let records = self.records(tenant, id).await?;
        Account::of(&records).ok_or_else(|| corrupt(id))
    }

    /// All records of a deliberation up to now.
    ///
    /// # Errors
    /// As [`ReadAccount::read`].
    pub async fn records(
        &self,
        tenant: &Tenant,
        id: &DeliberationId,
    ) -> Result<Vec<Record>, Error> {
        let records = self.journal.read(id, Seq::START).await?;
        match records.first().map(|record| &record.entry) {
            Some(Entry::Accepted(accepted)) if accepted.tenant == *tenant => Ok(records),
            Some(Entry::Accepted(_)) => Err(Error::NotFound(id.clone())),
            _ => Err(corrupt(id)),
        }
    }
}

fn corrupt(id: &DeliberationId) -> Error {
    Error::Corrupt {
        id: id.clone(),
        seq: Seq::START.next(),
        reason: "the first entry is not `accepted`".to_owned(),
    }
}

impl std::fmt::Debug for ReadAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadAccount").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{FinishReason, Usage};
    use crate::ids::{AgentId, Digest, ModelName};
    use crate::outcome::Verdict;
    use crate::tally::Tally;
    use crate::testkit::journal::accepted;

    fn submitted(job: u32, agent: &str, phase: &str) -> Entry {
        Entry::Submitted {
            actor: Actor::STRATEGY,
            job: JobId(job),
            what: JobInfo {
                agent: AgentId::new(agent),
                model: ModelName::new("tiny"),
                phase: phase.to_owned(),
                round: 0,
            },
            request: Digest::of(b""),
        }
    }

    fn attempt(job: u32, attempt: u32, after: Option<Failure>) -> Entry {
        Entry::Attempt {
            job: JobId(job),
            attempt,
            after,
            temperature: None,
        }
    }

    fn completed(job: u32, result: Result<Generation, Failure>, wasted_tokens: u32) -> Entry {
        Entry::Completed {
            job: JobId(job),
            result,
            wasted_tokens,
        }
    }

    fn generation(tokens: u32) -> Generation {
        Generation {
            text: "yes".to_owned(),
            reasoning: None,
            finish: FinishReason::Stop,
            usage: Usage {
                prompt_tokens: 10,
                cached_tokens: 4,
                completion_tokens: tokens,
            },
            logprobs: Vec::new(),
            latency_ms: 100,
            placement: None,
        }
    }

    fn account(entries: Vec<Entry>) -> Account {
        let first = accepted(&DeliberationId::new("deliberation-1"));
        let rest = entries.into_iter().zip(2..).map(|(entry, seq)| Record {
            seq: Seq(seq),
            at_ms: seq * 10,
            entry,
        });
        let records: Vec<_> = std::iter::once(first).chain(rest).collect();
        Account::of(&records).unwrap()
    }

    fn sample() -> Vec<Entry> {
        let overloaded = Failure::Unavailable("overloaded".to_owned());
        vec![
            submitted(1, "a", "propose"),
            submitted(2, "b", "propose"),
            attempt(1, 1, None),
            attempt(2, 1, None),
            attempt(1, 2, Some(overloaded.clone())),
            completed(1, Ok(generation(5)), 0),
            completed(2, Err(overloaded), 3),
            submitted(3, "a", "revise"),
            attempt(3, 1, None),
            completed(3, Err(Failure::Cancelled), 2),
            submitted(4, "a", "revise"),
        ]
    }

    #[test]
    fn each_generation_tells_its_attempts_times_and_end() {
        let account = account(sample());
        let [first, second, third, fourth] = &account.generations[..] else {
            unreachable!("four were asked for");
        };
        assert_eq!((first.attempts, first.retry_causes.len()), (2, 1));
        assert_eq!(first.submitted_at_ms, 20);
        assert_eq!(
            (first.started_at_ms, first.ended_at_ms),
            (Some(40), Some(70))
        );
        assert_eq!(first.progress, Progress::Completed(generation(5)));
        assert!(matches!(second.progress, Progress::Failed(_)) && second.wasted_tokens == 3);
        assert_eq!(third.progress, Progress::Cancelled);
        assert_eq!(
            (&fourth.progress, fourth.started_at_ms),
            (&Progress::Waiting, None)
        );
    }

    #[test]
    fn costs_are_grouped_and_sum_up_to_the_tally() {
        let entries = sample();
        let tally = Tally::of(&entries).spent();
        let account = account(entries);
        assert_eq!(account.cost().spent, tally);
        let by_agent = account.cost_by(|one| one.what.agent.to_string());
        assert_eq!(by_agent.keys().collect::<Vec<_>>(), ["a", "b"]);
        let a = by_agent["a"];
        assert_eq!((a.spent.generations, a.spent.generations_completed), (3, 1));
        assert_eq!((a.cached_tokens, a.latency_ms_sum), (4, 100));
        let by_phase = account.cost_by(|one| one.what.phase.clone());
        assert_eq!(by_phase["propose"].spent.wasted_tokens, 3);
        assert_eq!(by_phase["revise"].spent.generations_cancelled, 1);
    }

    #[test]
    fn what_was_open_at_the_end_is_cancelled_and_a_scorer_that_was_is_left_without_grades() {
        let mut entries = sample();
        entries.push(Entry::Scoring {
            actor: Actor::STRATEGY,
            scorer: Actor(1),
            candidates: Vec::new(),
        });
        entries.push(Entry::Finished {
            verdict: Verdict::Cancelled(String::new()),
            spent: Spent::default(),
        });
        let account = account(entries);
        let last = account.generations.last().unwrap();
        assert_eq!(
            (&last.progress, last.ended_at_ms),
            (&Progress::Cancelled, Some(140))
        );
        assert_eq!(
            (account.scores[0].call, &account.scores[0].result),
            (Actor(1), &None)
        );
    }
}
