//! What becomes of calls that are not answered as they should be.

use conclave_core::chain::Chain;
use conclave_core::cluster::Error;
use tokio::net::TcpListener;

use super::*;

const VERSION: &str = r#"{"version": "4", "ray_version": "2.60.0"}"#;

#[tokio::test]
async fn a_call_says_who_calls_and_shows_the_token() {
    let fake = Fake::start(|_, _| ok(VERSION)).await;
    let with_token = Ray::new(Settings {
        token: Some(Token::new("s3cret")),
        ..settings(&fake)
    });
    let with_token = with_token.unwrap();
    assert_eq!(with_token.version().await.unwrap(), "2.60.0");
    assert!(!format!("{with_token:?}").contains("s3cret"));
    ray(&fake).version().await.unwrap();
    let calls = fake.calls();
    assert_eq!(calls[0].what, "GET /api/version");
    assert!(calls[0].header("user-agent").starts_with("conclave/"));
    assert_eq!(calls[0].header("authorization"), "Bearer s3cret");
    assert_eq!(calls[1].header("authorization"), "");
}

#[tokio::test]
async fn a_token_that_is_no_header_is_refused() {
    let fake = Fake::start(|_, _| ok("")).await;
    for token in ["", "a b", "a\r\nx: y"] {
        let settings = Settings {
            token: Some(Token::new(token)),
            ..settings(&fake)
        };
        assert!(Ray::new(settings).is_err(), "{token}");
    }
}

#[tokio::test]
async fn a_dashboard_that_fails_is_asked_again_up_to_the_bound() {
    let fails_twice = |n, _: &Call| match n {
        1 => Reply::Answer(503, String::new()),
        2 => Reply::Answer(500, "500 Internal Server Error".to_owned()),
        _ => ok("[]"),
    };
    let fake = Fake::start(fails_twice).await;
    assert!(ray(&fake).jobs().await.unwrap().is_empty());
    assert_eq!(fake.calls().len(), 3);

    let text = "Traceback (most recent call last):\n  x\nTimeoutError: no head node agent\n";
    let fake = Fake::start(|_, _| Reply::Answer(500, text.to_owned())).await;
    let error = ray(&fake).jobs().await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(
        Chain(&error).to_string(),
        format!(
            "the Ray cluster at {} is unavailable: it answered with status 500: TimeoutError: no head \
             node agent",
            fake.address()
        )
    );
    assert_eq!(fake.calls().len(), 4);
}

#[tokio::test]
async fn a_dashboard_that_is_silent_is_asked_again_and_then_timed_out() {
    let fake = Fake::start(|n, _| match n {
        1 => Reply::Silence,
        _ => ok("[]"),
    })
    .await;
    let impatient = Settings {
        timeout: Duration::from_millis(200),
        ..settings(&fake)
    };
    let cluster = Ray::new(impatient.clone()).unwrap();
    assert!(cluster.jobs().await.is_ok());
    assert_eq!(fake.calls().len(), 2);

    let fake = Fake::start(|_, _| Reply::Silence).await;
    let cluster = Ray::new(Settings {
        tries_max: 2,
        address: fake.address(),
        ..impatient
    });
    let error = cluster.unwrap().nodes().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.is_retryable() && error.to_string().ends_with("within 0.2 s"));
    assert_eq!(fake.calls().len(), 2);
}

#[tokio::test]
async fn a_dashboard_that_is_not_there_is_unavailable() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let cluster = Ray::new(Settings {
        tries_max: 1,
        ..Settings::new(nowhere.parse().unwrap())
    });
    let error = cluster.unwrap().jobs().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable());
    let told = Chain(&error).to_string();
    assert!(
        told.contains(&nowhere) && told.contains("refused"),
        "{told}"
    );
}

#[tokio::test]
async fn wrong_credentials_are_denied_at_once_and_never_echoed() {
    let fake = Fake::start(|_, call| {
        let text = format!("Forbidden: {}", call.header("authorization"));
        Reply::Answer(403, text)
    })
    .await;
    let cluster = Ray::new(Settings {
        token: Some(Token::new("s3cret")),
        ..settings(&fake)
    });
    let error = cluster.unwrap().jobs().await.unwrap_err();
    assert!(
        matches!(error, Error::Denied { status: 403, .. }),
        "{error}"
    );
    assert!(error.to_string().ends_with("Forbidden: Bearer (hidden)"));
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn what_is_no_dashboard_is_told_as_such() {
    for (status, text, told) in [
        (
            404,
            "404: Not Found",
            "it has the status 404: 404: Not Found",
        ),
        (302, "", "it has the status 302: no text"),
        (200, "<!doctype html>", "expected value"),
        (200, r#"{"jobs": []}"#, "expected a sequence"),
    ] {
        let fake = Fake::start(move |_, _| Reply::Answer(status, text.to_owned())).await;
        let error = ray(&fake).jobs().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(fake.calls().len(), 1);
    }
}
