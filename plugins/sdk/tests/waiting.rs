//! How a plugin waits: in which order results arrive, what a drop cancels, and what time does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use conclave_sdk::futures::StreamExt;
use conclave_sdk::futures::future::{Either, join_all, pending, select};
use conclave_sdk::futures::stream::FuturesUnordered;
use conclave_sdk::testing::{Script, task};
use conclave_sdk::{
    Candidate, Context, Error, GenerationRequest, NoParams, Outcome, Ranked, Score, Strategy, Task,
};

/// An outcome that carries what a test wants to see.
fn saying(content: impl Into<String>) -> Outcome {
    let candidate = Candidate {
        agent: String::new(),
        content: content.into(),
        reasoning: None,
        jobs: Vec::new(),
    };
    let score = Score::new(1.0);
    Outcome::new(vec![Ranked { candidate, score }], "test")
}

/// A strategy from the body of `deliberate`.
macro_rules! strategy {
    ($name:ident, $ctx:ident => $body:expr) => {
        struct $name;

        impl Strategy for $name {
            const NAME: &'static str = "test";
            const SUMMARY: &'static str = "Waits.";
            type Params = NoParams;

            async fn deliberate($ctx: &Context, _: Task, _: NoParams) -> Result<Outcome, Error> {
                Ok(saying($body))
            }
        }
    };
}

fn ask(prompt: &str) -> GenerationRequest {
    GenerationRequest::for_task_model().user(prompt)
}

/// Echoes the prompt, which is also the latency in milliseconds.
fn script() -> Script {
    Script::new(|request| Ok(request.messages[0].content.clone()))
        .latency(|request| request.messages[0].content.parse().unwrap())
}

fn run<S: Strategy>(script: &Script) -> Result<String, String> {
    let outcome = script.deliberate::<S>(task("?", &["a"]))?;
    Ok(outcome.ranked[0].candidate.content.clone())
}

strategy!(JoinAll, ctx => {
    let all = join_all(["30", "10", "20"].map(|prompt| ctx.generate(ask(prompt)))).await;
    let texts: Vec<String> = all.into_iter().map(|one| one.unwrap().text).collect();
    texts.join(" ")
});

#[test]
fn join_all_waits_for_the_slowest_and_keeps_the_order() {
    let script = script();
    assert_eq!(run::<JoinAll>(&script).unwrap(), "30 10 20");
    assert_eq!(script.now_ms(), 30);
}

strategy!(Unordered, ctx => {
    let mut open: FuturesUnordered<_> =
        ["30", "10", "20"].map(|prompt| ctx.submit(ask(prompt)).unwrap()).into_iter().collect();
    let mut texts = Vec::new();
    while let Some(one) = open.next().await {
        let one = one?;
        texts.push(format!("{}:{}", one.job, one.text));
    }
    texts.join(" ")
});

#[test]
fn an_unordered_set_gives_results_as_they_finish() {
    assert_eq!(run::<Unordered>(&script()).unwrap(), "2:10 3:20 1:30");
}

strategy!(Fastest, ctx => {
    let slow = ctx.submit(ask("50"))?;
    let fast = ctx.submit(ask("5"))?;
    match select(slow, fast).await {
        Either::Left((one, _)) | Either::Right((one, _)) => one?.text,
    }
});

#[test]
fn dropping_a_job_cancels_it() {
    let script = script();
    assert_eq!(run::<Fastest>(&script).unwrap(), "5");
    assert_eq!(script.cancelled(), [1]);
    assert_eq!(script.now_ms(), 5);
}

strategy!(TimesOut, ctx => {
    let late = ctx.timeout(Duration::from_millis(10), ctx.generate(ask("50"))).await;
    let timely = ctx.timeout(Duration::from_millis(10), ctx.generate(ask("5"))).await;
    format!("{:?} {:?} {:?}", late.err(), timely.unwrap()?.text, ctx.elapsed())
});

#[test]
fn a_timeout_cancels_what_is_late_and_lets_the_rest_through() {
    let script = script();
    assert_eq!(
        run::<TimesOut>(&script).unwrap(),
        "Some(Elapsed) \"5\" 15ms"
    );
    assert_eq!(script.cancelled(), [1]);
}

strategy!(Sleeps, ctx => {
    ctx.sleep(Duration::from_millis(7)).await;
    let job = ctx.submit(ask("50"))?;
    join_all([20, 10].map(|ms| ctx.sleep(Duration::from_millis(ms)))).await;
    let before = ctx.elapsed();
    job.await?;
    format!("{before:?} {:?}", ctx.elapsed())
});

#[test]
fn sleeping_needs_no_open_generation_and_does_not_hold_one_up() {
    assert_eq!(run::<Sleeps>(&script()).unwrap(), "27ms 57ms");
}

strategy!(All, ctx => {
    let all = ctx.all(["30", "10", "20", "5"].map(|prompt| ctx.generate(ask(prompt)))).await;
    let texts: Vec<String> = all.into_iter().map(|one| one.unwrap().text).collect();
    format!("{} {:?}", texts.join(" "), ctx.elapsed())
});

#[test]
fn all_keeps_the_order_and_the_limit_on_open_generations() {
    assert_eq!(run::<All>(&script()).unwrap(), "30 10 20 5 30ms");
    let limited = script().limits(None, Some(2));
    assert_eq!(run::<All>(&limited).unwrap(), "30 10 20 5 35ms");
}

strategy!(Deadlocks, _ctx => {
    pending::<()>().await;
    String::new()
});

#[test]
fn waiting_for_nothing_is_an_error_that_says_so() {
    assert_eq!(
        run::<Deadlocks>(&script()).unwrap_err(),
        "deadlock: the plugin waits, but no generation is open and no timer is set"
    );
}

strategy!(Many, ctx => {
    let jobs: Result<Vec<_>, _> = (0..20_000).map(|_| ctx.submit(ask("1"))).collect();
    let mut open: FuturesUnordered<_> = jobs?.into_iter().collect();
    let mut count = 0;
    while open.next().await.is_some() {
        count += 1;
    }
    count.to_string()
});

#[test]
fn twenty_thousand_jobs_are_waited_for_in_linear_time() {
    assert_eq!(run::<Many>(&script()).unwrap(), "20000");
}
