//! Tokens of the configuration: roles, tenants, and what a wrong one is answered with.

use conclave_tests::beside::Beside;
use conclave_tests::client::{answers, reason};
use conclave_tests::command::{conclave, conclave_with};
use conclave_tests::draft::vote;
use conclave_tests::stub_server::StubServer;
use tonic::Code;

use super::support::{Files, client, page, token, told, unauthenticated};

#[tokio::test]
async fn a_token_gives_its_bearer_a_role_and_a_tenant() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ann, of_ann) = token("ann", "client", "a").await;
    let (amy, of_amy) = token("amy", "viewer", "a").await;
    let (bob, of_bob) = token("bob", "client", "b").await;
    let (old, of_old) = token("old", "client", "a").await;
    let config = format!(
        "access.mode = 'required'\n{of_ann}{of_amy}{of_bob}{of_old}expires = '2020-01-01T00:00:00Z'\n"
    );
    let host = files.setup(&stub, &config).start().await.unwrap();
    let as_ann = client(&host, &ann).await;
    let beside = Beside::start(&stub, &as_ann).await.unwrap();

    let draft = || vote(&["answer:7"]);
    let missing = client(&host, "").await.create(draft()).await;
    assert_eq!(told(missing), unauthenticated("TOKEN_MISSING"));
    let unknown = client(&host, "cncl_nobody").await.create(draft()).await;
    assert_eq!(told(unknown), unauthenticated("TOKEN_UNKNOWN"));
    let expired = client(&host, &old).await.create(draft()).await;
    assert_eq!(told(expired), unauthenticated("TOKEN_EXPIRED"));
    let as_amy = client(&host, &amy).await;
    let refused = as_amy.create(draft()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), "ROLE_INSUFFICIENT");
    assert!(refused.message().contains("`client`"), "{refused}");

    let created = as_ann.create_as("once", draft()).await.unwrap();
    let seen = as_amy.wait(&created.uid).await.unwrap();
    assert_eq!(answers(&seen), ["7"]);
    let as_bob = client(&host, &bob).await;
    let not_found = (Code::NotFound, "DELIBERATION_NOT_FOUND".to_owned());
    assert_eq!(told(as_bob.get(&created.uid).await), not_found);
    assert_eq!(told(as_bob.cancel(&created.uid, "").await), not_found);
    assert_eq!(told(as_bob.wait(&created.uid).await), not_found);
    let theirs = as_bob.create_as("once", draft()).await.unwrap();
    assert_ne!(theirs.uid, created.uid);

    beside.ends_unaffected(&stub, &as_ann).await.unwrap();
    let log = host.log();
    assert!(
        !log.contains(&ann) && !log.contains(&bob),
        "a token is in the log"
    );
}

#[tokio::test]
async fn pages_need_a_token_but_for_probes() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (amy, of_amy) = token("amy", "viewer", "a").await;
    let config = format!("access.mode = 'required'\n{of_amy}");
    let host = files.setup(&stub, &config).start().await.unwrap();
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(page(host.http_addr(), probe, "").await.0, 200);
    }
    for path in ["/metrics", "/events", "/"] {
        let (status, answer) = page(host.http_addr(), path, "").await;
        assert_eq!(status, 401, "{answer}");
        assert!(
            answer.contains("www-authenticate: Bearer realm=\"conclave\""),
            "{answer}"
        );
        assert!(answer.contains("TOKEN_MISSING"), "{answer}");
        assert_eq!(page(host.http_addr(), path, "wrong").await.0, 401);
    }
    // The page of events would go on for ever.
    for path in ["/metrics", "/"] {
        assert_ne!(page(host.http_addr(), path, &amy).await.0, 401);
    }
}

#[tokio::test]
async fn client_commands_send_a_token_and_say_how_to_get_one() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (ann, of_ann) = token("ann", "client", "a").await;
    let config = format!("access.mode = 'required'\n{of_ann}");
    let host = files.setup(&stub, &config).start().await.unwrap();
    let addr = format!("http://{}", host.grpc_addr());
    let run = [
        "run", "2+2?", "--agents", "1", "--model", "answer:4", "--addr", &addr,
    ];

    let refused = conclave(&run).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["TOKEN_MISSING", "CONCLAVE_TOKEN", "conclave token new"] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
    let ran = conclave_with(&run, &[("CONCLAVE_TOKEN", &ann)])
        .await
        .unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let file = files.write("token", &format!("{ann}\n"));
    let file = file.display().to_string();
    let with_file = [&run[..], &["--token-file", &file]].concat();
    let ran = conclave_with(&with_file, &[("CONCLAVE_TOKEN", "wrong")])
        .await
        .unwrap();
    assert_eq!(ran.code, Some(0), "the file outdoes the variable: {ran:?}");

    let config = files.path("conclave.toml").display().to_string();
    let checked = conclave(&["serve", "--check", "--config", &config]).await;
    let checked = checked.unwrap();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.out.contains(&ann), "{checked:?}");
}
