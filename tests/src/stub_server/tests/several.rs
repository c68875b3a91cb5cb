//! Several answers to one request.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stub_server::{State, StubServer};

async fn send(stub: &StubServer, model: &str, extra: Value) -> TcpStream {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "Is it?" }] });
    let (Value::Object(body_fields), Value::Object(extra)) = (&mut body, extra) else {
        unreachable!("both are objects");
    };
    body_fields.extend(extra);
    let (body, mut stream) = (
        body.to_string(),
        TcpStream::connect(stub.address).await.unwrap(),
    );
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(stub: &StubServer, model: &str, extra: Value) -> String {
    let mut answer = String::new();
    let mut stream = send(stub, model, extra).await;
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What a stream has of each choice: its events with text or an end, as `index:text` or `index.reason`.
fn told(answer: &str) -> Vec<String> {
    let events = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let told = events.filter_map(|event| {
        // The last one may not have come as a whole.
        let event: Value = serde_json::from_str(&format!("{{{event}")).ok()?;
        let choice = event["choices"].as_array()?.first()?;
        let (index, text) = (&choice["index"], choice["delta"]["content"].as_str());
        match (
            text.filter(|text| !text.is_empty()),
            &choice["finish_reason"],
        ) {
            (Some(text), _) => Some(format!("{index}:{text}")),
            (None, Value::String(reason)) => Some(format!("{index}.{reason}")),
            _ => None,
        }
    });
    told.collect()
}

#[tokio::test]
async fn several_answers_are_streamed_in_turn_and_each_ends_by_itself() {
    let stub = StubServer::start().await.unwrap();
    let usage = json!({ "include_usage": true, "continuous_usage_stats": true });
    let extra = json!({ "n": 3, "seed": 1, "stream": true, "stream_options": usage });
    let answer = ask(&stub, "vote:no,yes it is,no", extra).await;
    assert_eq!(
        told(&answer),
        [
            "0:yes ", "1:no", "1.stop", "2:no", "2.stop", "0:it ", "0:is", "0.stop"
        ]
    );
    let (before, end) = answer.rsplit_once(r#"{"choices":[],"usage":"#).unwrap();
    assert!(
        end.contains(r#"{"prompt_tokens":2,"completion_tokens":5,"#),
        "{end}"
    );
    assert!(end.contains("data: [DONE]"), "{end}");
    let last = before.lines().rfind(|line| !line.is_empty()).unwrap();
    // The usage of the answer that it belongs to.
    let own = r#""finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3,"#;
    assert!(before.contains(own), "{last}");
    let request = stub.requests().remove(0);
    assert_eq!((request.n, request.tokens_sent), (Some(3), 5));
    assert_eq!(request.state, State::Completed);
}

#[tokio::test]
async fn several_answers_come_whole_where_no_stream_is_asked_for() {
    let stub = StubServer::start().await.unwrap();
    let answer = ask(&stub, "cycle:a,b", json!({ "n": 3 })).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let choices = body["choices"].as_array().unwrap().iter();
    let texts: Vec<_> = choices
        .map(|choice| (&choice["index"], &choice["message"]["content"]))
        .collect();
    assert_eq!(json!(texts), json!([[0, "a"], [1, "b"], [2, "a"]]));
    assert_eq!(body["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn of_several_answers_those_that_are_whole_are_finished_before_the_silence() {
    let stub = StubServer::start().await.unwrap();
    let mut stream = send(
        &stub,
        "hang-after:1:cycle:a,b or c,d",
        json!({ "n": 3, "stream": true }),
    )
    .await;
    let mut answer = Vec::new();
    while told(&String::from_utf8_lossy(&answer)).len() < 5 {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it ended");
    }
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(told(&answer), ["0:a", "0.stop", "1:b ", "2:d", "2.stop"]);
    drop(stream);
    stub.until(|requests| requests[0].state == State::Aborted)
        .await;
}

#[tokio::test]
async fn several_answers_are_refused_where_vllm_refuses_them_or_the_name_says_so() {
    let stub = StubServer::start().await.unwrap();
    for (model, extra, status) in [
        ("m", json!({ "n": 2, "temperature": 0 }), 400),
        ("m", json!({ "n": 1, "temperature": 0 }), 200),
        ("m", json!({ "n": 0 }), 400),
        ("m", json!({ "n": 129 }), 400),
        ("single:answer:7", json!({ "n": 2 }), 400),
        ("single:answer:7", json!({ "n": 1 }), 200),
        ("single:answer:7", json!({}), 200),
    ] {
        let answer = ask(&stub, model, extra.clone()).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{model} {extra}: {answer}");
        assert_eq!(stub.requests().last().unwrap().status, status);
    }
}
