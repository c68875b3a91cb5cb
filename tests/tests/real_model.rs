//! The demo: a deliberation of a real language model on this machine's CPU, and its report.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use conclave_tests::binary;
use conclave_tests::command::{Ran, conclave_with};
use conclave_tests::local_model::weights;
use conclave_tests::stub_server::StubServer;
use tokio::net::TcpStream;

/// Runs the demo, which keeps in `scratch` what lives no longer than it. The name of that directory
/// is in the environment of every process that it starts.
async fn demo(scratch: &str) -> Ran {
    let model = binary::built("conclave-local-model").expect("the demo needs it");
    let weights = weights().await.expect("they come");
    let variables = [
        (
            "CONCLAVE_LOCAL_MODEL",
            model.to_str().expect("the path is text"),
        ),
        ("CONCLAVE_WEIGHTS", weights.as_str()),
        ("TMPDIR", scratch),
    ];
    conclave_with(&["demo"], &variables)
        .await
        .expect("the demo ends")
}

#[tokio::test]
async fn the_demo_deliberates_with_a_real_model_reports_it_in_full_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let ran = demo(scratch.path().to_str().unwrap()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["Question", "Answer", "Plugins", "Tokens", "smollm2"] {
        assert!(
            ran.out.contains(part) || ran.err.contains(part),
            "{part}: {ran:?}"
        );
    }
    let answers: Vec<_> = ran.err.lines().filter_map(Answer::of).collect();
    texts_are_the_models_own(&ran, &answers);
    the_winner_was_scored(&ran, &answers);
    tokens_add_up(&ran, &answers);
    every_generation_has_its_bar(&ran, &answers);
    let host = how_to_go_on(&ran, "--endpoint http://127.0.0.1:8000 --model NAME");

    let refused = TcpStream::connect(host).await;
    assert!(refused.is_err(), "the demo's host serves on: {ran:?}");
    let rest: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(rest.is_empty(), "{rest:?}");
    no_process_is_left(scratch.path());
}

#[tokio::test]
async fn a_demo_whose_first_votes_agree_stops_there_and_says_what_that_saved() {
    let stub = StubServer::start().await.unwrap();
    let (url, model) = (stub.url(), "answer:8");
    let args = ["demo", "--endpoint", &url, "--model", model];
    let ran = conclave_with(&args, &[]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(field(&ran, "Answer"), Some("8"), "{ran:?}");
    let answers: Vec<_> = ran.err.lines().filter_map(Answer::of).collect();
    // Four equal votes are as sure as the rule wants to be.
    assert_eq!((answers.len(), stub.requests().len()), (4, 4), "{ran:?}");
    let saved = field(&ran, "Saved").unwrap_or_default();
    assert!(
        saved.ends_with("by stopping after 4 of 9 samples"),
        "{ran:?}"
    );
    the_winner_was_scored(&ran, &answers);
    tokens_add_up(&ran, &answers);
    every_generation_has_its_bar(&ran, &answers);
    how_to_go_on(&ran, &format!("--endpoint {url} --model {model}"));
}

/// A line `1.3 s  agent-3 #3 answered with 10 tokens in 1.3 s: There are …`.
#[derive(Debug)]
struct Answer<'a> {
    /// `agent-3 #3`
    who: &'a str,
    tokens: u64,
    text: &'a str,
}

impl<'a> Answer<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (before, rest) = line.split_once(" answered with ")?;
        let (tokens, rest) = rest.split_once(" tokens in ")?;
        Some(Self {
            who: before.split_once(" s  ")?.1,
            tokens: tokens.parse().ok()?,
            text: rest.split_once(": ")?.1,
        })
    }
}

/// What the report says in a field.
fn field<'a>(ran: &'a Ran, name: &str) -> Option<&'a str> {
    let mut lines = ran.out.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
}

