//! Which models a server lists, and what is made of servers that do not.

use super::super::ModelsError;
use super::*;

async fn models(answer: Step) -> Result<Vec<String>, ModelsError> {
    let server = Server::always(vec![answer]).await;
    let openai = OpenAi::new(settings(&server.endpoint)).unwrap();
    openai.models(&server.endpoint).await
}

#[tokio::test]
async fn models_are_listed_by_name_and_the_key_is_sent() {
    let list = r#"{"object":"list","data":[{"id":"a","object":"model"},{"id":"b/c"}]}"#;
    let server = Server::always(vec![response(200, "", list)]).await;
    let keyed = Settings {
        api_keys: vec![(server.endpoint.clone(), ApiKey::new("sk-1"))],
        ..settings(&server.endpoint)
    };
    let openai = OpenAi::new(keyed).unwrap();
    assert_eq!(openai.models(&server.endpoint).await.unwrap(), ["a", "b/c"]);
    let request = server.seen().requests.remove(0);
    assert!(
        request.head.starts_with("GET /v1/models "),
        "{}",
        request.head
    );
    assert_eq!(request.header("authorization"), Some("Bearer sk-1"));
    let other = Endpoint::parse("http://127.0.0.1:9").unwrap();
    let refused = openai.models(&other).await;
    assert!(
        matches!(refused, Err(ModelsError::NotAllowed(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_list_them_is_told_apart() {
    let refused = models(response(401, "", "{}")).await;
    assert!(
        matches!(refused, Err(ModelsError::Status(401))),
        "{refused:?}"
    );
    for body in [
        "",
        "<html>",
        r#"{"data": 1}"#,
        r#"{"data": [{"name": "a"}]}"#,
    ] {
        let strange = models(response(200, "", body)).await;
        assert!(matches!(strange, Err(ModelsError::NotAList)), "{strange:?}");
    }
    let dead = models(Step::Reset).await;
    assert!(matches!(dead, Err(ModelsError::Unreachable(_))), "{dead:?}");
}
