//! A registry that is played by a table of answers. How a real one is read is tested end to end.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use conclave_core::chain::Chain;
use conclave_core::ids::Digest;
use serde_json::json;

use super::*;

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Answers by path; what is asked with which authorization is noted.
#[derive(Default)]
struct Registry {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<Vec<(String, String)>>,
    /// Without this authorization, `/v2/` asks for it.
    wanted: Mutex<Option<(String, String)>>,
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    let header = |headers: &HeaderMap, name: &str| -> String {
        let value = headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    let authorization = header(request.headers(), "authorization");
    let asked = (path.clone(), authorization.clone());
    registry.asked.lock().unwrap().push(asked);
    let wanted = registry.wanted.lock().unwrap().clone();
    if let Some((wanted, challenge)) = wanted
        && path.starts_with("/v2/")
        && authorization != wanted
    {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let answers = registry.answers.lock().unwrap();
    let (status, headers, body) = answers.get(&path).cloned().unwrap_or((404, vec![], vec![]));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body.into()).unwrap()
}

/// A registry on this machine that holds `COMPONENT` as `team/vote`.
struct Played {
    addr: SocketAddr,
    registry: Arc<Registry>,
}

const COMPONENT: &[u8] = b"a component";

fn manifest() -> Vec<u8> {
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let digest = format!("sha256:{}", Digest::of(bytes));
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.wasm.config.v0+json", b"{}"),
        "layers": [descriptor("application/wasm", COMPONENT)],
    });
    manifest.to_string().into_bytes()
}

impl Played {
    async fn begin() -> Self {
        let registry = Arc::new(Registry::default());
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&registry));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let tasks = conclave_core::tasks::Tasks::default();
        tasks.spawn("registry", axum::serve(socket, app).into_future());
        let played = Self { addr, registry };
        let digest = Digest::of(&manifest());
        played.serve(
            &format!("/v2/team/vote/manifests/sha256:{digest}"),
            200,
            manifest(),
        );
        played.serve("/v2/team/vote/manifests/1.0", 200, manifest());
        played.serve(&blob(), 200, COMPONENT.to_vec());
        played
    }

    fn serve(&self, path: &str, status: u16, body: Vec<u8>) {
        let answer = (status, vec![], body);
        self.registry
            .answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), answer);
    }

    fn redirect(&self, path: &str, to: String) {
        let answer = (307, vec![("location", to)], vec![]);
        self.registry
            .answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), answer);
    }

    fn want(&self, authorization: &str, challenge: &str) {
        let wanted = (authorization.to_owned(), challenge.to_owned());
        *self.registry.wanted.lock().unwrap() = Some(wanted);
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.registry.asked.lock().unwrap().clone()
    }

    fn settings(&self) -> Settings {
        Settings {
            allowed: vec![format!("{}/team", self.addr).parse().unwrap()],
            insecure: vec![self.addr.to_string().parse().unwrap()],
            ..Settings::default()
        }
    }

    fn reference(&self) -> String {
        let digest = Digest::of(&manifest());
        format!("{}/team/vote@sha256:{digest}", self.addr)
    }

    async fn fetch_with(&self, settings: Settings) -> Result<Fetched, String> {
        fetch(settings, &self.reference()).await
    }
}

async fn fetch(settings: Settings, reference: &str) -> Result<Fetched, String> {
    let fetched = Oci::new(settings).unwrap().fetch(reference).await;
    fetched.map_err(|error| {
        let variant = format!("{error:?}");
        let variant = variant.split(['(', ' ']).next().unwrap().to_owned();
        format!("{variant}: {}", Chain(&error))
    })
}

fn blob() -> String {
    format!("/v2/team/vote/blobs/sha256:{}", Digest::of(COMPONENT))
}

fn basic(pair: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}")
}

fn credentials(played: &Played) -> Vec<Credentials> {
    vec![Credentials {
        registry: played.addr.to_string().parse().unwrap(),
        username: "me".to_owned(),
        password: Password::new("secret"),
    }]
}