fn numbers(text: &str) -> Vec<u64> {
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

fn texts_are_the_models_own(ran: &Ran, answers: &[Answer<'_>]) {
    assert!(answers.len() >= 2, "{ran:?}");
    let texts: BTreeSet<_> = answers.iter().map(|answer| answer.text).collect();
    assert!(
        texts.len() >= 2,
        "a model that samples does not repeat itself: {texts:?}"
    );
}

fn the_winner_was_scored(ran: &Ran, answers: &[Answer<'_>]) {
    let mut lines = ran.out.lines();
    let winner = lines.find(|line| line.trim_start().starts_with("1 "));
    let winner = winner.and_then(|line| line.split_whitespace().nth(1));
    let winner = winner.expect("the report ranks the candidates");
    let own = format!("{winner} #");
    let answered = answers.iter().any(|answer| answer.who.starts_with(&own));
    let mut lines = ran.err.lines();
    let scored = lines.find_map(|line| Some(line.split_once(" s  scored ")?.1));
    // The line has the first eight scores.
    let scored = scored.is_some_and(|scores| answers.len() > 8 || scores.contains(winner));
    assert!(answered && scored, "{winner}: {ran:?}");
}

/// The tokens of the answers are those that were paid for, and what was saved is the mean of them for
/// each of the nine samples that were not needed.
fn tokens_add_up(ran: &Ran, answers: &[Answer<'_>]) {
    const PLANNED: u64 = 9;
    let told = field(ran, "Tokens").map(numbers).unwrap_or_default();
    let &[total, prompt, completion, ref wasted @ ..] = told.as_slice() else {
        unreachable!("no tokens are told: {ran:?}");
    };
    let tokens: u64 = answers.iter().map(|answer| answer.tokens).sum();
    assert!(
        tokens > 0 && completion == tokens && total == prompt + completion,
        "{told:?}, {answers:?}"
    );
    let used = answers.len() as u64;
    let mean = total as f64 / used as f64;
    let spared = (mean * (PLANNED - used) as f64).round() as u64;
    let spared = spared.saturating_sub(wasted.iter().sum());
    // Nine samples that stay divided save nothing.
    let expected = (spared > 0)
        .then(|| format!("about {spared} tokens, by stopping after {used} of {PLANNED} samples"));
    assert_eq!(field(ran, "Saved"), expected.as_deref(), "{ran:?}");
}

/// The timeline: an axis, and a line `agent-3 #3 answer   ####   10 tok   1.3 s` for each generation.
fn every_generation_has_its_bar(ran: &Ran, answers: &[Answer<'_>]) {
    let is_axis = |line: &&str| line.trim_start().starts_with("0 s -") && line.ends_with(" s");
    assert_eq!(ran.out.lines().filter(is_axis).count(), 1, "{ran:?}");
    for Answer { who, tokens, .. } in answers {
        let row = |line: &str| {
            let bar = line.trim_start().strip_prefix(&format!("{who} "))?;
            Some((bar.contains('#'), bar.contains(&format!(" {tokens} tok "))))
        };
        let rows: Vec<_> = ran.out.lines().filter_map(row).collect();
        assert_eq!(rows, [(true, true)], "{who}, {tokens}: {ran:?}");
    }
}

/// The demo's last words, with how to serve with this model server; where its host was.
fn how_to_go_on(ran: &Ran, server: &str) -> SocketAddr {
    for line in [
        "Go on with a host of your own:",
        &format!("  conclave serve {server}"),
        "  conclave run \"Is 91 prime? Answer yes or no.\" --agents 5",
        "  grpcurl -plaintext 127.0.0.1:50056 list conclave.v1.Deliberations",
    ] {
        assert!(ran.out.lines().any(|told| told == line), "{line}: {ran:?}");
    }
    let (_, host) = ran.out.split_once("real host (gRPC on ").expect("it says");
    let (host, _) = host.split_once(',').expect("more follows");
    host.parse().expect("it is an address")
}

fn no_process_is_left(scratch: &Path) {
    // One that must be found shows that others would be.
    let mut control = Command::new("cat");
    control.env("TMPDIR", scratch);
    control.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut control = control.spawn().expect("cat can be started");
    // A process that has only just been started may not yet show its environment: once it has answered,
    // it does.
    let (mut ask, mut echo) = (
        control.stdin.take().expect("it is piped"),
        control.stdout.take().expect("it is piped"),
    );
    ask.write_all(b"?").expect("cat reads");
    echo.read_exact(&mut [0]).expect("cat answers");
    assert_eq!(processes_of(scratch), [control.id()]);
    control.kill().expect("it runs");
    control.wait().expect("it can be waited for");
    assert_eq!(processes_of(scratch), [0; 0]);
}

/// The ids of the processes that keep their temporary files there.
fn processes_of(scratch: &Path) -> Vec<u32> {
    let variable = format!("TMPDIR={}", scratch.display());
    let processes = std::fs::read_dir("/proc").expect("this is Linux");
    let found = processes.filter_map(|process| {
        let process = process.ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        // A process that has ended, or is another user's, has no environment to read.
        let environment = std::fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables
            .any(|one| one == variable.as_bytes())
            .then_some(pid)
    });
    found.collect()
}
