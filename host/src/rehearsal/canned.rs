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
use crate::wasm::{ComponentError, LAST_CALLS, Refusal, Solo};

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
            Self::Refused { message } => write!(
                f,
                "rehearsed: it ended with an error, which is allowed; if you did not mean it, mend \
                 it: {message}"
            ),
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
    match &played.verdict {
        Verdict::Completed(_) => Ok(Canned::Completed {
            generations: u32::try_from(played.requests.len()).unwrap_or(u32::MAX),
            took: played.took,
        }),
        Verdict::Failed(cause) if is_its_own(cause) => Ok(Canned::Refused {
            message: cause.message.clone(),
        }),
        Verdict::Failed(cause) => Err(format!(
            "does not survive a deliberation with three agents and a scripted model server: {}",
            with_last_words(&cause.to_string(), &played.log)
        )),
        Verdict::Cancelled(reason) => Err(format!("its rehearsal was cancelled: {reason}")),
    }
}

/// A failure with what the plugin logged last, which stands before the calls: they are many, and a long
/// reason is cut at its end. Nothing of the log is anybody's, since the answers were scripted.
fn with_last_words(failure: &str, log: &[String]) -> String {
    let words = last_words(log);
    if words.is_empty() {
        return failure.to_owned();
    }
    let (what, calls) = failure.split_at(failure.find(LAST_CALLS).unwrap_or(failure.len()));
    format!("{what}; it logged last: {words}{calls}")
}

/// From the last panic on, which tells its place and its message; where there is none, the last lines.
fn last_words(log: &[String]) -> String {
    const LINES_MAX: usize = 3;
    const LINES_OF_PANIC_MAX: usize = 8;
    // A plugin has no environment in which that variable could be set.
    let lines = log.iter().filter(|line| !line.contains("RUST_BACKTRACE"));
    let lines: Vec<_> = lines.map(String::as_str).collect();
    let panic = lines.iter().rposition(|line| line.contains("panicked at"));
    let shown = match panic {
        Some(at) => lines[at..].iter().take(LINES_OF_PANIC_MAX),
        None => lines[lines.len().saturating_sub(LINES_MAX)..]
            .iter()
            .take(LINES_MAX),
    };
    shown.copied().collect::<Vec<_>>().join(" | ")
}

/// Whether a failure is an error that the contract lets a plugin return.
pub(super) fn is_its_own(cause: &Cause) -> bool {
    matches!(
        cause.kind,
        CauseKind::StrategyFailed | CauseKind::AllAgentsFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_panic_tells_its_place_and_message_before_the_calls() {
        let log = lines(
            "INFO: 1\nINFO: 2\nERROR: thread '<unnamed>' panicked at src/lib.rs:59:36:\nERROR: boom\n\
             ERROR: 42\nERROR: note: run with `RUST_BACKTRACE=1` environment variable",
        );
        assert_eq!(
            with_last_words(
                "it trapped (in vote); its last calls of the host: job.wait",
                &log
            ),
            "it trapped (in vote); it logged last: ERROR: thread '<unnamed>' panicked at \
             src/lib.rs:59:36: | ERROR: boom | ERROR: 42; its last calls of the host: job.wait"
        );
    }

    #[test]
    fn without_a_panic_the_last_lines_are_told_and_without_a_log_nothing() {
        let told = with_last_words("it trapped", &lines("1\n2\n3\n4"));
        assert_eq!(told, "it trapped; it logged last: 2 | 3 | 4");
        assert_eq!(with_last_words("it trapped", &[]), "it trapped");
    }

    #[test]
    fn an_error_of_the_plugin_is_not_told_as_if_it_were_fine() {
        let canned = Canned::Refused {
            message: "AttributeError: x".to_owned(),
        };
        let told = canned.to_string();
        assert!(
            told.contains("if you did not mean it, mend it: AttributeError"),
            "{told}"
        );
    }
}
