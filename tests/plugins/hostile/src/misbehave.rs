//! What the modes do.

use std::fmt::Display;
use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use conclave_sdk::futures::future::pending;
use conclave_sdk::{Candidate, Context, Error, Failure, GenerationRequest, Level, Task};

use crate::{Mode, Params};

/// Facts for the outcome's metadata.
type Facts = Vec<(String, String)>;

/// Does what the mode says.
pub(crate) async fn run(ctx: &Context, task: &Task, params: &Params) -> Result<Facts, Error> {
    let duration = Duration::from_millis(params.milliseconds.into());
    let text = "x".repeat(params.bytes as usize);
    match params.mode {
        Mode::Trap => trap(),
        Mode::Overflow => {
            black_box(recurse(0));
        }
        Mode::Spin => spin(),
        Mode::Stutter => loop {
            count(1_000_000);
            black_box(ctx.elapsed());
        },
        Mode::Allocate => allocate(),
        Mode::Fill => fill(text.into_bytes()),
        Mode::LongStrings => {
            for _ in 0..params.count {
                black_box(ctx.submit(ask(task).user(&text)).err());
            }
        }
        Mode::LogFlood => (0..params.count).for_each(|_| ctx.log(Level::Info, &text)),
        Mode::PrintFlood => print(params.count, &text)?,
        Mode::EmitFlood => {
            for _ in 0..params.count {
                ctx.emit("flood", &text)?;
            }
        }
        Mode::CallFlood => {
            for _ in 0..params.count {
                black_box(ctx.elapsed());
            }
        }
        Mode::SubmitFlood => return Ok(submit(ctx, task, params.count)),
        Mode::SubmitStubbornly => return Ok(submit_stubbornly(ctx, task, params.count)),
        Mode::LargePrompt => {
            let request = GenerationRequest::for_agent(&task.agents[0]).user(&text);
            let failure = ctx.submit(request).err();
            let submitted = u32::from(failure.is_none());
            return Ok(counted("submitted", submitted, failure));
        }
        Mode::GenerateFlood => return Ok(generate(ctx, task, params.count).await),
        Mode::ScoreFlood => return Ok(score(ctx, task, params.count)),
        Mode::StrangeAgent => {
            let mut request = ask(task);
            request.agent = "nobody".to_owned();
            let failure = ctx.submit(request).err();
            return Ok(counted("submitted", 0, failure));
        }
        Mode::Sleep => sleep(duration),
        Mode::Timer => ctx.sleep(duration).await,
        Mode::Abandon => {
            // A job that is never dropped is open when the call returns.
            std::mem::forget(ctx.submit(ask(task))?);
        }
        Mode::TrapAfterSubmit => {
            let _open = ctx.submit(ask(task))?;
            trap();
        }
        Mode::Cancel => {
            drop(ctx.submit(ask(task))?);
            ctx.generate(ask(task)).await?;
        }
        Mode::Deadlock => pending().await,
        Mode::Error => return Err("this strategy always fails".into()),
        Mode::LongError => return Err(text.into()),
        _ => {
            ctx.generate(ask(task)).await?;
        }
    }
    Ok(Facts::new())
}

fn ask(task: &Task) -> GenerationRequest {
    GenerationRequest::for_agent(&task.agents[0]).user(&task.description)
}

fn counted(what: &str, count: u32, failure: Option<Failure>) -> Facts {
    let fact = |key: &str, value: &dyn Display| (key.to_owned(), value.to_string());
    let mut facts = vec![fact(what, &count)];
    facts.extend(failure.map(|failure| fact("failure", &failure)));
    facts
}

#[expect(clippy::panic, reason = "a guest that panics is what is tested")]
#[inline(never)]
fn trap() {
    panic!("this strategy traps");
}

#[expect(
    unconditional_recursion,
    reason = "a guest that uses up its stack is what is tested"
)]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + 1
}

fn spin() {
    loop {
        count(u32::MAX);
    }
}

/// Computes for a while.
pub(crate) fn count(to: u32) {
    for number in 0..to {
        black_box(number);
    }
}

fn fill(mut bytes: Vec<u8>) {
    loop {
        let first = bytes[0].wrapping_add(1);
        black_box(&mut bytes).fill(first);
    }
}

fn allocate() {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}

fn print(count: u32, text: &str) -> Result<(), Error> {
    for _ in 0..count {
        writeln!(std::io::stdout(), "{text}")?;
        writeln!(std::io::stderr(), "{text}")?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a guest that sleeps by itself is what is tested"
)]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

fn submit(ctx: &Context, task: &Task, count: u32) -> Facts {
    let mut jobs = Vec::new();
    for submitted in 0..count {
        match ctx.submit(ask(task)) {
            Ok(job) => jobs.push(job),
            Err(failure) => return counted("submitted", submitted, Some(failure)),
        }
    }
    counted("submitted", count, None)
}

fn submit_stubbornly(ctx: &Context, task: &Task, count: u32) -> Facts {
    let (mut jobs, mut failure) = (Vec::new(), None);
    for _ in 0..count {
        match ctx.submit(ask(task)) {
            Ok(job) => jobs.push(job),
            Err(refused) => failure = Some(refused),
        }
    }
    counted(
        "submitted",
        u32::try_from(jobs.len()).unwrap_or(u32::MAX),
        failure,
    )
}

async fn generate(ctx: &Context, task: &Task, count: u32) -> Facts {
    for finished in 0..count {
        if let Err(failure) = ctx.generate(ask(task)).await {
            return counted("finished", finished, Some(failure));
        }
    }
    counted("finished", count, None)
}

fn score(ctx: &Context, task: &Task, count: u32) -> Facts {
    let candidate = Candidate {
        agent: task.agents[0].id.clone(),
        content: "something".to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    };
    for scored in 0..count {
        if let Err(failure) = ctx.score(std::slice::from_ref(&candidate)) {
            return counted("scored", scored, Some(failure));
        }
    }
    counted("scored", count, None)
}
