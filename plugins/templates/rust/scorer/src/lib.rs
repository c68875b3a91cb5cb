//! The scorer `my-plugin`: the task's model grades each candidate from 0 to 10.

use conclave_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

pub struct MyPlugin;

/// What a client may set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// What makes an answer good.
    #[schemars(length(min = 1))]
    rubric: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rubric: "Is the answer correct and to the point?".to_owned(),
        }
    }
}

impl Scorer for MyPlugin {
    const NAME: &'static str = "my-plugin";
    const SUMMARY: &'static str = "The task's model grades each candidate from 0 to 10.";
    type Params = Params;

    async fn evaluate(
        ctx: &Session,
        task: Task,
        candidates: Vec<Candidate>,
        params: Params,
    ) -> Result<Vec<Score>, Error> {
        let grade = |candidate: &Candidate| {
            let prompt = format!(
                "Task: {}\n\nAnswer: {}\n\n{} Grade the answer from 0 to 10. Reply with the number alone.",
                task.description, candidate.content, params.rubric
            );
            ctx.generate(GenerationRequest::for_task_model().phase("grade").user(prompt))
        };
        let grades = ctx.all(candidates.iter().map(grade)).await;
        let mut scores = Vec::new();
        for (candidate, grade) in candidates.iter().zip(grades) {
            scores.push(score(&grade?.text).map_err(|error| {
                error.context(format_args!("the answer of agent `{}`", candidate.agent))
            })?);
        }
        Ok(scores)
    }
}

/// The first number from 0 to 10 of a text.
fn score(text: &str) -> Result<Score, Error> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find_map(|word| word.trim_matches('.').parse().ok())
        .filter(|grade| (0.0..=10.0).contains(grade))
        .map(|grade: f64| Score::new(grade / 10.0).rationale(format!("{grade} of 10")))
        .ok_or_else(|| "the model gave no grade from 0 to 10".into())
}

conclave_sdk::scorer!(MyPlugin);

#[cfg(test)]
mod tests {
    use conclave_sdk::testing::{Script, task};

    use super::*;

    fn candidates(contents: &[&str]) -> Vec<Candidate> {
        let candidate = |content: &&str| Candidate {
            agent: "ada".to_owned(),
            content: (*content).to_owned(),
            reasoning: None,
            jobs: Vec::new(),
        };
        contents.iter().map(candidate).collect()
    }

    #[test]
    fn grades_become_scores() {
        let script = Script::new(|request| {
            let good = request.messages[0].content.contains("Answer: yes");
            Ok(if good { "9" } else { "Grade: 2.5" }.to_owned())
        });
        let scores = script
            .evaluate::<MyPlugin>(task("Is 7 prime?", &["ada"]), candidates(&["yes", "no"]))
            .unwrap();
        assert_eq!(scores[0].value, 0.9);
        assert_eq!(scores[1].value, 0.25);
    }

    #[test]
    fn what_is_no_grade_fails() {
        let script = Script::new(|_| Ok("Nice.".to_owned()));
        let error = script
            .evaluate::<MyPlugin>(task("?", &["ada"]), candidates(&["yes"]))
            .unwrap_err();
        assert_eq!(error, "the answer of agent `ada`: the model gave no grade from 0 to 10");
    }
}
