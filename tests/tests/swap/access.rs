//! Who may steer, and who is told to have done it.

use conclave_tests::command::{Ran, conclave, conclave_with};
use conclave_tests::host::{Host, Setup};
use conclave_tests::steady::{NAME, version};
use conclave_tests::stub_server::StubServer;
use serde_json::Value;

use super::support::Files;

/// A fresh token with its entry in the configuration.
async fn token(name: &str, role: &str, tenant: &str) -> (String, String) {
    let args = ["token", "new", name, "--role", role, "--tenant", tenant];
    let made = conclave(&args).await.unwrap();
    let (token, entry) = made.out.split_once('\n').unwrap();
    (token.to_owned(), entry.to_owned())
}

async fn by(host: &Host, token: &str, args: &[&str]) -> Ran {
    let addr = format!("http://{}", host.grpc_addr());
    let variables = [("CONCLAVE_ADDR", addr.as_str()), ("CONCLAVE_TOKEN", token)];
    conclave_with(args, &variables).await.unwrap()
}

#[tokio::test]
async fn only_operators_steer_and_history_and_audit_log_tell_who_did_what() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ops, of_ops) = token("ops", "operator", "default").await;
    let (ann, of_ann) = token("ann", "client", "default").await;
    let (amy, of_amy) = token("amy", "viewer", "default").await;
    let audit = files.write("audit.jsonl", b"");
    let config = format!(
        "access.mode = 'required'\naccess.audit_file = '{audit}'\n{of_ops}{of_ann}{of_amy}"
    );
    let config = files.write("conclave.toml", config.as_bytes());
    let setup = Setup::asking(&stub).unwrap().arg("--config").arg(config);
    let host = setup.start().await.unwrap();
    let (one, two) = (files.steady(1), files.steady(2));
    for token in [&ann, &amy] {
        let ran = by(&host, token, &["plugin", "push", &one]).await;
        assert!(
            ran.code == Some(1) && ran.err.contains("ROLE_INSUFFICIENT"),
            "{ran:?}"
        );
    }
    let digest = |ran: &Ran| {
        ran.json().unwrap()["plugin"]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = digest(&by(&host, &ops, &["plugin", "push", &one, "--json"]).await);
    let second = by(
        &host,
        &ops,
        &["plugin", "push", &two, "--promote", "--json"],
    )
    .await;
    let second = digest(&second);
    let refused = by(&host, &amy, &["plugin", "rollback", NAME]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let back = by(
        &host,
        &ops,
        &["plugin", "rollback", NAME, "--reason", "ties"],
    )
    .await;
    assert_eq!(back.code, Some(0), "{back:?}");
    let broken = files.write("broken.wasm", b"broken");
    by(&host, &ops, &["plugin", "push", &broken]).await;
    let spare = format!("{NAME}@{}", version(2));
    assert_eq!(
        by(&host, &ops, &["plugin", "remove", &spare]).await.code,
        Some(0)
    );

    // Whoever may look sees who did it.
    let told = by(&host, &amy, &["plugin", "history", NAME, "--json"]).await;
    let lines = told
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert!(lines.iter().all(|line| line["by"] == "ops"), "{told:?}");
    assert_eq!(lines[1]["reason"], "ties");

    let (status, _) = host.stop().await.unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            ["caller", "method", "resource", "outcome"]
                .map(|name| line[name].as_str().unwrap_or("-").to_owned())
                .join(" ")
                .replace("conclave.v1.Plugins/", "")
        })
        .collect();
    let expected = [
        "ann UploadPlugin - PERMISSION_DENIED".to_owned(),
        "amy UploadPlugin - PERMISSION_DENIED".to_owned(),
        format!("ops UploadPlugin plugins/{first} OK"),
        format!("ops UploadPlugin plugins/{second} OK"),
        "amy RollbackPlugin - PERMISSION_DENIED".to_owned(),
        format!("ops RollbackPlugin channels/strategy/{NAME} OK"),
    ];
    assert_eq!(lines[..6], expected);
    assert!(lines[6].ends_with("INVALID_ARGUMENT"), "{}", lines[6]);
    assert_eq!(lines[7], format!("ops DeletePlugin plugins/{second} OK"));
    assert_eq!(lines.len(), 8);
}

/// What a canary did to others is an operator's to know.
#[tokio::test]
async fn a_tenant_sees_of_a_canary_what_concerns_it() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ops, of_ops) = token("ops", "operator", "default").await;
    let (amy, of_amy) = token("amy", "viewer", "acme").await;
    let config = format!("access.mode = 'required'\n{of_ops}{of_amy}");
    let config = files.write("conclave.toml", config.as_bytes());
    let setup = Setup::asking(&stub).unwrap().arg("--config").arg(config);
    let host = setup.start().await.unwrap();
    let (one, two) = (files.steady(1), files.steady(2));
    for file in [&one, &two] {
        let pushed = by(&host, &ops, &["plugin", "push", file]).await;
        assert_eq!(pushed.code, Some(0), "{pushed:?}");
    }
    let rules = ["tenant=acme:10%", "tenant=umbrella:20%", "role=qa:30%"];
    let mut canary = vec!["plugin", "canary", NAME, "--share", "0%"];
    canary.extend(rules.iter().flat_map(|rule| ["--rule", rule]));
    let tried = by(&host, &ops, &canary).await;
    assert_eq!(tried.code, Some(0), "{tried:?}");

    let seen = async |token: &str| {
        let args = ["plugin", "inspect", NAME, "--json"];
        let ran = by(&host, token, &args).await;
        ran.json().unwrap()["channels"]["canary"].clone()
    };
    let all = seen(&ops).await;
    assert_eq!(all["rules"].as_array().unwrap().len(), 3, "{all}");
    assert_ne!(all["evidence"], "", "{all}");
    let own = seen(&amy).await;
    assert!(!own.to_string().contains("umbrella"), "{own}");
    assert_eq!(own["rules"].as_array().unwrap().len(), 2, "{own}");
    assert_ne!(own["evidence"], all["evidence"], "{own}");
}
