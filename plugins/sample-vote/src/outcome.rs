//! From the samples to ranked candidates.

use conclave_sdk::extract::normalized;
use conclave_sdk::vote::{Tally, majority_posterior};
use conclave_sdk::{Candidate, Context, Error, Outcome, Ranked, Score, Task};

use crate::ballot::{Ballot, Sample, by_answer};
use crate::params::Params;
use crate::stop::Stop;

/// A candidate with the place of its answer in the tally; `None` if it has no answer.
#[derive(Debug)]
struct Standing {
    candidate: Candidate,
    answer: Option<usize>,
}

/// Ranks what was sampled and tells how it was.
pub(crate) fn of(
    ctx: &Context,
    task: &Task,
    params: &Params,
    ballot: &Ballot,
) -> Result<Outcome, Error> {
    if ballot.samples.is_empty() {
        return Err(match &ballot.last_failure {
            Some(failure) => Error::new(failure).context("no generation succeeded"),
            None => Error::new("no generation was asked for"),
        });
    }
    // Where no text has an answer, the whole texts are the answers.
    let extracted = !ballot.tally.answers().is_empty();
    let answer_of = |sample: &Sample| match extracted {
        true => sample.answer.clone(),
        false => Some(normalized(&sample.generation.text)),
    };
    let mut tally = Tally::new();
    for sample in &ballot.samples {
        if let Some(answer) = answer_of(sample) {
            tally.add(&answer, 1);
        }
    }

    let standings = candidates(task, ballot, |sample| {
        let answer = answer_of(sample)?;
        tally.answers().iter().position(|one| one.text == answer)
    });
    let graded: Vec<Candidate> = standings.iter().map(|one| one.candidate.clone()).collect();
    let scores = ctx.score(&graded)?;
    let ranked = rank(&tally, standings, scores);

    let winner = ranked.first().and_then(|(answer, _)| *answer);
    let winner = winner.map(|place| tally.answers()[place].text.clone());
    let winner = winner.unwrap_or_default();
    let planned = params.planned(task);
    Ok(Outcome::new(
        ranked.into_iter().map(|(_, ranked)| ranked).collect(),
        reasoning(params, ballot, &tally, &winner, extracted),
    )
    .stopped_early(ballot.stopped && ballot.votes.len() < planned)
    .fact("answer", winner)
    .fact("votes", serde_json::to_string(&by_answer(&tally))?)
    .fact("samples_planned", planned.to_string())
    .fact("samples_used", ballot.samples.len().to_string())
    .fact("abstained", ballot.abstained().to_string())
    .fact("failed", ballot.failed().to_string()))
}

/// One candidate for each agent and answer, in the order in which they were first seen.
fn candidates(
    task: &Task,
    ballot: &Ballot,
    place: impl Fn(&Sample) -> Option<usize>,
) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::new();
    for sample in &ballot.samples {
        let agent = &task.agents[sample.agent];
        let answer = place(sample);
        let same = standings
            .iter_mut()
            .find(|other| other.candidate.agent == agent.id && other.answer == answer);
        match same {
            Some(standing) => standing.candidate.jobs.push(sample.generation.job),
            None => standings.push(Standing {
                candidate: Candidate::from_generation(agent, sample.generation.clone()),
                answer,
            }),
        }
    }
    standings
}

/// Sorts by votes; answers with equally many by their best score, then by which was seen first;
/// candidates of one answer by score. Those without an answer come last.
fn rank(
    tally: &Tally,
    standings: Vec<Standing>,
    scores: Vec<Score>,
) -> Vec<(Option<usize>, Ranked)> {
    let mut best = vec![f64::NEG_INFINITY; tally.answers().len()];
    for (standing, score) in standings.iter().zip(&scores) {
        if let Some(place) = standing.answer {
            best[place] = best[place].max(score.value);
        }
    }
    let mut ranked: Vec<_> = standings
        .into_iter()
        .zip(scores)
        .map(|(standing, score)| {
            let candidate = standing.candidate;
            (standing.answer, Ranked { candidate, score })
        })
        .collect();
    let votes = |place: Option<usize>| place.map(|place| tally.answers()[place].votes);
    let best = |place: Option<usize>| place.map_or(0.0, |place| best[place]);
    ranked.sort_by(|(a, one), (b, other)| {
        votes(*b)
            .cmp(&votes(*a))
            .then_with(|| best(*b).total_cmp(&best(*a)))
            .then_with(|| a.cmp(b))
            .then_with(|| other.score.value.total_cmp(&one.score.value))
    });
    ranked
}

/// How the winner was chosen, for people.
fn reasoning(
    params: &Params,
    ballot: &Ballot,
    tally: &Tally,
    winner: &str,
    extracted: bool,
) -> String {
    let (votes, rival) = tally.against_strongest_other(winner);
    let mut text = format!(
        "`{}` has {votes} of {} votes",
        shortened(winner),
        tally.total()
    );
    if votes == rival {
        text.push_str(", as many as another answer; the score decided");
    }
    if !extracted {
        text.push_str("; no answer could be extracted, so whole texts were compared");
    }
    if ballot.stopped {
        match params.stop {
            Stop::None => {}
            Stop::Beta { .. } => {
                let posterior = majority_posterior(votes, rival);
                text.push_str(&format!(
                    "; sampling stopped at a posterior of {posterior:.4}"
                ));
            }
            Stop::Window { size } => {
                text.push_str(&format!(
                    "; sampling stopped at {size} equal answers in a row"
                ));
            }
            Stop::FirstM { m } => {
                text.push_str(&format!("; sampling stopped at the first {m} to finish"));
            }
        }
    }
    text
}

/// The first 80 characters of an answer, which may be a whole text.
fn shortened(answer: &str) -> String {
    match answer.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &answer[..end]),
        None => answer.to_owned(),
    }
}
