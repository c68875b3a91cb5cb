//! The adapter against a server that misbehaves in every way that a test can think of.

mod failures;
mod models;
mod server;

use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use conclave_core::generation::{FinishReason, Generation, Usage};
use conclave_core::ids::ModelName;
use conclave_core::inference::{Error, Inference as _, Progress, Request};
use conclave_core::testkit::inference::contract;
use futures::FutureExt as _;

use super::{ApiKey, OpenAi, Settings};
use server::{Server, Step, good_answer, piece, response, stream_end, stream_head, token};

fn settings(endpoint: &Endpoint) -> Settings {
    Settings {
        allowed: vec![endpoint.clone()],
        ..Settings::default()
    }
}

/// Lets the client's own tasks put its connection back into the pool.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn request(endpoint: &Endpoint) -> Request {
    contract::request(endpoint, &ModelName::new("tiny"), 1)
}

async fn ask(settings: Settings, endpoint: &Endpoint) -> Result<Generation, Error> {
    let openai = OpenAi::new(settings).unwrap();
    openai
        .generate(&request(endpoint), &Progress::silent())
        .await
}

/// Asks a server that does this with every request.
async fn answer_to(steps: Vec<Step>) -> Result<Generation, Error> {
    let server = Server::always(steps).await;
    ask(settings(&server.endpoint), &server.endpoint).await
}

#[tokio::test]
async fn the_contract_of_inference_holds() {
    let server = Server::start(|_, received| {
        if received.body.contains(r#""model":"tiny""#) {
            good_answer()
        } else if received.body.contains(r#""model":"endless""#) {
            vec![stream_head(), piece(&token("one")), Step::Hang]
        } else {
            vec![response(
                404,
                "",
                r#"{"error":{"message":"no such model"}}"#,
            )]
        }
    })
    .await;
    let dead = Endpoint::parse("http://127.0.0.1:1").unwrap();
    let seen = server.watch();
    let settings = Settings {
        allowed: vec![server.endpoint.clone(), dead.clone()],
        ..Settings::default()
    };
    let checked = contract::Server {
        endpoint: server.endpoint.clone(),
        model: ModelName::new("tiny"),
        endless: ModelName::new("endless"),
        dead,
        running: &|| {
            let hanging = seen.borrow().hanging;
            async move { hanging }.boxed()
        },
    };
    contract::check(&OpenAi::new(settings).unwrap(), &checked).await;
}

#[tokio::test]
async fn a_streamed_answer_is_read_with_its_usage() {
    let answer = answer_to(good_answer()).await.unwrap();
    assert_eq!(answer.text, "42");
    assert_eq!(answer.finish, FinishReason::Stop);
    let expected = Usage {
        prompt_tokens: 9,
        cached_tokens: 0,
        completion_tokens: 2,
    };
    assert_eq!(answer.usage, expected);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = r#"{"choices":[{"message":{"role":"assistant","content":"42"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let steps = vec![response(200, "content-type: application/json\r\n", body)];
    let answer = answer_to(steps).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.finish),
        ("42", FinishReason::Length)
    );
    assert_eq!(answer.usage.prompt_tokens, 9);
}

#[tokio::test]
async fn a_complete_answer_survives_the_loss_of_its_usage() {
    let ended = r#"data: {"choices":[{"delta":{"content":"2"},"finish_reason":"stop"}]}"#;
    for end in [Step::Close, stream_end()] {
        let steps = vec![
            stream_head(),
            piece(&token("4")),
            piece(&format!("{ended}\n\n")),
            end,
        ];
        let answer = answer_to(steps).await.unwrap();
        assert_eq!(answer.text, "42");
        assert_eq!(answer.usage.completion_tokens, 2);
    }
}

#[tokio::test]
async fn the_request_names_its_attempt_and_its_sender() {
    let server = Server::always(good_answer()).await;
    ask(settings(&server.endpoint), &server.endpoint)
        .await
        .unwrap();
    let seen = server.seen();
    let sent = &seen.requests[0];
    assert!(
        sent.head.starts_with("POST /v1/chat/completions HTTP/1.1"),
        "{}",
        sent.head
    );
    assert_eq!(
        sent.header("x-request-id"),
        Some("deliberation-contract-1-1")
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        sent.header("user-agent"),
        Some(&*format!("conclave/{version}"))
    );
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("authorization"), None);
}

