//! A host on a real vLLM, beside a bare client of the same: what it leaves of the engine's speed, and what
//! it spares the engine.

mod load;
mod server;

use std::fmt::Write as _;

use conclave_tests::client::pb;
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::vllm::{MODEL, given};
use serde::Serialize;
use serde_json::{Value, json};

use crate::bare::Bare;
use load::{AT_ONCE, Asked, ask, body, sampled};
use server::{Counted, Server};

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Real {
    rounds: Vec<Round>,
    /// What votes of eight samples took: all of them, and the first five that were whole.
    all: Counted,
    first: Counted,
    /// What waves of sixteen took: each asked for alone, and all at once.
    alone: Counted,
    together: Counted,
}

/// Tokens a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Round {
    bare: f64,
    /// By deliberations of one generation.
    host: f64,
    /// By deliberations of sixteen.
    waves: f64,
}

/// Whether there is a vLLM to measure.
///
/// # Errors
/// When there is none; it says how to get it.
pub(crate) fn installed() -> anyhow::Result<()> {
    let both = ["CONCLAVE_TEST_VLLM", "CONCLAVE_TEST_VLLM_MODEL"];
    let missing = both.into_iter().find_map(|name| given(name).err());
    missing.map_or(Ok(()), |error| {
        Err(error
            .context("there is no vLLM: `make vllm` installs it, and `make bench` finds it then"))
    })
}

/// Answers of their own length.
fn vote(stop: &Value) -> pb::Deliberation {
    let params = json!({"samples": 8, "max_tokens": 128, "temperature": 1.0, "stop": stop});
    draft(&[MODEL])
        .strategy("sample-vote", params)
        .scorer("agreement", json!({}))
}

/// Short answers to a prompt that no other wave has, not even its beginning: no cache knows it.
fn wave(kind: &str, number: usize) -> pb::Deliberation {
    let prompt = format!("{kind} {number}{}", " word".repeat(500));
    sampled(AT_ONCE, 8).task(|task| task.description = prompt)
}

/// Starts vLLM, and compares in one round for each thousand of `count`.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Real> {
    let server = Server::start().await?;
    let alone = Asked::start(&server.url, 1).await?;
    let together = Asked::start(&server.url, AT_ONCE).await?;
    let bare = Bare::asking(&server.url, &body(0))?;
    let mut rounds = Vec::new();
    for number in 0..=count.div_ceil(1_000) {
        let mut round = Round::default();
        // In turns, and each is the first as often as the others: so all see the same machine.
        for turn in 0..3 {
            match (number + turn) % 3 {
                0 => round.bare = server.rate(ask(&bare)).await?,
                1 => round.host = server.rate(alone.singles()).await?,
                _ => round.waves = server.rate(together.waves()).await?,
            }
        }
        rounds.push(round);
    }
    // The first one warms up.
    rounds.remove(0);
    let none = json!({"rule": "none"});
    let first = json!({"rule": "first-m", "m": 5});
    Ok(Real {
        rounds,
        all: server.counted(&alone, |_| vote(&none)).await?,
        first: server.counted(&alone, |_| vote(&first)).await?,
        alone: server.counted(&alone, |number| wave("a", number)).await?,
        together: server
            .counted(&together, |number| wave("b", number))
            .await?,
    })
}

impl Real {
    /// What the host reaches of the bare client's speed, in per cent: the least of the rounds, the median, the
    /// most.
    pub(crate) fn shares(&self) -> [f64; 3] {
        spread(self.rounds.iter().map(|round| round.host / round.bare))
    }

    /// The rounds, and what the host spares the engine.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        let waves = spread(self.rounds.iter().map(|round| round.waves / round.bare));
        writeln!(
            text,
            "\n| tokens a second of a real vLLM, 16 generations at once | each round | share of the bare client's, least / median / most |\n|---|---|---|"
        )?;
        let mut row = |what: &str, of: &dyn Fn(&Round) -> f64, shares: Option<[f64; 3]>| {
            let all: Vec<_> = self
                .rounds
                .iter()
                .map(|one| format!("{:.1}", of(one)))
                .collect();
            let shares = shares.map(|all| all.map(|share| format!("{share:.1} %")).join(" / "));
            let (all, shares) = (all.join(", "), shares.unwrap_or_default());
            writeln!(text, "| {what} | {all} | {shares} |")
        };
        row("a bare client", &|one| one.bare, None)?;
        row(
            "the host, deliberations of one",
            &|one| one.host,
            Some(self.shares()),
        )?;
        row(
            "the host, deliberations of 16, each one request",
            &|one| one.waves,
            Some(waves),
        )?;
        writeln!(
            text,
            "\n| a deliberation on a real vLLM | requests | prompt tokens worked on | tokens generated | seconds |\n|---|---|---|---|---|"
        )?;
        for (what, of) in [
            ("8 samples, all", self.all),
            ("8 samples, stopped after the first 5", self.first),
            (
                "16 samples of a prompt of 500 words, one by one",
                self.alone,
            ),
            ("the same at once", self.together),
        ] {
            let Counted {
                requests,
                prompts,
                generated,
                seconds,
            } = of;
            writeln!(
                text,
                "| {what} | {requests:.1} | {prompts:.0} | {generated:.0} | {seconds:.2} |"
            )?;
        }
        Ok(())
    }
}

fn spread(ratios: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut all: Vec<_> = ratios.map(|ratio| 100.0 * ratio).collect();
    all.sort_unstable_by(f64::total_cmp);
    let at = |place: usize| all.get(place).copied().unwrap_or_default();
    let (last, half) = (all.len().saturating_sub(1), all.len() / 2);
    let median = f64::midpoint(at(half), at(last - half.min(last)));
    [at(0), median, at(last)]
}
