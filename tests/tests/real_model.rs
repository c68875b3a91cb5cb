//! A deliberation of a real language model, on this machine's CPU.

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
    for part in ["Question", "Answer", "Plugins", "Tokens"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
}

#[tokio::test]
async fn the_text_of_the_demo_comes_from_the_model() {
    let ran = demo(&["--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let done = ran.json().unwrap();
    assert_eq!(done["state"], "COMPLETED", "{done}");
    let content = done["outcome"]["ranked"][0]["candidate"]["content"]
        .as_str()
        .unwrap();
    assert!(content.chars().any(char::is_alphanumeric), "{content:?}");
    // A question of a few words becomes a prompt of more tokens, and an answer costs some.
    let tokens = |name: &str| done["usage"][name].as_i64().unwrap_or_default();
    let generations = tokens("generations_completed");
    assert!(generations >= 2, "{done}");
    assert!(tokens("prompt_tokens") > 5 * generations, "{done}");
    assert!(tokens("completion_tokens") >= generations, "{done}");
    let endpoint = done["endpoint"].as_str().unwrap();
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
}
