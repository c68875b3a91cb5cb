//! The server with the real model: the tests start the binary and talk HTTP to it.

#[cfg(test)]
mod server;
#[cfg(test)]
mod several;

use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use server::{Server, chat, content};

const CAPITAL: &str = "What is the capital of France?";
const STORY: &str = "Write a very long story about a sailor who crosses the sea.";

/// The longest answer that a test starts and does not wait for.
const LONG: u32 = 4_000;

#[test]
fn a_greedy_answer_is_the_same_whole_and_streamed() {
    let server = Server::start(&[]);
    let request = chat(CAPITAL, json!({ "temperature": 0, "max_tokens": 30 }));
    let whole = server.ask(&request);
    assert_eq!(whole.status, 200, "{}", whole.text);
    let whole = whole.json();
    let text = content(&whole);
    assert!(!text.trim().is_empty());
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");

    let mut streamed = request.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({ "include_usage": true });
    let events: Vec<String> = server.stream(&streamed).collect();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|c| serde_json::from_str(c).unwrap())
        .collect();
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({ "role": "assistant", "content": "" })
    );
    assert!(
        chunks
            .iter()
            .all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"])
    );
    let delta = |c: &Value| {
        c["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(chunks.iter().map(delta).collect::<String>(), text);
    let [.., finish, usage] = &chunks[..] else {
        panic!("{chunks:?}");
    };
    assert_eq!(
        finish["choices"][0]["finish_reason"],
        whole["choices"][0]["finish_reason"]
    );
    assert_eq!(finish["usage"], Value::Null);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], whole["usage"]);
}

#[test]
fn a_seed_gives_the_same_text_alone_and_beside_others() {
    let server = Server::start(&[]);
    let ask = |prompt: &str, seed: i64| {
        let sampling = json!({ "seed": seed, "temperature": 1.0, "top_p": 0.95, "max_tokens": 24 });
        content(&server.ask(&chat(prompt, sampling)).json())
    };
    let alone = ask(STORY, 7);
    assert_ne!(alone, ask(STORY, 8));
    thread::scope(|scope| {
        // The same prompt, which is read once for all, and others.
        for seed in 20..23 {
            scope.spawn(move || ask(STORY, seed));
            scope.spawn(move || ask(CAPITAL, seed));
        }
        let beside = scope.spawn(move || ask(STORY, 7));
        assert_eq!(beside.join().unwrap(), alone);
    });
}

#[test]
fn short_answers_overtake_long_ones_and_all_finish() {
    let server = Server::start(&[]);
    let (done, order) = mpsc::sync_channel(8);
    thread::scope(|scope| {
        let ask = |tokens: u32, seed: u32| {
            let (server, done) = (&server, done.clone());
            let request = chat(STORY, json!({ "max_tokens": tokens, "seed": seed }));
            scope.spawn(move || {
                let answer = server.ask(&request).json();
                done.send((tokens, answer["usage"]["completion_tokens"].clone()))
                    .unwrap();
            });
        };
        (0..3).for_each(|seed| ask(80, seed));
        server.wait_until(|health| health["running"] == 3);
        (3..6).for_each(|seed| ask(4, seed));
    });
    drop(done);
    let order: Vec<_> = order.iter().collect();
    assert_eq!(order.len(), 6);
    assert!(
        order[..3]
            .iter()
            .all(|(tokens, used)| *tokens == 4 && *used == 4),
        "{order:?}"
    );
    assert_eq!(server.health()["completed_total"], 6);
}

