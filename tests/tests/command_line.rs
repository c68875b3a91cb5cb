//! The commands, as a script runs them: what they print, and how they exit.

use conclave_tests::command::{Ran, client_of, conclave, conclave_with};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::{self, StubServer};
use serde_json::{Value, json};

/// A host whose model answers like this.
async fn host_with(stub: &StubServer, model: &str) -> Host {
    let setup = Setup::asking(stub).expect("there is a place for data");
    setup
        .arg("--model")
        .arg(model)
        .start()
        .await
        .expect("the host starts")
}

async fn run(host: &Host, args: &[&str]) -> Ran {
    client_of(host, args).await.expect("the command ends")
}

/// The id in the output of `run --detach`.
async fn detached(host: &Host) -> String {
    let ran = run(host, &["run", "Is 7 prime?", "--agents", "2", "--detach"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out.trim().to_owned()
}

#[tokio::test]
async fn run_prints_the_outcome_and_beside_it_a_line_for_each_event() {
    let stub = StubServer::start().await.unwrap();
    let host = host_with(&stub, "answer:Yes, it is.").await;
    let ran = run(
        &host,
        &[
            "run",
            "Is 7 prime?",
            "--agents",
            "3",
            "--param",
            "stop.rule=none",
            "--label",
            "team=a",
        ],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "Is 7 prime?",
        "yes, it is.",
        "sample-vote@",
        "agreement@",
        "agent-3",
        "deliberation-",
    ] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    for part in ["accepted deliberation-", "agent-1 #1", "votes", "completed"] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    assert!(
        !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
        "no colours in a pipe: {ran:?}"
    );
    assert!(
        ran.out.is_ascii() && ran.err.is_ascii(),
        "no drawing in a pipe: {ran:?}"
    );
}

#[tokio::test]
async fn json_is_one_value_for_an_outcome_and_a_line_for_each_event() {
    let stub = StubServer::start().await.unwrap();
    let host = host_with(&stub, "answer:yes").await;
    let ran = run(
        &host,
        &[
            "run",
            "Is 7 prime?",
            "--agents",
            "3",
            "--json",
            "--params",
            r#"{"samples": 5}"#,
        ],
    )
    .await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let done = ran.json().unwrap();
    assert_eq!(done["state"], "COMPLETED");
    assert_eq!(done["outcome"]["ranked"][0]["candidate"]["content"], "yes");
    assert_eq!(done["strategy"]["params"]["samples"], 5);
    let id = done["uid"].as_str().unwrap();

    let got = run(&host, &["get", id, "--json"]).await.json().unwrap();
    assert_eq!(
        (&got["state"], &got["outcome"]),
        (&done["state"], &done["outcome"])
    );
    let got = run(&host, &["get", id]).await;
    assert!(
        got.code == Some(0) && got.out.contains("Answer") && got.out.contains("yes"),
        "{got:?}"
    );

    let watched = run(&host, &["watch", id, "--json"]).await;
    assert_eq!(watched.code, Some(0), "{watched:?}");
    let events: Vec<Value> = watched
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "accepted");
    assert_eq!(events.last().unwrap()["type"], "finished");
    assert_eq!(events.last().unwrap()["outcome"], done["outcome"]);
    let after = events[2]["sequence"].to_string();
    let watched = run(&host, &["watch", id, "--json", "--after", &after]).await;
    assert_eq!(watched.out.lines().count(), events.len() - 3);
    let watched = run(&host, &["watch", id]).await;
    assert_eq!(watched.out.lines().count(), events.len(), "{watched:?}");
}

#[tokio::test]
async fn cancel_aborts_a_detached_deliberation_and_says_when_it_comes_too_late() {
    let stub = StubServer::start().await.unwrap();
    let host = host_with(&stub, "slow-tokens:100000:5").await;
    let id = detached(&host).await;
    within(
        "its generations",
        stub.until(|requests| requests.len() == 2),
    )
    .await
    .unwrap();
    let running = run(&host, &["get", &id]).await;
    assert!(
        running.code == Some(0) && running.out.contains("running"),
        "{running:?}"
    );

    let cancelled = run(&host, &["cancel", &id, "--reason", "enough"]).await;
    assert!(
        cancelled.code == Some(0) && cancelled.out.contains("enough"),
        "{cancelled:?}"
    );
    let aborted = stub.until(|requests| {
        requests
            .iter()
            .all(|one| one.state == stub_server::State::Aborted)
    });
    within("the model server to be told", aborted)
        .await
        .unwrap();

    stub.script("slow-tokens:100000:5", vec!["answer:yes".parse().unwrap()]);
    let id = detached(&host).await;
    assert_eq!(run(&host, &["watch", &id]).await.code, Some(0));
    let late = run(&host, &["cancel", &id]).await;
    assert!(
        late.code == Some(1) && late.err.contains("had finished before"),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_failed_deliberation_and_a_refused_one_exit_with_1_and_say_why() {
    let stub = StubServer::start().await.unwrap();
    let host = host_with(&stub, "status:400").await;
    let failed = run(&host, &["run", "Is 7 prime?", "--agents", "1"]).await;
    assert!(
        failed.code == Some(1) && failed.out.contains("ALL_AGENTS_FAILED"),
        "{failed:?}"
    );
    let refused = run(&host, &["run", "Is 7 prime?", "--param", "samples=0"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .err
            .contains("deliberation.strategy.params_json/samples"),
        "{refused:?}"
    );
    let refused = run(
        &host,
        &["run", "Is 7 prime?", "--strategy", "sampel-vote", "--json"],
    )
    .await;
    let error: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(
        (refused.code, &error["error"]["reason"]),
        (Some(1), &"PLUGIN_NOT_FOUND".into())
    );
    let unknown = run(&host, &["get", "deliberation-0"]).await;
    assert!(
        unknown.code == Some(1) && unknown.err.contains("deliberation-0"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn wrong_usage_exits_with_2_and_an_absent_host_with_1() {
    for wrong in [
        &["run"][..],
        &["run", "  "],
        &["run", "x", "--agents", "0"],
        &["run", "x", "--params", "[]"],
        &["serve", "--no-such-flag"],
        &["no-such-command"],
    ] {
        let ran = conclave(wrong).await.unwrap();
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{wrong:?}: {ran:?}"
        );
        assert!(!ran.err.is_empty(), "{wrong:?}");
    }
    let absent = conclave(&["get", "deliberation-0", "--addr", "http://127.0.0.1:1"])
        .await
        .unwrap();
    assert!(
        absent.code == Some(1) && absent.err.contains("127.0.0.1:1"),
        "{absent:?}"
    );
    let help = conclave(&["--help"]).await.unwrap();
    assert!(
        help.code == Some(0) && help.out.contains("Examples:"),
        "{help:?}"
    );
}

#[tokio::test]
async fn serve_check_prints_the_effective_configuration_or_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("conclave.toml");
    std::fs::write(
        &file,
        "[limits]\nretries_max = 5\n[log]\nlevel = \"WARNING\"\n",
    )
    .unwrap();
    let base = [
        "serve",
        "--check",
        "--http-addr",
        "127.0.0.1:0",
        "--config",
        file.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let variables = [
        ("CONCLAVE_LIMITS_GENERATIONS_MAX", "77"),
        ("GRPC_PORT", "50099"),
    ];
    let checked = conclave_with(&base, &variables).await.unwrap();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for part in [
        "retries_max = 5",
        "generations_max = 77",
        "50099",
        "retries_default = 3",
    ] {
        assert!(checked.out.contains(part), "{part}: {checked:?}");
    }
    let wrong = [
        "--set",
        "limits.retry_max=1",
        "--set",
        "limits.retries_default=x",
        "--grpc-addr",
        "localhost",
    ];
    let refused = conclave(&[&base[..], &wrong].concat()).await.unwrap();
    assert_ne!(refused.code, Some(0), "{refused:?}");
    for part in [
        "limits.retry_max",
        "limits.retries_max",
        "limits.retries_default",
        "--grpc-addr",
    ] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
}

#[tokio::test]
async fn serve_check_tests_what_the_host_depends_on() {
    let stub = StubServer::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = format!("server.data_dir={}", dir.path().display());
    let url = stub.url();
    let base = ["serve", "--check", "--set", &data, "--endpoint", &url];
    // The stub serves one model, `stub`.
    let nobody = "inference.allowed_endpoints=http://127.0.0.1:1";
    let free = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let more = ["--model", "stub", "--set", nobody, "--json"];
    let degraded = conclave(&[&base[..], &free, &more].concat()).await.unwrap();
    assert_eq!(degraded.code, Some(0), "{degraded:?}");
    let report = degraded.json().unwrap();
    assert_eq!(
        (&report["ok"], &report["problems"]),
        (&true.into(), &json!([]))
    );
    let fine = report["dependencies"].to_string();
    assert!(fine.contains("serves 1 model, `stub` among them"), "{fine}");
    let warnings = report["warnings"].to_string();
    for part in [
        "model server http://127.0.0.1:1: cannot be reached",
        "start it, or change `inference.allowed_endpoints`",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }

    let running = Setup::bare().unwrap().start().await.unwrap();
    let taken = running.http_addr().to_string();
    let taken = ["--grpc-addr", "127.0.0.1:0", "--http-addr", &taken];
    let wrong = ["--model", "other", "--set", "plugins.scorer_default=judgee"];
    let refused = conclave(&[&base[..], &taken, &wrong].concat())
        .await
        .unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in [
        "serves no model `other`, but `stub`",
        "error: `plugins.scorer_default`",
        "error: cannot listen on 127.0.0.1:",
        "or set `server.http_addr` to another address",
    ] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
    assert!(
        refused.out.ends_with("# 2 checks failed, see below\n"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn completions_are_printed_for_a_shell_that_is_known() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = conclave(&["completions", shell]).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("cancel"), "{ran:?}");
    }
    let unknown = conclave(&["completions", "cmd"]).await.unwrap();
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""));
}

#[tokio::test]
async fn help_fits_the_columns_of_its_terminal() {
    for columns in ["80", "100"] {
        let limit: usize = columns.parse().unwrap();
        for command in [
            &["--help"][..],
            &["help", "serve"],
            &["help", "run"],
            &["help", "plugin", "check"],
            &["watch", "--help"],
            &["demo", "--help"],
        ] {
            let help = conclave_with(command, &[("COLUMNS", columns)])
                .await
                .unwrap();
            assert_eq!(help.code, Some(0), "{help:?}");
            for line in help.out.lines() {
                assert!(
                    line.chars().count() <= limit,
                    "{columns} {command:?}: {line}"
                );
            }
        }
    }
}

#[tokio::test]
async fn two_hosts_do_not_share_a_data_directory() {
    let setup = Setup::bare().unwrap();
    let _first = setup.start().await.unwrap();
    let (status, log) = setup.start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("journal"), "{log}");
}

#[tokio::test]
async fn list_get_and_plugin_show_what_a_host_has() {
    let stub = StubServer::start().await.unwrap();
    let host = host_with(&stub, "answer:yes").await;
    for (priority, team) in [("9", "team=blue"), ("0", "team=red")] {
        let asked = [
            "run",
            "Is 7 prime?",
            "--agents",
            "2",
            "--param",
            "stop.rule=none",
            "--json",
        ];
        let own = ["--priority", priority, "--label", team];
        let ran = run(&host, &[&asked[..], &own].concat()).await;
        assert_eq!(ran.json().unwrap()["labels"]["team"], team[5..], "{ran:?}");
    }
    let listed = run(&host, &["list"]).await;
    assert_eq!(
        (listed.code, listed.out.lines().count()),
        (Some(0), 3),
        "{listed:?}"
    );
    let row = listed.out.lines().nth(1).unwrap_or_default();
    for part in ["deliberation-", "completed", "sample-vote", "Is 7 prime?"] {
        assert!(row.contains(part), "{part}: {listed:?}");
    }
    let filtered = run(&host, &["list", "--json", "--filter", "labels.team = blue"]).await;
    let one = filtered.json().unwrap();
    assert_eq!(
        (&one["priority"], &one["task"]["title"]),
        (&9.into(), &"Is 7 prime?".into())
    );
    let limited = run(&host, &["list", "--limit", "1"]).await;
    assert!(limited.err.contains("there are more"), "{limited:?}");
    let none = run(&host, &["list", "--filter", "state = FAILED"]).await;
    assert!(
        none.code == Some(0) && none.out.is_empty() && !none.err.is_empty(),
        "{none:?}"
    );
    let wrong = run(&host, &["list", "--filter", "stat = FAILED"]).await;
    assert!(
        wrong.code == Some(1) && wrong.err.contains("did you mean `state`"),
        "{wrong:?}"
    );

    let id = one["uid"].as_str().unwrap();
    let got = run(&host, &["get", id]).await;
    for part in ["Answer", "agent-1 #1", "####", "phase", "answer:yes"] {
        assert!(got.out.contains(part), "{part}: {got:?}");
    }
    let got = run(&host, &["get", id, "--json"]).await.json().unwrap();
    assert_eq!(got["generations"].as_array().unwrap().len(), 2);
    assert_eq!(got["usage_by"]["models"][0]["key"], "answer:yes");
    assert_eq!(got["scores"][0]["call"], 1);

    let plugins = run(&host, &["plugin", "list"]).await;
    assert!(
        plugins.code == Some(0) && plugins.out.contains("* "),
        "{plugins:?}"
    );
    let plugin = run(&host, &["plugin", "inspect", "sample-vote"]).await;
    assert!(
        plugin.out.contains("built in") && plugin.out.contains("samples"),
        "{plugin:?}"
    );
    let plugin = run(&host, &["plugin", "inspect", "sample-vote", "--json"]).await;
    assert_eq!(plugin.json().unwrap()["kind"], "STRATEGY");
    let plugin = run(&host, &["plugin", "inspect", "sampel-vote"]).await;
    assert!(
        plugin.code == Some(1) && plugin.err.contains("sample-vote"),
        "{plugin:?}"
    );
    for priority in ["10", "-1", "high"] {
        let wrong = conclave(&["run", "x", "--priority", priority])
            .await
            .unwrap();
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
    }
}
