//! The audit log.

use std::os::unix::fs::PermissionsExt as _;

use conclave_tests::draft::{Change as _, vote};
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;
use serde_json::Value;

use super::support::{Files, audited, client, page, token};

#[tokio::test]
async fn changes_and_refusals_are_noted_and_nothing_else() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ann, of_ann) = token("ann", "client", "team-a").await;
    let (amy, of_amy) = token("amy", "viewer", "team-a").await;
    let file = files.path("audit.jsonl");
    let config = format!(
        "access.mode = 'required'\naccess.audit_file = '{}'\nlog.level = 'error'\n{of_ann}{of_amy}",
        file.display()
    );
    let host = files.setup(&stub, &config).start().await.unwrap();
    let as_ann = client(&host, &ann).await;
    let draft = vote(&["held:answer:a-secret-answer"])
        .task(|task| "What is the secret?".clone_into(&mut task.description));
    let created = as_ann.create(draft).await.unwrap();
    as_ann.get(&created.uid).await.unwrap();
    as_ann
        .cancel(&created.uid, "a secret reason")
        .await
        .unwrap();
    as_ann
        .cancel("deliberation-of-nobody", "")
        .await
        .unwrap_err();
    client(&host, &amy)
        .await
        .cancel(&created.uid, "")
        .await
        .unwrap_err();
    client(&host, "cncl_made-up")
        .await
        .get(&created.uid)
        .await
        .unwrap_err();
    page(host.http_addr(), "/metrics?token=x", "").await;

    let logged = |log: &str| {
        log.lines()
            .filter(|line| line.contains("conclave::audit"))
            .count()
    };
    let log = within("the records in the log", async {
        while logged(&host.log()) < 6 {
            tokio::task::yield_now().await;
        }
        host.log()
    });
    let log = log.await.unwrap();
    let (status, _) = host.stop().await.unwrap();
    assert!(status.success());
    let lines = audited(&file);
    let facts = |line: &Value| {
        [
            "caller", "tenant", "role", "method", "resource", "outcome", "reason",
        ]
        .map(|name| line[name].as_str().unwrap_or("-").to_owned())
        .join(" ")
    };
    let id = &created.uid;
    let service = "conclave.v1.Deliberations";
    let expected = [
        format!("ann team-a client {service}/CreateDeliberation {id} OK -"),
        format!("ann team-a client {service}/CancelDeliberation {id} OK -"),
        format!(
            "ann team-a client {service}/CancelDeliberation deliberation-of-nobody NOT_FOUND -"
        ),
        format!(
            "amy team-a viewer {service}/CancelDeliberation - PERMISSION_DENIED ROLE_INSUFFICIENT"
        ),
        format!("- - - {service}/GetDeliberation - UNAUTHENTICATED TOKEN_UNKNOWN"),
        "- - - GET /metrics - 401 TOKEN_MISSING".to_owned(),
    ];
    assert_eq!(lines.iter().map(facts).collect::<Vec<_>>(), expected);
    for line in &lines {
        assert!(
            line["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{line}"
        );
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let text = line.to_string();
        assert!(
            !text.contains("secret") && !text.contains("made-up"),
            "{text}"
        );
    }
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(logged(&log), expected.len(), "{log}");
    assert!(!log.contains(&ann), "a token is in the log");
}