#[test]
fn a_client_that_goes_away_frees_its_slot() {
    let server = Server::start(&["--slots", "1"]);
    let request = |stream: bool| chat(STORY, json!({ "max_tokens": LONG, "stream": stream }));
    let mut stream = server.stream(&request(true));
    stream.next().unwrap();
    stream.next().unwrap();
    // A second one waits for the slot, and goes away while waiting.
    let waiting = server.send(&request(false));
    server.wait_until(|health| health["running"] == 1 && health["waiting"] == 1);
    drop(waiting);
    server.wait_until(|health| health["waiting"] == 0 && health["aborted_total"] == 1);
    drop(stream);
    server.wait_until(|health| health["running"] == 0 && health["aborted_total"] == 2);
    let whole = server.send(&request(false));
    server.wait_until(|health| health["running"] == 1);
    drop(whole);
    server.wait_until(|health| health["running"] == 0 && health["aborted_total"] == 3);
    assert_eq!(server.health()["completed_total"], 0);
}

#[test]
fn a_full_queue_refuses_with_a_time_to_retry() {
    let server = Server::start(&["--slots", "1", "--queue", "1"]);
    let request = chat(STORY, json!({ "max_tokens": LONG }));
    let _running = server.send(&request);
    server.wait_until(|health| health["running"] == 1);
    let _waiting = server.send(&request);
    server.wait_until(|health| health["waiting"] == 1);
    let refused = server.ask(&request);
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
}

#[test]
fn a_stop_sequence_ends_the_answer_before_it() {
    let server = Server::start(&[]);
    let greedy = |extra: Value| {
        let mut request = chat(STORY, json!({ "temperature": 0, "max_tokens": 24 }));
        request
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        server.ask(&request).json()
    };
    let full = content(&greedy(json!({})));
    // From the middle of a word to the middle of another: across tokens.
    let start = full.char_indices().nth(13).unwrap().0;
    let stop: String = full[start..].chars().take(14).collect();
    let stopped = greedy(json!({ "stop": [stop, "never said"] }));
    assert_eq!(content(&stopped), full[..full.find(&stop).unwrap()]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
}

#[test]
fn logprobs_describe_every_token() {
    let server = Server::start(&[]);
    let sampling =
        json!({ "temperature": 0, "max_tokens": 12, "logprobs": true, "top_logprobs": 3 });
    let answer = server.ask(&chat(CAPITAL, sampling)).json();
    let tokens = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), content(&answer));
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(
            top[0]["logprob"], token["logprob"],
            "greedy takes the likeliest"
        );
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn errors_have_the_shape_of_openai() {
    let server = Server::start(&["--context", "128"]);
    let mut unknown = chat("hi", json!({}));
    unknown["model"] = json!("gpt-4");
    let schema = json!({ "response_format": { "type": "json_schema", "json_schema": {} } });
    for (request, status, param, code) in [
        (unknown, 404, "model", "model_not_found"),
        (
            chat("hi", json!({ "temperature": 3 })),
            400,
            "temperature",
            "invalid_value",
        ),
        (
            chat("hi", json!({ "max_tokens": 128 })),
            400,
            "max_tokens",
            "context_length_exceeded",
        ),
        (
            chat(&"hi ".repeat(200), json!({})),
            400,
            "messages",
            "context_length_exceeded",
        ),
        (chat("hi", schema), 400, "response_format", "invalid_value"),
    ] {
        let answer = server.ask(&request);
        assert_eq!(answer.status, status, "{}", answer.text);
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(param), &json!(code))
        );
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()));
    }
    assert_eq!(
        server.ask(&chat(&"x".repeat(2 << 20), json!({}))).status,
        413
    );
    assert_eq!(
        server
            .request("POST", "/v1/chat/completions", "no json")
            .status,
        400
    );
    assert_eq!(
        server.request("GET", "/v1/chat/completions", "").status,
        405
    );
    assert_eq!(server.request("GET", "/v1/nothing", "").status, 404);
    assert_eq!(
        server.request("GET", "/v1/models", "").json()["data"][0]["id"],
        "smollm2-135m-instruct"
    );
}

#[test]
fn it_ends_cleanly_when_told_to_even_while_answering() {
    let mut server = Server::start(&[]);
    let mut stream = server.stream(&chat(STORY, json!({ "max_tokens": LONG, "stream": true })));
    stream.next().unwrap();
    assert!(server.terminate().success());
    assert!(stream.last().unwrap().contains("the engine stopped"));
}
