//! Asks the agents in turn until the plan or the stop rule ends it.

use conclave_sdk::extract::Extractor;
use conclave_sdk::futures::StreamExt;
use conclave_sdk::futures::stream::FuturesUnordered;
use conclave_sdk::template::Scope;
use conclave_sdk::{Context, Error, Failure, Generation, GenerationRequest, Seeds, Task};

use crate::ballot::{Ballot, Sample};
use crate::params::Params;

/// What an agent is asked when it has no prompt template of its own.
const PROMPT: &str = "{{ task }}";

/// Samples until enough are there, and cancels what is open then.
pub(crate) async fn sample(ctx: &Context, task: &Task, params: &Params) -> Result<Ballot, Error> {
    let extractor = params.extract.compile()?;
    let requests = requests(task, params)?;
    let mut seeds = Seeds::of(&task.agents, &requests);
    let mut planned = params.planned(task);
    let room = ctx.remaining().open_generations;
    let room = room.map_or(usize::MAX, |room| room.max(1) as usize);

    let mut ballot = Ballot::default();
    let mut open = FuturesUnordered::new();
    let mut submitted = 0;
    loop {
        let open_max = params
            .stop
            .open_max(params.parallel, &ballot.tally, &ballot.votes);
        while submitted < planned && open.len() < open_max.min(room) {
            let agent = submitted % requests.len();
            match ctx.submit(requests[agent].clone().seed(seeds.next(ctx, agent))) {
                Ok(job) => open.push(async move { (agent, job.await) }),
                Err(failure @ Failure::BudgetExhausted(_)) => {
                    // Nothing more can be asked; what is open still counts.
                    ballot.last_failure = Some(failure);
                    planned = submitted;
                    break;
                }
                Err(failure) => ballot.count_failure(failure),
            }
            submitted += 1;
        }
        let Some((agent, outcome)) = open.next().await else {
            return Ok(ballot);
        };
        count(&mut ballot, &extractor, agent, outcome);
        ctx.emit("vote", &ballot.standing())?;
        if params.stop.is_met(&ballot.tally, &ballot.votes) {
            ballot.stopped = true;
            return Ok(ballot);
        }
    }
}

fn count(
    ballot: &mut Ballot,
    extractor: &Extractor,
    agent: usize,
    outcome: Result<Generation, Failure>,
) {
    match outcome {
        Ok(generation) => ballot.count(Sample {
            agent,
            answer: extractor.answer(&generation.text),
            generation,
        }),
        Err(failure) => ballot.count_failure(failure),
    }
}

/// One request for each agent, without a seed.
fn requests(task: &Task, params: &Params) -> Result<Vec<GenerationRequest>, Error> {
    let scope = Scope::new(task);
    task.agents
        .iter()
        .map(|agent| {
            let scope = scope.clone().agent(agent);
            let system = scope.render(&params.system);
            Ok(GenerationRequest::for_agent(agent)
                .system(system.map_err(|error| error.context("params: system"))?)
                .user(scope.prompt(agent, PROMPT)?)
                .temperature(params.temperature.map(|value| value as f32))
                .top_p(params.top_p.map(|value| value as f32))
                .max_tokens(params.max_tokens))
        })
        .collect()
}