#[tokio::test]
async fn a_key_goes_to_its_own_origin_only() {
    let (first, second) =
        tokio::join!(Server::always(good_answer()), Server::always(good_answer()));
    let settings = Settings {
        allowed: vec![first.endpoint.clone(), second.endpoint.clone()],
        api_keys: vec![(first.endpoint.clone(), ApiKey::new("sk-secret"))],
        ..Settings::default()
    };
    let openai = OpenAi::new(settings).unwrap();
    for endpoint in [&first.endpoint, &second.endpoint] {
        openai
            .generate(&request(endpoint), &Progress::silent())
            .await
            .unwrap();
    }
    let keys = [&first, &second].map(|server| {
        let seen = server.seen();
        seen.requests[0]
            .header("authorization")
            .map(ToOwned::to_owned)
    });
    assert_eq!(keys, [Some("Bearer sk-secret".to_owned()), None]);
    assert!(!format!("{openai:?}").contains("sk-secret"));
}

#[tokio::test]
async fn calls_in_turn_share_one_connection() {
    let server = Server::start(|number, _| match number % 3 {
        0 => vec![response(429, "", "{}")],
        1 => vec![response(
            200,
            "content-type: application/json\r\n",
            r#"{"choices":[{}]}"#,
        )],
        _ => good_answer(),
    })
    .await;
    let openai = OpenAi::new(settings(&server.endpoint)).unwrap();
    for _ in 0..9 {
        let _ = openai
            .generate(&request(&server.endpoint), &Progress::silent())
            .await;
        settled().await;
    }
    let seen = server.seen();
    assert_eq!(seen.requests.len(), 9);
    assert!(
        seen.requests.iter().all(|request| request.connection == 1),
        "{seen:?}"
    );
}

#[tokio::test]
async fn dropping_a_generation_closes_its_connection() {
    for head in [vec![], vec![stream_head(), piece(&token("4"))]] {
        let steps = [head, vec![Step::Hang]].concat();
        let server = Server::always(steps).await;
        let openai = OpenAi::new(settings(&server.endpoint)).unwrap();
        let (request, progress) = (request(&server.endpoint), Progress::silent());
        tokio::select! {
            ended = openai.generate(&request, &progress) => unreachable!("{ended:?}"),
            () = server.until(|seen| seen.hanging == 1) => (),
        }
        server.until(|seen| seen.closed == 1).await;
    }
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced_once() {
    for end in [Step::Close, Step::Reset] {
        let server = Server::start(move |_, received| {
            let fresh = received.connection > 1;
            if fresh || received.body.contains("first") {
                good_answer()
            } else {
                vec![end.clone()]
            }
        })
        .await;
        let openai = OpenAi::new(settings(&server.endpoint)).unwrap();
        let mut request = request(&server.endpoint);
        request.model = ModelName::new("first");
        openai
            .generate(&request, &Progress::silent())
            .await
            .unwrap();
        settled().await;
        request.model = ModelName::new("second");
        let answer = openai
            .generate(&request, &Progress::silent())
            .await
            .unwrap();
        assert_eq!(answer.text, "42");
        let seen = server.seen();
        let connections: Vec<_> = seen
            .requests
            .iter()
            .map(|request| request.connection)
            .collect();
        assert_eq!(connections, [1, 1, 2]);
    }
}

#[tokio::test]
async fn a_connection_that_dies_twice_or_fresh_is_not_replaced() {
    let server = Server::start(|number, _| match number {
        2 => good_answer(),
        _ => vec![Step::Close],
    })
    .await;
    let openai = OpenAi::new(settings(&server.endpoint)).unwrap();
    let mut results = Vec::new();
    for _ in 0..3 {
        let result = openai
            .generate(&request(&server.endpoint), &Progress::silent())
            .await;
        settled().await;
        results.push(match result {
            Ok(answer) => answer.text,
            Err(Error::Unavailable { .. }) => "unavailable".to_owned(),
            Err(other) => unreachable!("{other:?}"),
        });
    }
    assert_eq!(results, ["unavailable", "42", "unavailable"]);
    // One for the fresh one, one for the answer, two for the idle one and its replacement.
    assert_eq!(server.seen().requests.len(), 4);
}
