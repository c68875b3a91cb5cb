//! What goes wrong, and what the caller gets to know of it.

use std::error::Error as _;

use reqwest::dns::{Name, Resolve, Resolving};
use tokio::time::Instant;

use super::super::addresses::filtered;
use super::server::ENDING;
use super::*;

/// The error with everything behind it, the port left out.
fn told(error: &Error, endpoint: &Endpoint) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" <- {error}");
        source = error.source();
    }
    text.replace(&endpoint.to_string(), "SERVER")
}

/// Asks a server for each of these, and shows the errors, one a line.
async fn errors_of(cases: impl IntoIterator<Item = Vec<Step>>) -> String {
    let mut errors = String::new();
    for steps in cases {
        let server = Server::always(steps).await;
        let settings = Settings {
            answer_bytes_max: 2000,
            ..settings(&server.endpoint)
        };
        let error = ask(settings, &server.endpoint).await.unwrap_err();
        let kind = if error.is_retryable() {
            "retry"
        } else {
            "final"
        };
        errors += &format!("{kind}: {}\n", told(&error, &server.endpoint));
    }
    errors
}

fn json(body: &str) -> Vec<Step> {
    vec![response(200, "content-type: application/json\r\n", body)]
}

#[tokio::test]
async fn an_answer_that_ends_in_its_middle_is_interrupted() {
    let half = || vec![stream_head(), piece(&token("4"))];
    // A reset overtakes what was sent: the client has to have read it.
    let wait = Step::Wait(Duration::from_millis(300));
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let errors = errors_of([
        [half(), vec![stream_end()]].concat(),
        [half(), vec![Step::Close]].concat(),
        [half(), vec![wait, Step::Reset]].concat(),
        vec![Step::Send(cut.to_owned()), Step::Close],
    ]);
    insta::assert_snapshot!(errors.await, @"
        retry: the stream of SERVER ended before the answer was complete
        retry: the stream of SERVER ended before the answer was complete <- error decoding response body <- error reading a body from connection <- unexpected EOF during chunk size line
        retry: the stream of SERVER ended before the answer was complete <- error decoding response body <- error reading a body from connection <- Connection reset by peer (os error 104)
        retry: the stream of SERVER ended before the answer was complete <- error decoding response body <- error reading a body from connection <- end of file before message length reached
        ");
}

#[tokio::test]
async fn silence_is_a_stall_wherever_it_comes() {
    for steps in [
        vec![Step::Hang],
        vec![stream_head(), Step::Hang],
        vec![stream_head(), piece(&token("4")), Step::Hang],
        vec![
            stream_head(),
            piece(&token("4")),
            piece("data: {"),
            Step::Hang,
        ],
    ] {
        let server = Server::always(steps).await;
        let settings = Settings {
            first_byte_timeout: Duration::from_millis(200),
            idle_timeout: Duration::from_millis(100),
            ..settings(&server.endpoint)
        };
        let error = ask(settings, &server.endpoint).await.unwrap_err();
        assert!(
            matches!(error, Error::Stalled { .. }) && error.is_retryable(),
            "{error:?}"
        );
        server.until(|seen| seen.closed == 1).await;
    }
}

#[tokio::test]
async fn a_slow_server_is_not_a_silent_one() {
    // As a whole it takes longer than it may be silent, and far longer than it is.
    let silence = Duration::from_secs(1);
    let mut steps = vec![stream_head()];
    for byte in format!("{}{ENDING}", token("42")).chars() {
        steps.extend([
            piece(&byte.to_string()),
            Step::Wait(Duration::from_millis(10)),
        ]);
    }
    steps.push(stream_end());
    let server = Server::always(steps).await;
    let settings = Settings {
        first_byte_timeout: silence,
        idle_timeout: silence,
        ..settings(&server.endpoint)
    };
    let began = Instant::now();
    assert_eq!(ask(settings, &server.endpoint).await.unwrap().text, "42");
    assert!(began.elapsed() > silence, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_chat_completion_is_a_protocol_error() {
    let event = |data: &str| {
        vec![
            stream_head(),
            piece(&format!("data: {data}\n\n")),
            stream_end(),
        ]
    };
    let errors = errors_of([
        json("{oops"),
        json("{}"),
        json("\"secret\""),
        event("{\"choices\":\"secret\"}"),
        event("oops"),
        vec![response(
            200,
            "content-type: text/html\r\n",
            "<html>welcome</html>",
        )],
        [vec![stream_head()], vec![piece(&token("4")); 100]].concat(),
    ]);
    insta::assert_snapshot!(errors.await, @"
        final: SERVER gave an answer that is no chat completion: its JSON is invalid at line 1 column 2
        final: SERVER gave an answer that is no chat completion: it has no choices
        final: SERVER gave an answer that is no chat completion: its JSON is invalid at line 1 column 8
        final: SERVER gave an answer that is no chat completion: its JSON is invalid at line 1 column 19
        final: SERVER gave an answer that is no chat completion: its JSON is invalid at line 1 column 1
        final: SERVER gave an answer that is no chat completion: it is neither events nor JSON (content type `text/html`)
        final: SERVER gave an answer that is no chat completion: it is larger than the 2000 bytes of `inference.answer_bytes_max`
        ");
}

#[tokio::test]
async fn what_is_no_http_is_unavailable() {
    let babble = Step::Send("hello, I am no HTTP server\r\n\r\n".to_owned());
    insta::assert_snapshot!(errors_of([vec![babble]]).await, @"retry: SERVER is unavailable <- error sending request <- client error (SendRequest) <- invalid HTTP version parsed");
}

#[tokio::test]
async fn an_error_within_the_stream_is_what_its_code_says() {
    let after_a_token = |data: &str| {
        let event = piece(&format!("data: {data}\n\n"));
        vec![stream_head(), piece(&token("4")), event, stream_end()]
    };
    let errors = errors_of([
        after_a_token(
            r#"{"error":{"message":"engine died","type":"InternalServerError","code":500}}"#,
        ),
        after_a_token(
            r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
        ),
    ]);
    insta::assert_snapshot!(errors.await, @"
        retry: SERVER is unavailable <- status 500: engine died
        final: SERVER rejected the request with status 400: too long
        ");
}

#[tokio::test]
async fn a_refusal_says_why_and_when_to_come_back() {
    let overloaded = response(429, "retry-after: 7\r\n", r#"{"error":{"message":"busy"}}"#);
    let server = Server::always(vec![overloaded]).await;
    let error = ask(settings(&server.endpoint), &server.endpoint)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Overloaded { status: 429, .. }),
        "{error:?}"
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let dates =
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    let server = Server::always(vec![response(503, dates, "loading")]).await;
    let error = ask(settings(&server.endpoint), &server.endpoint)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn an_endless_error_body_is_read_up_to_its_bound() {
    let head = "HTTP/1.1 400 X\r\ntransfer-encoding: chunked\r\n\r\n";
    let flood = vec![piece(&"x".repeat(60_000)); 20];
    let steps = [vec![Step::Send(head.to_owned())], flood, vec![Step::Hang]].concat();
    let server = Server::always(steps).await;
    let error = ask(settings(&server.endpoint), &server.endpoint)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected { status: 400, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::always(good_answer()).await;
    let location = format!("location: {}/v1/chat/completions\r\n", target.endpoint);
    let server = Server::always(vec![response(307, &location, "")]).await;
    let settings = Settings {
        allowed: vec![server.endpoint.clone(), target.endpoint.clone()],
        ..Settings::default()
    };
    let error = ask(settings, &server.endpoint).await.unwrap_err();
    let told = told(&error, &server.endpoint).replace(&target.endpoint.to_string(), "TARGET");
    insta::assert_snapshot!(told, @"SERVER rejected the request with status 307: it redirects to TARGET/v1/chat/completions, and redirects are not followed: configure the final address");
    assert!(target.seen().requests.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_not_listed_is_never_called() {
    let server = Server::always(good_answer()).await;
    let other = Endpoint::parse("http://127.0.0.1:9").unwrap();
    let error = ask(settings(&other), &server.endpoint).await.unwrap_err();
    assert!(
        matches!(error, Error::NotAllowed { .. }) && !error.is_retryable(),
        "{error:?}"
    );
    assert!(server.seen().requests.is_empty());
}

#[tokio::test]
async fn a_listed_name_may_lead_to_loopback() {
    let server = Server::always(good_answer()).await;
    let port = server.endpoint.url().port().unwrap();
    let local = Endpoint::parse(&format!("http://localhost:{port}")).unwrap();
    assert_eq!(ask(settings(&local), &local).await.unwrap().text, "42");
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_allowed() {
    struct Rebound;
    impl Resolve for Rebound {
        fn resolve(&self, name: Name) -> Resolving {
            let found = "169.254.169.254:0".parse().unwrap();
            let refused = filtered(name.as_str(), std::iter::once(found)).unwrap_err();
            Box::pin(async move { Err(refused.into()) })
        }
    }
    let endpoint = Endpoint::parse("http://vllm.example:8000").unwrap();
    let openai = OpenAi::with_resolver(settings(&endpoint), Rebound).unwrap();
    let error = openai
        .generate(&request(&endpoint), &Progress::silent())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotAllowed { .. }), "{error:?}");
    insta::assert_snapshot!(told(&error, &endpoint), @"SERVER may not be called: vllm.example resolves to 169.254.169.254, a link-local address");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_unavailable() {
    let endpoint = Endpoint::parse("http://vllm.invalid:8000").unwrap();
    let error = ask(settings(&endpoint), &endpoint).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_unavailable_over_https() {
    let server = Server::always(vec![]).await;
    let https = server.endpoint.to_string().replace("http", "https");
    let https = Endpoint::parse(&https).unwrap();
    let settings = Settings {
        first_byte_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_millis(200),
        ..settings(&https)
    };
    let error = ask(settings, &https).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
