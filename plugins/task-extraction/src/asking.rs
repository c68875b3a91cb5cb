//! The conversation with one agent, until its answer is valid.

use conclave_sdk::template::Scope;
use conclave_sdk::{
    Agent, Context, Error, Failure, FinishReason, Generation, GenerationRequest, Task,
};
use serde_json::json;

use crate::answer::{self, Tasks};
use crate::params::Params;

/// What an agent is asked when it has no prompt template of its own.
const PROMPT: &str = "{{ task }}";

/// How the conversation with an agent ended.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) agent: &'a Agent,
    /// How often it was asked.
    pub(crate) asks: u32,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// With a valid answer.
    Valid {
        tasks: Tasks,
        generation: Generation,
    },
    /// Without one: how often it was asked, and the violations of its last answer.
    Invalid(String),
    /// By a generation that failed before there was any answer.
    Failed(Failure),
}

/// A conversation with each agent, in order; none has begun.
pub(crate) fn conversations<'a>(
    ctx: &'a Context,
    task: &'a Task,
    params: &'a Params,
) -> Result<Vec<impl Future<Output = Result<Asked<'a>, Error>>>, Error> {
    let scope = Scope::new(task);
    let begun = task.agents.iter().map(|agent| {
        let scope = scope.clone().agent(agent);
        let system = scope.render(&params.system);
        let request = GenerationRequest::for_agent(agent)
            .system(system.map_err(|error| error.context("params: system"))?)
            .user(scope.prompt(agent, PROMPT)?)
            .temperature(0.0)
            .max_tokens(params.max_tokens)
            .json_schema(&answer::schema());
        Ok(converse(ctx, agent, request, params.asks_max))
    });
    begun.collect()
}

/// Asks until the answer is valid, the limit is reached, or a generation fails.
async fn converse<'a>(
    ctx: &Context,
    agent: &'a Agent,
    first: GenerationRequest,
    asks_max: u32,
) -> Result<Asked<'a>, Error> {
    let mut request = first.clone();
    let mut last: Option<Vec<String>> = None;
    let mut asks = 0;
    while asks < asks_max {
        let generation = match ctx.generate(request).await {
            Ok(generation) => generation,
            Err(failure) => {
                let end = match last {
                    // What the model made of it says more than that it could not be asked again.
                    Some(violations) => End::Invalid(reason(asks, &violations, Some(&failure))),
                    None => End::Failed(failure),
                };
                return Ok(Asked { agent, asks, end });
            }
        };
        asks += 1;
        let read = read(&generation);
        let count = read.as_ref().map_or_else(Vec::len, |_| 0);
        ctx.emit(
            "extraction",
            &json!({"agent": agent.id, "ask": asks, "violations": count}),
        )?;
        match read {
            Ok(tasks) => {
                let end = End::Valid { tasks, generation };
                return Ok(Asked { agent, asks, end });
            }
            Err(violations) => {
                request = again(&first, &generation.text, &violations, asks);
                last = Some(violations);
            }
        }
    }
    let end = End::Invalid(reason(asks, &last.unwrap_or_default(), None));
    Ok(Asked { agent, asks, end })
}

/// The tasks in a generation, or every violation.
fn read(generation: &Generation) -> Result<Tasks, Vec<String>> {
    answer::read(&generation.text).map_err(|mut violations| {
        if generation.finish == FinishReason::Length {
            let cut = "the answer was cut at the limit of tokens, write a shorter one";
            violations.insert(0, cut.to_owned());
        }
        violations
    })
}

/// The first request with the last answer and what is wrong with it: earlier answers would only take
/// room.
fn again(
    first: &GenerationRequest,
    text: &str,
    violations: &[String],
    round: u32,
) -> GenerationRequest {
    // Chat templates want turns, and some refuse an empty one.
    let text = if text.trim().is_empty() {
        "(nothing)"
    } else {
        text
    };
    let list = answer::told(violations).join("\n- ");
    let question = format!(
        "Your answer is not valid:\n- {list}\nReply with the whole corrected JSON object and nothing else."
    );
    let request = first.clone().assistant(text).user(question);
    request.phase("correct").round(round)
}

fn reason(asks: u32, violations: &[String], failure: Option<&Failure>) -> String {
    let times = if asks == 1 { "once" } else { "times" };
    let asked = match asks {
        1 => format!("asked {times}"),
        asks => format!("asked {asks} {times}"),
    };
    let violations = answer::told(violations).join(", ");
    match failure {
        Some(failure) => format!("{asked}, and not again ({failure}): {violations}"),
        None => format!("{asked}: {violations}"),
    }
}