#[tokio::test]
async fn a_component_is_fetched_by_the_digest_of_its_manifest() {
    let played = Played::begin().await;
    let fetched = played.fetch_with(played.settings()).await.unwrap();
    assert_eq!(&*fetched.bytes, COMPONENT);
    assert_eq!(fetched.reference, played.reference());
    assert_eq!(fetched.signature, None);
}

#[tokio::test]
async fn a_tag_is_refused_with_what_it_is_now() {
    let played = Played::begin().await;
    let tag = format!("{}/team/vote:1.0", played.addr);
    let error = fetch(played.settings(), &tag).await.unwrap_err();
    let digest = played.reference();
    assert_eq!(
        error,
        format!(
            "Reference: the reference `{tag}` is a tag, which may be another component tomorrow; import \
             `{digest}`, what it is now"
        )
    );
    let tag = format!("{}/team/vote:9", played.addr);
    let error = fetch(played.settings(), &tag).await.unwrap_err();
    assert!(
        error.contains("what it is now cannot be told: no"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_is_asked_of_a_registry_that_is_not_listed() {
    let played = Played::begin().await;
    let error = played.fetch_with(Settings::default()).await.unwrap_err();
    assert!(
        error.starts_with("NotAllowed: `127.0.0.1:")
            && error.contains("add it to `plugins.oci.allowed`"),
        "{error}"
    );
    assert!(played.asked().is_empty());
}

#[tokio::test]
async fn what_is_missing_too_large_or_damaged_is_told_apart() {
    let played = Played::begin().await;
    let missing = format!("{}/team/vote@sha256:{}", played.addr, Digest::of(b"other"));
    let error = fetch(played.settings(), &missing).await.unwrap_err();
    assert_eq!(error, format!("NotFound: no `{missing}` is there"));

    let small = Settings {
        bytes_max: COMPONENT.len() as u64 - 1,
        ..played.settings()
    };
    let error = played.fetch_with(small).await.unwrap_err();
    assert_eq!(error, "TooLarge: the component is larger than 10 bytes");
    let blobs = played
        .asked()
        .iter()
        .filter(|(path, _)| *path == blob())
        .count();
    assert_eq!(blobs, 0, "it is not even begun");

    played.serve(&blob(), 200, b"a compoment".to_vec());
    let error = played.fetch_with(played.settings()).await.unwrap_err();
    assert!(
        error.starts_with("Unavailable: ") && error.contains("sent a component with the digest"),
        "{error}"
    );
    played.serve(&blob(), 200, [COMPONENT, COMPONENT].concat());
    let error = played.fetch_with(played.settings()).await.unwrap_err();
    assert!(
        error.contains("more bytes of a component than it may"),
        "{error}"
    );

    let digest = Digest::of(&manifest());
    let path = format!("/v2/team/vote/manifests/sha256:{digest}");
    played.serve(&path, 200, b"{}".to_vec());
    let error = played.fetch_with(played.settings()).await.unwrap_err();
    assert!(error.contains("sent a manifest with the digest"), "{error}");
    played.serve(&path, 503, vec![]);
    let error = played.fetch_with(played.settings()).await.unwrap_err();
    assert!(
        error.ends_with("it answered with status 503 Service Unavailable"),
        "{error}"
    );
}

#[tokio::test]
async fn user_and_password_go_to_who_asks_for_them() {
    let played = Played::begin().await;
    played.want(&basic("me:secret"), "Basic realm=\"Registry\"");
    let error = played.fetch_with(played.settings()).await.unwrap_err();
    assert!(
        error.starts_with("NotAllowed: ")
            && error.contains("`password_file` in `[[plugins.oci.credentials]]`"),
        "{error}"
    );
    let settings = Settings {
        credentials: credentials(&played),
        ..played.settings()
    };
    assert!(!format!("{settings:?}").contains("secret"));
    played.fetch_with(settings.clone()).await.unwrap();
    played.want(&basic("me:other"), "Basic realm=\"Registry\"");
    let error = played.fetch_with(settings).await.unwrap_err();
    assert!(
        error.starts_with("NotAllowed: ") && error.contains("does not let `me` read"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_is_fetched_for_this_repository_alone() {
    let played = Played::begin().await;
    let realm = format!("http://{}/token", played.addr);
    let challenge =
        format!(r#"Bearer realm="{realm}",service="r",scope="repository:other:pull,push""#);
    played.want("Bearer t1", &challenge);
    let token = "/token?scope=repository%3Ateam%2Fvote%3Apull&service=r";
    played.serve(token, 200, br#"{"access_token": "t1"}"#.to_vec());
    let settings = Settings {
        credentials: credentials(&played),
        ..played.settings()
    };
    played.fetch_with(settings.clone()).await.unwrap();
    assert!(
        played
            .asked()
            .contains(&(token.to_owned(), basic("me:secret")))
    );
    played.serve(token, 200, br#"{"token": "a\nb"}"#.to_vec());
    let error = played.fetch_with(settings).await.unwrap_err();
    assert!(error.contains("a token that cannot be used"), "{error}");
}

#[tokio::test]
async fn a_registry_sends_only_to_hosts_that_are_listed_and_credentials_stay() {
    let played = Played::begin().await;
    let storage = Played::begin().await;
    storage.serve("/stored", 200, COMPONENT.to_vec());
    played.want(&basic("me:secret"), "Basic realm=\"Registry\"");
    played.redirect(&blob(), format!("http://{}/stored", storage.addr));
    let mut settings = Settings {
        credentials: credentials(&played),
        ..played.settings()
    };
    let error = played.fetch_with(settings.clone()).await.unwrap_err();
    assert!(
        error.starts_with("NotAllowed: ") && error.contains("to `plugins.oci.hosts_also`"),
        "{error}"
    );
    settings.hosts_also = vec![storage.addr.to_string().parse().unwrap()];
    let error = played.fetch_with(settings.clone()).await.unwrap_err();
    assert!(error.contains("over http, which is not allowed"), "{error}");
    assert!(storage.asked().is_empty());
    settings.insecure.extend(settings.hosts_also.clone());
    played.fetch_with(settings.clone()).await.unwrap();
    assert_eq!(storage.asked(), [("/stored".to_owned(), String::new())]);

    for forbidden in [
        "http://169.254.169.254/latest/meta-data",
        "https://metadata.google.internal/",
    ] {
        played.redirect(&blob(), forbidden.to_owned());
        let error = played.fetch_with(settings.clone()).await.unwrap_err();
        assert!(error.starts_with("NotAllowed: "), "{error}");
    }
    played.redirect(&blob(), blob());
    let error = played.fetch_with(settings.clone()).await.unwrap_err();
    assert!(error.contains("more than 3 times"), "{error}");
    let challenge = r#"Bearer realm="http://169.254.169.254/token""#;
    played.want("Bearer t", challenge);
    let error = played.fetch_with(settings).await.unwrap_err();
    assert!(error.starts_with("NotAllowed: "), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_down_or_silent_is_unavailable() {
    let played = Played::begin().await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = socket.local_addr().unwrap();
    let settings = |addr: SocketAddr| Settings {
        allowed: vec![addr.to_string().parse().unwrap()],
        insecure: vec![addr.to_string().parse().unwrap()],
        timeout: std::time::Duration::from_millis(50),
        ..Settings::default()
    };
    let at = |addr: SocketAddr| {
        played
            .reference()
            .replace(&played.addr.to_string(), &addr.to_string())
    };
    let error = fetch(settings(silent), &at(silent)).await.unwrap_err();
    assert!(
        error.starts_with("Unavailable: ") && error.contains("it took longer"),
        "{error}"
    );
    drop(socket);
    let down = Settings {
        timeout: std::time::Duration::from_secs(60),
        ..settings(silent)
    };
    let error = fetch(down, &at(silent)).await.unwrap_err();
    assert!(
        error.starts_with("Unavailable: ") && error.contains("it cannot be reached"),
        "{error}"
    );
}
