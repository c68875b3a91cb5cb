//! The stub, asked by the real adapter.

mod several;

use std::sync::Arc;
use std::time::Duration;

use conclave::openai::{OpenAi, Settings};
use conclave_core::endpoint::Endpoint;
use conclave_core::generation::{FinishReason, Generation};
use conclave_core::ids::ModelName;
use conclave_core::inference::{Error, Inference as _, Progress, Request};
use conclave_core::testkit::inference::contract;
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

struct Asker {
    openai: Arc<OpenAi>,
    endpoint: Endpoint,
}

impl Asker {
    fn of(stub: &StubServer) -> Self {
        let endpoint = Endpoint::parse(&stub.url()).unwrap();
        let settings = Settings {
            allowed: vec![endpoint.clone()],
            idle_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        Self {
            openai: Arc::new(OpenAi::new(settings).unwrap()),
            endpoint,
        }
    }

    fn request(&self, model: &str, seed: Option<u32>) -> Request {
        let mut request = contract::request(&self.endpoint, &ModelName::new(model), 1);
        request.sampling.seed = seed;
        request.sampling.logprobs = Some(0);
        request
    }

    async fn ask(&self, model: &str, seed: Option<u32>) -> Result<Generation, Error> {
        let request = self.request(model, seed);
        self.openai.generate(&request, &Progress::silent()).await
    }

    async fn text(&self, model: &str, seed: Option<u32>) -> String {
        self.ask(model, seed).await.unwrap().text
    }
}

fn states(stub: &StubServer) -> Vec<State> {
    stub.requests()
        .iter()
        .map(|request| request.state)
        .collect()
}

#[tokio::test]
async fn the_adapter_keeps_its_contract_with_the_stub() {
    let stub = StubServer::start().await.unwrap();
    let endpoint = Endpoint::parse(&stub.url()).unwrap();
    let dead = Endpoint::parse("http://127.0.0.1:1").unwrap();
    let settings = Settings {
        allowed: vec![endpoint.clone(), dead.clone()],
        ..Settings::default()
    };
    let server = contract::Server {
        endpoint,
        model: ModelName::new("stub"),
        endless: ModelName::new("slow-tokens:100000:5"),
        dead,
        running: &|| {
            let running = stub
                .requests()
                .iter()
                .filter(|request| request.state == State::Running)
                .count();
            async move { running }.boxed()
        },
    };
    contract::check(&OpenAi::new(settings).unwrap(), &server).await;
    assert_eq!(
        states(&stub),
        [State::Completed, State::Completed, State::Aborted]
    );
    let aborted = stub.requests().remove(2);
    assert_eq!(
        aborted.request_id.as_deref(),
        Some("deliberation-contract-1-4")
    );
}

#[tokio::test]
async fn names_choose_answers() {
    let stub = StubServer::start().await.unwrap();
    let asker = Asker::of(&stub);
    assert_eq!(asker.text("any", None).await, "The answer is 42.");
    assert_eq!(asker.text("echo", None).await, "Say hello.");
    assert_eq!(asker.text("answer:7 \"x\"", None).await, "7 \"x\"");
    for (seed, expected) in [(0, "a"), (1, "b"), (2, "c"), (3, "a")] {
        assert_eq!(asker.text("vote:a,b,c", Some(seed)).await, expected);
    }
    for expected in ["a", "b", "a"] {
        assert_eq!(asker.text("cycle:a,b", Some(0)).await, expected);
    }
    let long = asker.ask("slow-tokens:20:1", None).await.unwrap();
    assert_eq!(
        (long.finish, long.usage.completion_tokens),
        (FinishReason::Length, 16)
    );
    assert_eq!(long.logprobs.len(), 16);
    for model in [
        "think:hm:answer:7",
        "plain:think:hm:answer:7",
        "no-usage:think:hm:answer:7",
    ] {
        let thought = asker.ask(model, None).await.unwrap();
        assert_eq!(
            (thought.text.as_str(), thought.reasoning.as_deref()),
            ("7", Some("hm"))
        );
        assert_eq!(thought.logprobs.len(), 1, "{model}");
    }
}

#[tokio::test]
async fn names_choose_failures() {
    let stub = StubServer::start().await.unwrap();
    let asker = Asker::of(&stub);
    let failure = async |model: &str| asker.ask(model, None).await.unwrap_err();
    let overloaded = failure("status:429:retry-after=1").await;
    assert_eq!(overloaded.retry_after(), Some(Duration::from_secs(1)));
    assert!(matches!(
        failure("status:500").await,
        Error::Unavailable { .. }
    ));
    assert!(matches!(
        failure("unknown").await,
        Error::UnknownModel { .. }
    ));
    assert!(matches!(
        failure("slow:oops").await,
        Error::Rejected { status: 400, .. }
    ));
    assert!(matches!(
        failure("half-stream").await,
        Error::Interrupted { .. }
    ));
    assert!(matches!(
        failure("error-event").await,
        Error::Unavailable { .. }
    ));
    assert!(matches!(
        failure("invalid-json").await,
        Error::Protocol { .. }
    ));
    assert!(matches!(
        failure("plain:invalid-json").await,
        Error::Protocol { .. }
    ));
    assert!(matches!(
        failure("hang-after:2").await,
        Error::Stalled { .. }
    ));
    for seed in [1, 2] {
        let model = "flaky:2:answer:7";
        assert!(asker.ask(model, Some(seed)).await.is_err());
        assert!(asker.ask(model, Some(seed)).await.is_err());
        assert_eq!(asker.text(model, Some(seed)).await, "7");
    }
}

#[tokio::test]
async fn a_script_is_followed_in_turn() {
    let stub = StubServer::start().await.unwrap();
    let asker = Asker::of(&stub);
    let behaviours = ["status:500", "answer:a", "answer:b"].map(|name| name.parse().unwrap());
    stub.script("m", behaviours.to_vec());
    assert!(asker.ask("m", None).await.is_err());
    for expected in ["a", "b", "b"] {
        assert_eq!(asker.text("m", None).await, expected);
    }
    stub.reset();
    assert_eq!(asker.text("m", None).await, "The answer is 42.");
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn what_is_held_waits_for_its_release_and_can_be_aborted() {
    let stub = StubServer::start().await.unwrap();
    let asker = Arc::new(Asker::of(&stub));
    stub.hold();
    let mut asked = JoinSet::new();
    for seed in 1..=3 {
        let asker = Arc::clone(&asker);
        asked.spawn(async move { asker.text("answer:7", Some(seed)).await });
        stub.until(|requests| requests.len() == seed as usize).await;
    }
    assert_eq!(states(&stub), [State::Running; 3]);
    stub.release_next(1);
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "7");
    stub.until(|requests| requests[0].state == State::Completed)
        .await;
    asked.abort_all();
    stub.until(|requests| {
        requests[2].state == State::Aborted && requests[1].state == State::Aborted
    })
    .await;
    stub.release();
    assert_eq!(asker.text("answer:8", None).await, "8");
}

#[tokio::test]
async fn a_held_answer_shows_that_it_lives_until_its_release() {
    let stub = StubServer::start().await.unwrap();
    let mut stream = TcpStream::connect(stub.address).await.unwrap();
    let body = r#"{"model":"held:answer:7","messages":[],"stream":true}"#;
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while String::from_utf8_lossy(&answer).matches(": held").count() < 3 {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it ended");
    }
    assert_eq!(states(&stub), [State::Running]);
    stub.release();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (held, released) = answer.rsplit_once(": held").unwrap();
    assert!(!held.contains("data:"), "{held}");
    assert!(released.contains(r#""content":"7""#), "{released}");

    // What is no stream only waits.
    let asker = Asker::of(&stub);
    let (text, ()) = tokio::join!(asker.text("held:plain:answer:8", None), async {
        stub.until(|requests| requests.len() == 2).await;
        stub.release();
    });
    assert_eq!(text, "8");
}

#[tokio::test]
async fn control_works_over_http() {
    let stub = StubServer::start().await.unwrap();
    let asker = Asker::of(&stub);
    let send = async |request: &str, body: &str| {
        let mut stream = TcpStream::connect(stub.address).await.unwrap();
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let script = r#"{"model":"m","behaviours":["slow:1:answer:7"]}"#;
    assert!(send("POST /_stub/script", script).await.contains(" 200 "));
    assert_eq!(asker.text("m", Some(9)).await, "7");
    let requests = send("GET /_stub/requests", "").await;
    for field in [
        r#""number":1"#,
        r#""model":"m""#,
        r#""seed":9"#,
        r#""state":"completed""#,
        r#""tokens_sent":1"#,
    ] {
        assert!(requests.contains(field), "{field}: {requests}");
    }
    for control in ["hold", "release?count=2", "release", "reset"] {
        assert!(
            send(&format!("POST /_stub/{control}"), "")
                .await
                .contains(" 200 ")
        );
    }
    assert!(
        send("POST /_stub/release?count=x", "")
            .await
            .contains(" 400 ")
    );
    assert!(send("POST /_stub/oops", "").await.contains(" 400 "));
    assert!(send("GET /health", "").await.contains(" 200 "));
    assert!(send("GET /v1/models", "").await.contains(r#""id":"stub""#));
    assert!(
        send("GET /_stub/requests", "")
            .await
            .contains(r#"{"requests":[],"unrecorded":0}"#)
    );
}
