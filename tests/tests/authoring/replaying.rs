//! `conclave replay`: what a host recorded, once more.

use conclave_tests::command::{client_of, conclave};
use conclave_tests::draft::{Change as _, draft, vote};
use conclave_tests::host::Setup;
use conclave_tests::stub_server::StubServer;
use serde_json::json;

use crate::support::Project;

#[tokio::test]
async fn a_past_deliberation_is_repeated_step_by_step_without_its_model() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let models = ["answer:yes", "answer:yes", "answer:no"];
    let done = client.run(vote(&models)).await.unwrap();
    let id = done.uid.as_str();
    stub.reset();

    let ran = client_of(&host, &["replay", id]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "accepted for 3 agents",
        "the strategy asks for generation 1: agent `a`",
        "Is 7 prime?",
        "the scorer answers call 1: ",
        "completed: ",
        "repeated every step of",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(stub.requests().is_empty(), "no model is called");

    let project = Project::of("sample-vote");
    let file = project.component("sample-vote");
    let same = client_of(&host, &["replay", id, "--plugin", file.to_str().unwrap()]).await;
    assert_eq!(same.unwrap().code, Some(0));
    let other = Project::of("first-strategy");
    let file = other.component("first-strategy");
    let args = ["replay", id, "--plugin", file.to_str().unwrap()];
    let ran = client_of(&host, &args).await.unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in [
        "first divergence: ",
        "expected to ask for the remaining budget",
        "recorded: completed",
        "now:      ",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }

    let record = project.path().join("tests/past.jsonl");
    let export = ["replay", id, "--export", record.to_str().unwrap()];
    let ran = client_of(&host, &export).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let project = project.case("past", "record = \"past.jsonl\"\n");
    let ran = project.test(&["past"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    let file = project.component("sample-vote");
    let from_file = ["replay", "--record", record.to_str().unwrap(), "--plugin"];
    let from_file = [&from_file[..], &[file.to_str().unwrap(), "--json"]].concat();
    let ran = conclave(&from_file).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json().unwrap()["divergence"], serde_json::Value::Null);

    let dir = setup.data_dir().to_str().unwrap().to_owned();
    let of_data = ["replay", id, "--data-dir", &dir];
    let while_it_runs = conclave(&of_data).await.unwrap();
    assert_eq!(while_it_runs.code, Some(0), "{while_it_runs:?}");
    drop(host);
    let when_it_stopped = conclave(&of_data).await.unwrap();
    assert_eq!(when_it_stopped.code, Some(0), "{when_it_stopped:?}");
}

#[tokio::test]
async fn a_version_that_traps_tells_where_it_ended_why_and_what_it_logged() {
    let project = Project::of("hostile");
    let file = project.component("hostile");
    let file = file.to_str().unwrap();
    let host_plugins = Project::of("hostile");
    std::fs::remove_dir(host_plugins.path().join("tests")).unwrap();
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let setup = setup
        .arg("--plugins")
        .arg(host_plugins.path().to_str().unwrap());
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let sound = draft(&["answer:yes"]).strategy("hostile", json!({"mode": "ok"}));
    let done = client.run(sound).await.unwrap();
    let record = project.path().join("past.jsonl");
    let record = record.to_str().unwrap();
    let exported = client_of(&host, &["replay", &done.uid, "--export", record]).await;
    assert_eq!(exported.unwrap().code, Some(0));
    // The next version of it does otherwise.
    let text = std::fs::read_to_string(record).unwrap();
    let other = text.replace(r#""mode":"ok""#, r#""mode":"trap""#);
    assert_ne!(text, other);
    std::fs::write(record, other).unwrap();

    let args = ["replay", "--record", record, "--plugin", file];
    let ran = conclave(&args).await.unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in [
        "first divergence: it ended before recorded step 2: expected to submit generation 1",
        "now:      failed, as told above",
        "panicked at ",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert_eq!(ran.out.matches(" trapped: ").count(), 1, "{}", ran.out);
    let ran = conclave(&[&args[..], &["--json"]].concat()).await.unwrap();
    let log = ran.json().unwrap()["anew"]["log"].to_string();
    assert!(log.contains("panicked at "), "{log}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let stub = StubServer::start().await.unwrap();
    let host = Setup::asking(&stub).unwrap().start().await.unwrap();
    let ran = client_of(&host, &["replay", "deliberation-none"])
        .await
        .unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("DELIBERATION_NOT_FOUND"), "{ran:?}");
    let ran = conclave(&["replay", "deliberation-none", "--data-dir", "/no/such"]).await;
    assert_eq!(ran.unwrap().code, Some(2));
}

#[tokio::test]
async fn a_trap_in_a_deliberation_tells_client_and_log_where_it_was() {
    let plugins = Project::of("hostile");
    std::fs::remove_dir(plugins.path().join("tests")).unwrap();
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub).unwrap();
    let setup = setup.arg("--plugins").arg(plugins.path().to_str().unwrap());
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let trapping = draft(&["answer:yes"]).strategy("hostile", json!({"mode": "trap"}));
    let ended = client.run(trapping).await.unwrap();
    let (reason, message) = conclave_tests::client::failure(&ended);
    assert_eq!(reason, "PLUGIN_TRAPPED");
    for part in ["(in ", "hostile::misbehave", " < "] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let id = ended.uid.as_str();
    let ran = client_of(&host, &["replay", id]).await.unwrap();
    assert!(ran.out.contains("hostile::misbehave"), "{ran:?}");
}
