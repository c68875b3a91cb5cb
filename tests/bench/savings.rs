//! What stopping early and asking for several answers at once save: requests and tokens, as the stub
//! counts them.

use std::fmt::Write as _;

use anyhow::ensure;
use conclave_tests::binary::shared_dir;
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, pb};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::{self, StubServer};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::processes::DATA;

/// Samples of a vote at most.
const SAMPLES: u32 = 16;

/// How many of [`ANSWERS`] different answers are the one that most have.
const AGREEING: [usize; 3] = [19, 16, 12];

/// Answers of a model, of which a sample takes one by its seed.
const ANSWERS: usize = 20;

/// What the model says that the stub is.
const MODEL: &str = "voters";

/// Deliberations at once.
const CLIENTS: usize = 8;

/// What some deliberations took.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    /// How many of a hundred samples have the answer that most have.
    agreeing_percent: usize,
    stop: &'static str,
    /// How many answers are asked for at once.
    choices_max: u32,
    deliberations: usize,
    /// How many of them found the answer that most samples have.
    right: usize,
    requests: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// A host that asks a stub in this process, and what it runs.
struct Votes {
    stub: StubServer,
    clients: Vec<Client>,
    choices_max: u32,
    count: usize,
    _host: Host,
    _setup: Setup,
}

/// Runs a twentieth of `count` votes in each way.
pub(crate) async fn measure(count: usize) -> anyhow::Result<Vec<Taken>> {
    let count = count.div_ceil(20);
    let alone = Votes::start(1, count).await?;
    let mut taken = Vec::new();
    for agreeing in AGREEING {
        for stop in ["none", "beta"] {
            taken.push(alone.run(agreeing, stop).await?);
        }
    }
    let together = Votes::start(SAMPLES, count).await?;
    // What is asked for at once has seeds in a row: how many agree among those is not chance here, and only
    // votes in which all samples count can be compared.
    taken.push(together.run(AGREEING[0], "none").await?);
    Ok(taken)
}

impl Votes {
    async fn start(choices_max: u32, count: usize) -> anyhow::Result<Self> {
        let stub = StubServer::start().await?;
        let setup = Setup::below(&shared_dir(DATA)?)?
            .arg("--endpoint")
            .arg(stub.url())
            .set("inference.choices_max", &choices_max.to_string());
        let host = setup.start().await?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(host.client().await?);
        }
        Ok(Self {
            stub,
            clients,
            choices_max,
            count,
            _host: host,
            _setup: setup,
        })
    }

    async fn run(&self, agreeing: usize, stop: &'static str) -> anyhow::Result<Taken> {
        self.stub.reset();
        let behaviour = format!("vote:{}", answers(agreeing)).parse()?;
        self.stub.script(MODEL, vec![behaviour]);
        let mut running = JoinSet::new();
        for (number, client) in self.clients.iter().enumerate() {
            let client = client.clone();
            let own = (number..self.count).step_by(CLIENTS).len();
            running.spawn(async move {
                let mut right = 0;
                for _ in 0..own {
                    right += usize::from(is_right(&client.run(vote(stop)).await?)?);
                }
                anyhow::Ok(right)
            });
        }
        let mut right = 0;
        while let Some(of_client) = running.join_next().await {
            right += of_client??;
        }
        let over = |one: &stub_server::Recorded| one.state != stub_server::State::Running;
        self.stub.until(|requests| requests.iter().all(over)).await;
        let requests = self.stub.requests();
        let prompts = requests.iter().map(|one| u64::from(one.prompt_tokens));
        let completions = requests.iter().map(|one| u64::from(one.tokens_sent));
        Ok(Taken {
            agreeing_percent: 100 * agreeing / ANSWERS,
            stop,
            choices_max: self.choices_max,
            deliberations: self.count,
            right,
            requests: requests.len(),
            prompt_tokens: prompts.sum(),
            completion_tokens: completions.sum(),
        })
    }
}

fn vote(stop: &str) -> pb::Deliberation {
    draft(&[MODEL])
        .strategy(
            "sample-vote",
            json!({
                "samples": SAMPLES,
                "stop": {"rule": stop},
                "extract": {"rule": "last_integer"},
            }),
        )
        .scorer("agreement", json!({}))
}

/// Ten tokens each, and two answers in all: the rival is as strong as it can be.
fn answers(agreeing: usize) -> String {
    let one = |number| {
        let answer = if number < agreeing { 7 } else { 8 };
        format!("I have thought about it and the answer is {answer}")
    };
    let all: Vec<_> = (0..ANSWERS).map(one).collect();
    all.join(",")
}

fn is_right(done: &pb::Deliberation) -> anyhow::Result<bool> {
    ensure!(done.state() == State::Completed, "{:?}", done.failure);
    let outcome = done.outcome.as_ref();
    let answer = outcome.and_then(|outcome| outcome.metadata.get("answer"));
    Ok(answer.is_some_and(|answer| answer == "7"))
}

/// A table, each line beside that which asks for all, one by one.
pub(crate) fn write(text: &mut String, taken: &[Taken]) -> std::fmt::Result {
    writeln!(
        text,
        "\n| samples that agree | stop rule | answers at once | requests a vote | prompt tokens a vote | tokens generated a vote | saved: requests / prompt / generated | votes that are right |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for one in taken {
        let whole = taken.iter().find(|whole| {
            (whole.stop, whole.choices_max) == ("none", 1)
                && whole.agreeing_percent == one.agreeing_percent
        });
        let each = |all: f64| all / one.deliberations.max(1) as f64;
        let saved = |of: &dyn Fn(&Taken) -> f64| {
            let whole = whole.map_or(0.0, of).max(1.0);
            format!("{:.0} %", 100.0 * (1.0 - of(one) / whole))
        };
        writeln!(
            text,
            "| {} % | `{}` | {} | {:.2} | {:.1} | {:.1} | {} / {} / {} | {:.1} % |",
            one.agreeing_percent,
            one.stop,
            one.choices_max,
            each(one.requests as f64),
            each(one.prompt_tokens as f64),
            each(one.completion_tokens as f64),
            saved(&|taken| taken.requests as f64),
            saved(&|taken| taken.prompt_tokens as f64),
            saved(&|taken| taken.completion_tokens as f64),
            100.0 * each(one.right as f64),
        )?;
    }
    Ok(())
}
