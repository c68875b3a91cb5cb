//! Several answers to one request.

use serde_json::{Value, json};

use crate::server::{Server, chat, content};
use crate::{LONG, STORY};

/// Asks for answers that are drawn with this seed.
fn drawn(seed: i64, extra: Value) -> Value {
    let mut request = chat(
        STORY,
        json!({ "seed": seed, "temperature": 1.0, "top_p": 0.95, "max_tokens": 20 }),
    );
    let Value::Object(extra) = extra else {
        panic!("an object");
    };
    request.as_object_mut().unwrap().extend(extra);
    request
}

fn chunks(server: &Server, request: &Value) -> Vec<Value> {
    let mut events: Vec<String> = server.stream(request).collect();
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let parse = |event: &String| serde_json::from_str(event).unwrap();
    events.iter().map(parse).collect()
}

#[test]
fn each_answer_is_that_of_its_own_seed_whole_and_streamed() {
    let server = Server::start(&[]);
    let alone: Vec<Value> = (7..10)
        .map(|seed| server.ask(&drawn(seed, json!({}))).json())
        .collect();
    assert_ne!(content(&alone[0]), content(&alone[1]));
    let whole = server.ask(&drawn(7, json!({ "n": 3 }))).json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    let used = |answer: &Value, field: &str| answer["usage"][field].as_u64().unwrap();
    for (index, (choice, alone)) in choices.iter().zip(&alone).enumerate() {
        let alone = &alone["choices"][0];
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"], alone["message"]);
        assert_eq!(choice["finish_reason"], alone["finish_reason"]);
    }
    assert_eq!(
        used(&whole, "prompt_tokens"),
        used(&alone[0], "prompt_tokens")
    );
    let sum: u64 = alone.iter().map(|one| used(one, "completion_tokens")).sum();
    assert_eq!(used(&whole, "completion_tokens"), sum);

    let streamed = json!({
        "n": 3, "stream": true,
        "stream_options": { "include_usage": true, "continuous_usage_stats": true },
    });
    let mut chunks = chunks(&server, &drawn(7, streamed));
    let total = chunks.pop().unwrap();
    assert_eq!(total["choices"], json!([]));
    assert_eq!(total["usage"], whole["usage"]);
    let order: Vec<u64> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap())
        .collect();
    let ended = order.iter().rposition(|index| *index == 0).unwrap();
    let begun = order.iter().position(|index| *index == 2).unwrap();
    assert!(begun < ended, "they are decoded together: {order:?}");
    for (index, alone) in alone.iter().enumerate() {
        let own: Vec<&Value> = chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["index"] == index)
            .collect();
        assert!(
            own.iter()
                .all(|chunk| chunk["choices"].as_array().unwrap().len() == 1)
        );
        let delta = |chunk: &&Value| {
            let content = &chunk["choices"][0]["delta"]["content"];
            content.as_str().unwrap_or("").to_owned()
        };
        assert_eq!(own[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(own.iter().map(delta).collect::<String>(), content(alone));
        let (last, before) = own.split_last().unwrap();
        assert_eq!(
            last["choices"][0]["finish_reason"],
            alone["choices"][0]["finish_reason"]
        );
        assert!(
            before
                .iter()
                .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
        );
        // What each chunk tells is the usage of its own answer.
        assert_eq!(last["usage"], alone["usage"]);
        assert_eq!(used(own[0], "completion_tokens"), 0);
        assert!(own.is_sorted_by_key(|chunk| used(chunk, "completion_tokens")));
    }
}

#[test]
fn a_client_that_goes_away_aborts_all_its_answers() {
    let server = Server::start(&["--slots", "4"]);
    for stream in [true, false] {
        let before = server.health()["aborted_total"].as_u64().unwrap();
        let request = drawn(1, json!({ "n": 4, "max_tokens": LONG, "stream": stream }));
        let connection = server.send(&request);
        let decoded = server.health()["generation_tokens_total"].as_u64().unwrap();
        server.wait_until(|health| {
            health["running"] == 4
                && health["generation_tokens_total"].as_u64().unwrap() > decoded + 8
        });
        drop(connection);
        server.wait_until(|health| health["running"] == 0);
        let health = server.health();
        assert_eq!(health["aborted_total"], before + 4);
        // A step would have been made by the time of the second answer here.
        let short = server.ask(&drawn(1, json!({ "max_tokens": 3 }))).json();
        let tokens = short["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!(
            server.health()["generation_tokens_total"],
            health["generation_tokens_total"].as_u64().unwrap() + tokens
        );
    }
}

#[test]
fn more_answers_than_slots_and_greedy_ones_are_refused() {
    let server = Server::start(&["--slots", "3", "--queue", "1"]);
    for (extra, rule) in [
        (json!({ "n": 4 }), "from 1 to 3, the slots of this server"),
        (json!({ "n": 0 }), "from 1 to 3, the slots of this server"),
        (
            json!({ "n": 2, "temperature": 0 }),
            "1 with `temperature` 0",
        ),
    ] {
        let refused = server.ask(&drawn(1, extra));
        assert_eq!(refused.status, 400);
        let error = &refused.json()["error"];
        assert_eq!(error["param"], "n");
        assert!(error["message"].as_str().unwrap().contains(rule), "{error}");
    }
    // There is room for two of three: none is taken.
    let _running = server.send(&drawn(1, json!({ "n": 2, "max_tokens": LONG })));
    server.wait_until(|health| health["running"] == 2);
    let refused = server.ask(&drawn(1, json!({ "n": 3 })));
    assert_eq!(refused.status, 429);
    let health = server.health();
    assert_eq!(
        (&health["running"], &health["waiting"]),
        (&json!(2), &json!(0))
    );
}
