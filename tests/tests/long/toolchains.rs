//! cargo component, which takes long to install; scorers and examples, each of which takes long to
//! componentize and to compile.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use conclave_tests::cache;
use conclave_tests::client::answers;
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::node;
use conclave_tests::project::Project;
use conclave_tests::python::Venv;
use conclave_tests::serving::Serving;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_strategy_answers_that_cargo_component_builds() {
    let project = Project::new("fresh-component", "strategy", "rust")
        .await
        .unwrap();
    let tool = cache::dir()
        .unwrap()
        .join("cargo-component-0.21.1/bin/cargo-component");
    let component = tokio::task::spawn_blocking(move || {
        ensure!(
            tool.is_file(),
            "`{}` is missing: make test-full installs it",
            tool.display()
        );
        let command = format!("{} component build --release", tool.display());
        project.built_by(
            &command,
            "target/wasm32-wasip1/release/fresh_component.wasm",
        )
    })
    .await
    .unwrap()
    .unwrap();
    let serving = Serving::of(&[("fresh-component", &component)])
        .await
        .unwrap();
    let request = draft(&["answer:yes", "answer:no", "answer:yes"])
        .strategy("fresh-component", json!({}))
        .scorer("agreement", json!({}));
    let done = serving.client.run(request).await.unwrap();
    assert_eq!(answers(&done), ["yes", "yes", "no"], "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_scorer_in_every_language_grades() {
    for language in ["rust", "python", "js"] {
        let name = format!("fresh-scorer-{language}");
        let project = Project::new(&name, "scorer", language).await.unwrap();
        let built = tokio::task::spawn_blocking(move || {
            project.test()?;
            anyhow::Ok((project.build()?, project))
        });
        let (component, project) = built.await.unwrap().unwrap();
        let rehearsed = project.rehearse(&component).await.unwrap();
        assert_eq!(rehearsed.code, Some(0), "{rehearsed:?}");
        for case in ["ok   grades", "ok   no-grade"] {
            assert!(rehearsed.out.contains(case), "{case}: {rehearsed:?}");
        }
        let serving = Serving::of(&[(&name, &component)]).await.unwrap();
        let request = draft(&["answer:yes", "answer:no"])
            .strategy("sample-vote", json!({"stop": {"rule": "none"}}))
            .scorer(&name, json!({}))
            .task(|task| task.model = "answer:Grade: 7.5".to_owned());
        let done = serving.client.run(request).await.unwrap();
        let ranked = done.outcome.clone().unwrap_or_default().ranked;
        let scores: Vec<_> = ranked.iter().flat_map(|one| &one.score).collect();
        assert!(!scores.is_empty(), "{done:?}");
        for score in scores {
            assert_eq!(score.value, 0.75, "{language} {done:?}");
            assert_eq!(score.rationale, "7.5 of 10");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_in_python_answer() {
    let (quorum, overlap) = tokio::task::spawn_blocking(|| {
        anyhow::Ok((
            python_example("strategy", "quorum")?,
            python_example("scorer", "overlap")?,
        ))
    })
    .await
    .unwrap()
    .unwrap();
    let serving = Serving::of(&[("quorum", &quorum), ("overlap", &overlap)])
        .await
        .unwrap();
    // The third answer never comes: it is cancelled when two of three agree.
    let request = draft(&["answer:Yes.", "answer:yes", "held"])
        .strategy("quorum", json!({}))
        .scorer("overlap", json!({}));
    let done = serving.client.run(request).await.unwrap();
    assert_eq!(answers(&done).len(), 1, "{done:?}");
    let outcome = done.outcome.clone().unwrap_or_default();
    assert!(outcome.stopped_early, "{outcome:?}");
    // Nobody answers in time, in the deliberation's time.
    let request = draft(&["held", "held"]).strategy("quorum", json!({"patience_s": 0.05}));
    let failed = serving.client.run(request).await.unwrap();
    let (_, message) = conclave_tests::client::failure(&failed);
    assert!(message.contains("no agent answered"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_javascript_answers() {
    let component = tokio::task::spawn_blocking(javascript_example)
        .await
        .unwrap();
    let serving = Serving::of(&[("good-enough", &component.unwrap())])
        .await
        .unwrap();
    let request = draft(&["answer:yes", "held"])
        .strategy("good-enough", json!({}))
        .scorer("agreement", json!({}));
    let done = serving.client.run(request).await.unwrap();
    assert_eq!(answers(&done), ["yes"], "{done:?}");
    assert!(done.outcome.unwrap_or_default().stopped_early);
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

fn python_example(world: &str, module: &str) -> anyhow::Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let out = place.path().join("out.wasm");
    let mut command = Command::new(Venv::ready()?.program("componentize-py"));
    command
        .args([
            "-d",
            "../../../wit/0.1.0",
            "-w",
            world,
            "componentize",
            module,
        ])
        .args(["-p", ".", "-p", "../../python", "-o"])
        .arg(&out)
        .current_dir(plugins().join("examples/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    made(command, &out)
}

fn javascript_example() -> anyhow::Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let out = place.path().join("out.wasm");
    let mut command = Command::new(node::modules()?.join(".bin/jco"));
    command
        .args(["componentize", "component.js", "--bundle"])
        .args(["--bundle-config", "bundle.js"])
        .args(["--wit", "../../../wit/0.1.0", "-n", "strategy"])
        .args(["-d", "http", "fetch-event", "-o"])
        .arg(&out)
        .current_dir(plugins().join("examples/javascript"));
    made(command, &out)
}

fn made(mut command: Command, out: &Path) -> anyhow::Result<Vec<u8>> {
    let ran = command.output()?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{command:?} failed:\n{told}");
    std::fs::read(out).with_context(|| format!("{command:?} made nothing"))
}
