//! A deliberation of a real language model, on this machine's CPU.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use conclave_tests::binary;
use conclave_tests::command::{Ran, conclave_with};
use conclave_tests::patience::within;

/// Fetches the weights as the README does, unless they are there: their path.
async fn weights() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-model/fetch-model.sh");
    let mut command = Command::new("sh");
    command.arg(script);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = within("the weights", ended)
        .await
        .expect("they come")
        .expect("it does not panic");
    let fetched = Ran::from(ended.expect("sh can be started"));
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    fetched.out.trim().to_owned()
}

async fn demo(args: &[&str]) -> Ran {
    let model = binary::built("conclave-local-model").expect("the demo needs it");
    let weights = weights().await;
    let variables = [
        (
            "CONCLAVE_LOCAL_MODEL",
            model.to_str().expect("the path is text"),
        ),
        ("CONCLAVE_WEIGHTS", weights.as_str()),
    ];
    conclave_with(&[&["demo"], args].concat(), &variables)
        .await
        .expect("the demo ends")
}

#[tokio::test]
async fn the_demo_deliberates_with_a_real_model_and_prints_winner_and_tokens() {
    let ran = demo(&[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["Question", "Answer", "Plugins", "Tokens", "smollm2"] {
        assert!(
            ran.out.contains(part) || ran.err.contains(part),
            "{part}: {ran:?}"
        );
    }
    // The tokens that are told for each answer are those that were paid for, and every text is the
    // model's own.
    let answers: Vec<_> = ran.err.lines().filter_map(answer).collect();
    let tokens: u64 = answers.iter().map(|(tokens, _)| tokens).sum();
    assert!(answers.len() >= 2 && tokens > 0, "{ran:?}");
    assert!(
        ran.out.contains(&format!("{tokens} completion)")),
        "{tokens}: {ran:?}"
    );
    let texts: BTreeSet<_> = answers.iter().map(|(_, text)| text).collect();
    assert!(
        texts.len() >= 2,
        "a model that samples does not repeat itself: {texts:?}"
    );
    let winner = ran
        .out
        .lines()
        .find(|line| line.trim_start().starts_with("1 "));
    let winner = winner
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    let scored = ran
        .err
        .lines()
        .any(|line| line.contains("scored") && line.contains(winner));
    assert!(scored, "{winner}: {ran:?}");
}

/// Tokens and text of a line `1.3 s  agent-3 #3 answered with 10 tokens in 1.3 s: There are …`.
fn answer(line: &str) -> Option<(u64, &str)> {
    let (tokens, rest) = line
        .split_once(" answered with ")?
        .1
        .split_once(" tokens in ")?;
    Some((tokens.parse().ok()?, rest.split_once(": ")?.1))
}
