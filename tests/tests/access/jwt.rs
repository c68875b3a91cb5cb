//! JWTs of an issuer: keys in a file and behind a URL, and every way to be wrong.

use conclave_tests::beside::Beside;
use conclave_tests::draft::vote;
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tonic::Code;

use super::support::{Files, Issuer, KeyPage, claims, client, told, unauthenticated};

const ISSUER: &str = "access.mode = 'required'\n[access.jwt]\nissuer = 'https://issuer.test'\naudience = 'conclave'\n";

/// `{"alg":"none","typ":"JWT"}`
const NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

#[tokio::test]
async fn a_wrong_jwt_is_refused_with_the_reason_and_disturbs_nobody() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (issuer, other) = (Issuer::new("k"), Issuer::new("k"));
    let keys = files.write("jwks.json", &issuer.jwks());
    let config = format!("{ISSUER}jwks_file = '{}'\n", keys.display());
    let host = files.setup(&stub, &config).start().await.unwrap();
    let sound = issuer.sign(&claims("a", &[]));
    let as_ann = client(&host, &sound).await;
    let beside = Beside::start(&stub, &as_ann).await.unwrap();
    let own = as_ann.create(vote(&["answer:7"])).await.unwrap();

    let expired = jsonwebtoken::get_current_timestamp() - 60;
    let body = sound.split('.').nth(1).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k".to_owned());
    let secret = EncodingKey::from_secret(issuer.public_pem.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims("a", &[]), &secret).unwrap();
    let wrong = |change| issuer.sign(&claims("a", &[change]));
    for (token, refused) in [
        (
            wrong(("exp", json!(expired))),
            unauthenticated("TOKEN_EXPIRED"),
        ),
        (
            other.sign(&claims("a", &[])),
            unauthenticated("TOKEN_FORGED"),
        ),
        (
            format!("{NONE}.{body}."),
            unauthenticated("TOKEN_ALGORITHM_NOT_ALLOWED"),
        ),
        (confused, unauthenticated("TOKEN_ALGORITHM_NOT_ALLOWED")),
        (
            Issuer::new("x").sign(&claims("a", &[])),
            unauthenticated("TOKEN_KEY_UNKNOWN"),
        ),
        (
            wrong(("iss", json!("https://other.test"))),
            unauthenticated("TOKEN_WRONG_ISSUER"),
        ),
        (
            wrong(("aud", json!("other"))),
            unauthenticated("TOKEN_WRONG_AUDIENCE"),
        ),
        ("nonsense".to_owned(), unauthenticated("TOKEN_MALFORMED")),
        (
            wrong(("conclave_role", json!("root"))),
            (Code::PermissionDenied, "ROLE_UNKNOWN".to_owned()),
        ),
        (
            wrong(("conclave_role", json!("viewer"))),
            (Code::PermissionDenied, "ROLE_INSUFFICIENT".to_owned()),
        ),
        (
            wrong(("tenant", json!(""))),
            (Code::PermissionDenied, "TENANT_MISSING".to_owned()),
        ),
    ] {
        let client = client(&host, &token).await;
        assert_eq!(
            told(client.create(vote(&["answer:7"])).await),
            refused,
            "{token}"
        );
        assert!(!host.log().contains(&token), "a token is in the log");
    }
    let stranger = client(&host, &issuer.sign(&claims("b", &[]))).await;
    assert_eq!(told(stranger.get(&own.uid).await).0, Code::NotFound);
    beside.ends_unaffected(&stub, &as_ann).await.unwrap();
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_fetched_when_a_token_names_it() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (first, second) = (Issuer::new("1"), Issuer::new("2"));
    let keys = KeyPage::start(first.jwks());
    let config = format!("{ISSUER}jwks_url = '{}'\nrefresh_seconds = 1\n", keys.url());
    let host = files.setup(&stub, &config).start().await.unwrap();
    let as_first = client(&host, &first.sign(&claims("a", &[]))).await;
    let own = as_first.create(vote(&["answer:7"])).await.unwrap();

    let as_second = client(&host, &second.sign(&claims("a", &[]))).await;
    assert_eq!(
        told(as_second.get(&own.uid).await),
        unauthenticated("TOKEN_KEY_UNKNOWN")
    );
    keys.show(second.jwks());
    let found = within("the new key", async {
        while as_second.get(&own.uid).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    found.await.unwrap();
    assert_eq!(
        told(as_first.get(&own.uid).await),
        unauthenticated("TOKEN_KEY_UNKNOWN")
    );
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_host_ask_the_issuer_again_and_again() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let issuer = Issuer::new("1");
    let keys = KeyPage::start(issuer.jwks());
    let config = format!(
        "{ISSUER}jwks_url = '{}'\nrefresh_seconds = 3600\n",
        keys.url()
    );
    let host = files.setup(&stub, &config).start().await.unwrap();
    let stranger = client(&host, &Issuer::new("x").sign(&claims("a", &[]))).await;
    for _ in 0..20 {
        assert_eq!(
            told(stranger.get("d").await),
            unauthenticated("TOKEN_KEY_UNKNOWN")
        );
    }
    let ann = client(&host, &issuer.sign(&claims("a", &[]))).await;
    assert_eq!(told(ann.get("d").await).0, Code::NotFound);
    assert_eq!(keys.asked(), 1);
}

#[tokio::test]
async fn without_any_keys_a_token_can_be_neither_taken_nor_refused() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let keys = KeyPage::start("no keys".to_owned());
    let config = format!("{ISSUER}jwks_url = '{}'\n", keys.url());
    let host = files.setup(&stub, &config).start().await.unwrap();
    let issuer = Issuer::new("1");
    let ann = client(&host, &issuer.sign(&claims("a", &[]))).await;
    let unavailable = (Code::Unavailable, "TOKEN_KEYS_UNAVAILABLE".to_owned());
    assert_eq!(told(ann.get("d").await), unavailable);
    let missing = "access.mode = 'required'\n[access.jwt]\nissuer = 'i'\naudience = 'a'\njwks_file = '/no/keys'\n";
    let (status, log) = files.setup(&stub, missing).start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains("access.jwt.jwks_file") && log.contains("/no/keys"),
        "{log}"
    );
}
