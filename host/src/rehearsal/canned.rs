//! The canned deliberation: whoever may be a plugin has deliberated once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::generation::GenerationRequest;
use conclave_core::ids::{AgentId, JobId};
use conclave_core::outcome::{Candidate, Cause, CauseKind, Verdict};
use conclave_core::plugin::{Kind, Plugin};
use serde_json::json;

use super::answers::{Answer, Answers};
use super::cast::{Grades, Lead, Score};
use super::scene::Scene;
use super::stage::{Play, Played, Unplayable, play};
use crate::wasm::{ComponentError, Refusal, Solo};

/// What became of a canned deliberation that is no reason to refuse the plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Canned {
    /// There was none, for this reason.
    Skipped(String),
    /// It ended in an outcome.
    Completed {
        /// Generations that were asked for.
        generations: u32,
        /// In real time.
        took: Duration,
    },
    /// It ended in an error of the plugin's own, as it may.
    Refused {
        /// The error.
        message: String,
        /// In real time.
        took: Duration,
    },
}

impl fmt::Display for Canned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => write!(f, "not rehearsed: {reason}"),
            Self::Completed { generations, took } => {
                let generations = match generations {
                    0 => "no generation".to_owned(),
                    1 => "1 generation".to_owned(),
                    many => format!("{many} generations"),
                };
                let ms = took.as_millis();
                write!(f, "rehearsed: an outcome from {generations}, in {ms} ms")
            }
            Self::Refused { message, took } => {
                let ms = took.as_millis();
                write!(
                    f,
                    "rehearsed: an error of its own, as it may, in {ms} ms: {message}"
                )
            }
        }
    }
}

/// Every generation says the same.
struct SixTimesSeven;

impl Answers for SixTimesSeven {
    fn answer(&self, job: JobId, request: &GenerationRequest) -> Answer {
        let after = Duration::from_millis(1_000 + u64::from(job.0 % 7) * 100);
        let text = match request.sampling.json_schema {
            Some(_) => r#"{"answer": 42}"#,
            None => "Six times seven is 42.\n\n42",
        };
        Answer::text(text, after)
    }
}

/// Three candidates for a scorer to grade.
pub(super) fn candidates() -> Vec<Candidate> {
    let candidate = |(number, content): (u32, &str)| Candidate {
        agent: AgentId::new(format!("agent-{number}")),
        content: content.to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    };
    let contents = [(1, "It is 42."), (2, "42"), (3, "I think that it is 41.")];
    contents.map(candidate).into()
}

/// Lets a plugin deliberate once, with the params `{}`: a strategy with three agents and given grades,
/// a scorer on three candidates.
///
/// # Errors
/// Why it must be refused: it trapped, exceeded a limit, broke a rule of the contract, or did not come
/// to an end; or that this machine cannot find out now.
pub async fn canned(solo: &Solo, plugin: &Plugin) -> Result<Canned, ComponentError> {
    let violations = plugin.params.violations("params", &json!({}));
    if let Some(first) = violations.first() {
        let reason = format!("its params-schema does not accept `{{}}`: {first}");
        return Ok(Canned::Skipped(reason));
    }
    let mut scene = Scene::of_agents(3);
    let (strategy, scorer) = match plugin.kind {
        Kind::Strategy => {
            scene.strategy = plugin.reference.clone();
            let lead = Lead::Component(solo.clone());
            (lead, Score::Grades(Grades::falling()))
        }
        Kind::Scorer => {
            scene.scorer = plugin.reference.clone();
            let score = Score::Component(solo.clone());
            (Lead::Grading(candidates()), score)
        }
    };
    let unplayable = |error: &dyn fmt::Display| format!("cannot be rehearsed: {error}");
    let accepted = scene.accepted();
    let accepted = accepted.map_err(|error| refused(unplayable(&error)))?;
    let played = play(Play {
        records: vec![accepted],
        strategy,
        scorer,
        answers: Arc::new(SixTimesSeven),
        cancel_at_ms: None,
    });
    let played = played.await.map_err(|error| match error {
        Unplayable::Thread(_) => ComponentError::NotNow(unplayable(&error)),
        Unplayable::Unopenable(_) | Unplayable::Broken(_) => refused(unplayable(&error)),
    });
    judged(&played?).map_err(refused)
}

fn refused(reason: String) -> ComponentError {
    let reasons = vec![reason];
    Refusal { reasons }.into()
}

fn judged(played: &Played) -> Result<Canned, String> {
    let took = played.took;
    match &played.verdict {
        Verdict::Completed(_) => Ok(Canned::Completed {
            generations: u32::try_from(played.requests.len()).unwrap_or(u32::MAX),
            took,
        }),
        Verdict::Failed(cause) if is_its_own(cause) => Ok(Canned::Refused {
            message: cause.message.clone(),
            took,
        }),
        Verdict::Failed(cause) => Err(format!(
            "does not survive a deliberation with three agents and a scripted model server: \
             {cause}{}",
            last_words(&played.log)
        )),
        Verdict::Cancelled(reason) => Err(format!("its rehearsal was cancelled: {reason}")),
    }
}

/// What it logged last: a panic tells its message there. Nothing of it is anybody's, since the answers
/// were scripted.
fn last_words(log: &[String]) -> String {
    const LINES_MAX: usize = 3;
    match log.get(log.len().saturating_sub(LINES_MAX)..) {
        None | Some([]) => String::new(),
        Some(lines) => format!("; it logged last: {}", lines.join(" | ")),
    }
}

/// Whether a failure is an error that the contract lets a plugin return.
pub(super) fn is_its_own(cause: &Cause) -> bool {
    matches!(
        cause.kind,
        CauseKind::StrategyFailed | CauseKind::AllAgentsFailed
    )
}
