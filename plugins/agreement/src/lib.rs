//! The scorer `agreement`: a candidate is as good as many agree with it.
//!
//! # Algorithm
//!
//! The `extract` rule takes an answer from each candidate. A candidate has a vote for each
//! generation that it came from (its `jobs`), and one if it names none; votes for equal answers
//! are added up. The score by `method`:
//!
//! | method | score of a candidate | source |
//! |---|---|---|
//! | `share` (default) | its answer's votes, divided by all | self-consistency, arXiv 2203.11171 |
//! | `beta` | P(theta > 1/2) for theta of Beta(a + 1, b + 1), with its answer's votes a and the votes b of the strongest other answer | adaptive consistency, arXiv 2305.11860 |
//!
//! The confidence of a score is that posterior, by either method. A candidate without an answer
//! scores 0, and its votes count for nothing; when none has an answer, whole texts are compared
//! instead. No generation is run.

use conclave_sdk::extract::{Extract, normalized};
use conclave_sdk::vote::{Tally, majority_posterior};
use conclave_sdk::{Candidate, Error, Score, Scorer, Session, Task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scorer.
#[derive(Debug)]
pub struct Agreement;

/// The parameters of `agreement`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Where the answer is in a candidate.
    pub extract: Extract,
    /// What the score is.
    pub method: Method,
}

/// How votes become a score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The share of the votes.
    #[default]
    Share,
    /// The probability that the answer is truly more frequent than its strongest rival.
    Beta,
}

impl Scorer for Agreement {
    const NAME: &'static str = "agreement";
    const SUMMARY: &'static str = "Scores candidates by how many agree with them.";
    type Params = Params;

    async fn evaluate(
        _: &Session,
        _: Task,
        candidates: Vec<Candidate>,
        params: Params,
    ) -> Result<Vec<Score>, Error> {
        scores(&candidates, &params)
    }
}

conclave_sdk::scorer!(Agreement);

/// One score for each candidate, in order.
fn scores(candidates: &[Candidate], params: &Params) -> Result<Vec<Score>, Error> {
    let extractor = params.extract.compile()?;
    let mut answers: Vec<Option<String>> = candidates
        .iter()
        .map(|candidate| extractor.answer(&candidate.content))
        .collect();
    if answers.iter().all(Option::is_none) {
        answers = candidates
            .iter()
            .map(|candidate| Some(normalized(&candidate.content)))
            .collect();
    }

    let mut tally = Tally::new();
    for (candidate, answer) in candidates.iter().zip(&answers) {
        if let Some(answer) = answer {
            let votes = u32::try_from(candidate.jobs.len().max(1))?;
            tally.add(answer, votes);
        }
    }
    Ok(answers
        .iter()
        .map(|answer| score(&tally, answer.as_deref(), params.method))
        .collect())
}

fn score(tally: &Tally, answer: Option<&str>, method: Method) -> Score {
    let Some(answer) = answer else {
        return Score::new(0.0).rationale("no answer was found in it");
    };
    let (votes, rival) = tally.against_strongest_other(answer);
    let posterior = majority_posterior(votes, rival);
    let share = f64::from(votes) / f64::from(tally.total());
    let value = match method {
        Method::Share => share,
        Method::Beta => posterior,
    };
    Score::new(value)
        .confidence(posterior)
        .rationale(format!("{votes} of {} votes agree", tally.total()))
}

#[cfg(test)]
mod tests {
    use conclave_sdk::testing::{Script, task};
    use serde_json::{Value, json};

    use super::*;

    fn candidate(content: &str, jobs: &[u32]) -> Candidate {
        Candidate {
            agent: "a".to_owned(),
            content: content.to_owned(),
            reasoning: None,
            jobs: jobs.to_owned(),
        }
    }

    fn evaluate(params: &Value, candidates: &[Candidate]) -> Vec<Score> {
        let mut task = task("?", &["a"]);
        task.params = params.to_string();
        Script::new(|_| Ok(String::new()))
            .evaluate::<Agreement>(task, candidates.to_vec())
            .unwrap()
    }

    #[test]
    fn a_candidate_has_one_vote_for_each_of_its_jobs() {
        let candidates = [
            candidate("Yes", &[1, 2, 3]),
            candidate("no", &[4]),
            candidate("yes", &[]),
        ];
        let scores = evaluate(&json!({}), &candidates);
        let values: Vec<f64> = scores.iter().map(|score| score.value).collect();
        assert_eq!(values, [0.8, 0.2, 0.8]);
        assert_eq!(scores[0].rationale.as_deref(), Some("4 of 5 votes agree"));
    }

    #[test]
    fn beta_is_the_posterior_against_the_strongest_rival() {
        let params = json!({"method": "beta", "extract": {"rule": "last_integer"}});
        let candidates = [
            candidate("7", &[1, 2, 3, 4]),
            candidate("8", &[5]),
            candidate("none", &[6]),
        ];
        let scores = evaluate(&params, &candidates);
        assert_eq!(scores[0].value, majority_posterior(4, 1));
        assert_eq!(scores[1].value, majority_posterior(1, 4));
        assert_eq!(scores[2].value, 0.0);
    }

    #[test]
    fn whole_texts_are_compared_when_none_has_an_answer() {
        let params = json!({"extract": {"rule": "last_integer"}});
        let candidates = [candidate("red", &[1]), candidate("Red", &[2])];
        assert_eq!(evaluate(&params, &candidates)[0].value, 1.0);
    }
}
