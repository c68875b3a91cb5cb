//! Watches of the native API.

use std::time::Duration;

use conclave_core::testkit::inference::{Script, ScriptedInference};
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use super::native::{client, created, wait};
use super::{Served, soon, told};
use crate::grpc::Settings;
use crate::grpc::pb::conclave::v1::deliberation::State;
use crate::grpc::pb::conclave::v1::deliberation_event::Event;
use crate::grpc::pb::conclave::v1::deliberations_client::DeliberationsClient;
use crate::grpc::pb::conclave::v1::{
    CancelDeliberationRequest, DeliberationEvent, WatchDeliberationRequest,
};

async fn watching(
    client: &mut DeliberationsClient<Channel>,
    name: &str,
    after_sequence: i64,
) -> Streaming<DeliberationEvent> {
    let name = name.to_owned();
    let request = WatchDeliberationRequest {
        name,
        after_sequence,
    };
    let stream = client.watch_deliberation(request).await;
    stream.unwrap().into_inner()
}

async fn watched(
    client: &mut DeliberationsClient<Channel>,
    name: &str,
    after_sequence: i64,
) -> Vec<DeliberationEvent> {
    let mut stream = watching(client, name, after_sequence).await;
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_watch_tells_the_story_and_resumes_behind_any_event() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    client.wait_deliberation(wait(&name)).await.unwrap();
    let events = watched(&mut client, &name, 0).await;
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event.event.as_ref())
        .map(kind)
        .collect();
    assert_eq!(kinds.first(), Some(&"accepted"));
    assert_eq!(kinds.last(), Some(&"finished"));
    for expected in ["progress", "started", "generated", "proposed", "scored"] {
        assert!(kinds.contains(&expected), "{expected} in {kinds:?}");
    }
    for (seen, event) in events.iter().enumerate() {
        assert_eq!(
            watched(&mut client, &name, event.sequence).await,
            events[seen + 1..]
        );
    }
}

#[tokio::test]
async fn a_watch_behind_an_event_that_is_not_there_is_out_of_range() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    let request = WatchDeliberationRequest {
        name,
        after_sequence: 1000,
    };
    let status = client.watch_deliberation(request).await.unwrap_err();
    let (code, reason, message) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::OutOfRange, "AFTER_SEQUENCE_BEYOND_END")
    );
    assert!(message.ends_with("has no entry 1000 yet"), "{message}");
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Accepted(_) => "accepted",
        Event::GenerationStarted(_) => "started",
        Event::Tokens(_) => "tokens",
        Event::GenerationFinished(_) => "generated",
        Event::CandidatesProposed(_) => "proposed",
        Event::CandidatesScored(_) => "scored",
        Event::Progress(_) => "progress",
        Event::CancelRequested(_) => "cancel requested",
        Event::Paused(_) => "paused",
        Event::Finished(_) => "finished",
    }
}

#[tokio::test]
async fn a_live_watch_shows_tokens_and_the_cancel() {
    let script = |_: &_, _| {
        Script::tokens(["for", "ty"])
            .after(Duration::from_millis(50))
            .then_hang()
    };
    let served = Served::start(ScriptedInference::new(script), Settings::default()).await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    let mut stream = watching(&mut client, &name, 0).await;
    let mut kinds = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        let event = event.event.unwrap();
        if matches!(&event, Event::Tokens(tokens) if tokens.text == "ty")
            && !kinds.contains(&"cancel")
        {
            kinds.push("cancel");
            let request = CancelDeliberationRequest {
                name: name.clone(),
                reason: "enough".to_owned(),
            };
            let cancelled = client
                .cancel_deliberation(request)
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (cancelled.state(), cancelled.cancel_reason.as_str()),
                (State::Cancelled, "enough")
            );
        }
        kinds.push(kind(&event));
    }
    assert!(kinds.contains(&"cancel requested"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"finished"));
}

#[tokio::test]
async fn a_watch_of_a_host_that_stops_ends_with_unavailable() {
    let served = Served::hanging().await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    let mut stream = watching(&mut client, &name, 0).await;
    soon().await;
    served.run.live().pause_all();
    let mut kinds = Vec::new();
    let status = loop {
        match stream.message().await {
            Ok(event) => kinds.push(kind(&event.unwrap().event.unwrap())),
            Err(status) => break status,
        }
    };
    assert_eq!(kinds.last(), Some(&"paused"));
    let (code, reason, _) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::Unavailable, "DELIBERATION_RESTING")
    );
    assert!(status.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_watch() {
    let served = Served::start(
        ScriptedInference::new(|_, _| Script::hang()),
        Settings {
            calls_max: 1,
            ..Settings::default()
        },
    )
    .await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    let request = || WatchDeliberationRequest {
        name: name.clone(),
        after_sequence: 0,
    };
    let stream = watching(&mut client, &name, 0).await;
    // The watch holds the only place.
    let status = client.watch_deliberation(request()).await.unwrap_err();
    let (code, reason, _) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CALLS")
    );
    drop(stream);
    while client.watch_deliberation(request()).await.is_err() {
        soon().await;
    }
}
