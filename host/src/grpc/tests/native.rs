//! The native API as a client sees it.

use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::{Served, told};
use crate::grpc::pb::conclave::v1::deliberation::State;
use crate::grpc::pb::conclave::v1::deliberations_client::DeliberationsClient;
use crate::grpc::pb::conclave::v1::{
    Agent, CreateDeliberationRequest, Deliberation, GetDeliberationRequest,
    ListDeliberationsRequest, PluginSelection, Task, WaitDeliberationRequest,
    WatchDeliberationRequest,
};

pub(super) fn client(served: &Served) -> DeliberationsClient<Channel> {
    DeliberationsClient::new(served.channel.clone())
}

/// Creates one that is sound; its name.
pub(super) async fn created(client: &mut DeliberationsClient<Channel>) -> String {
    let created = client.create_deliberation(create()).await;
    created.unwrap().into_inner().name
}

fn create() -> CreateDeliberationRequest {
    let agent = |id: &str| Agent {
        id: id.to_owned(),
        ..Agent::default()
    };
    CreateDeliberationRequest {
        deliberation: Some(Deliberation {
            task: Some(Task {
                id: "t-1".to_owned(),
                description: "Is 7 prime?".to_owned(),
                agents: vec![agent("a"), agent("b")],
                model: "m".to_owned(),
                ..Task::default()
            }),
            ..Deliberation::default()
        }),
        request_id: String::new(),
    }
}

pub(super) fn wait(name: &str) -> WaitDeliberationRequest {
    WaitDeliberationRequest {
        name: name.to_owned(),
        timeout: None,
    }
}

#[tokio::test]
async fn a_deliberation_is_created_waited_for_and_read() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let created = client
        .create_deliberation(create())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(created.name, format!("deliberations/{}", created.uid));
    assert_eq!(created.strategy.unwrap().name, "scripted");
    let done = client
        .wait_deliberation(wait(&created.name))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.state(), State::Completed);
    let winner = &done.outcome.as_ref().unwrap().ranked[0];
    assert_eq!(winner.candidate.as_ref().unwrap().content, "yes");
    assert_eq!(done.usage.unwrap().generations_completed, 2);
    let read = client
        .get_deliberation(GetDeliberationRequest { name: created.name })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(read, done);
}

#[tokio::test]
async fn a_wait_ends_at_its_timeout_or_at_the_call_s_deadline() {
    let served = Served::hanging().await;
    let mut client = client(&served);
    let name = created(&mut client).await;
    let timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 30_000_000,
    });
    let request = WaitDeliberationRequest {
        name: name.clone(),
        timeout,
    };
    let still = client
        .wait_deliberation(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(still.state(), State::Running);
    let negative = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let request = WaitDeliberationRequest {
        name: name.clone(),
        timeout: negative,
    };
    assert_eq!(
        client.wait_deliberation(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let mut client = DeliberationsClient::new(served.calls.clone());
    let status = client
        .wait_deliberation(deadline(wait(&name)))
        .await
        .unwrap_err();
    let (code, reason, _) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    let watch = WatchDeliberationRequest {
        name,
        after_sequence: 0,
    };
    let mut stream = client
        .watch_deliberation(deadline(watch))
        .await
        .unwrap()
        .into_inner();
    let status = loop {
        match stream.message().await {
            Ok(event) => assert!(event.is_some(), "the stream ended without an error"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

fn deadline<T>(body: T) -> Request<T> {
    let mut request = Request::new(body);
    request
        .metadata_mut()
        .insert("grpc-timeout", "200m".parse().unwrap());
    request
}

#[tokio::test]
async fn a_request_id_is_one_deliberation() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let keyed = || CreateDeliberationRequest {
        request_id: "r-1".to_owned(),
        ..create()
    };
    let first = client
        .create_deliberation(keyed())
        .await
        .unwrap()
        .into_inner();
    let again = client
        .create_deliberation(keyed())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.name, again.name);
    let mut other = keyed();
    other
        .deliberation
        .get_or_insert_default()
        .task
        .get_or_insert_default()
        .description = "Is 8?".to_owned();
    let status = client.create_deliberation(other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        info.metadata["differences"],
        "deliberation.task.description"
    );
    assert_eq!(info.metadata["deliberation_id"], first.uid);
    let long = CreateDeliberationRequest {
        request_id: "r".repeat(129),
        ..create()
    };
    assert_eq!(
        client.create_deliberation(long).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn every_refusal_names_the_field() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    type Change = fn(&mut Deliberation);
    let cases: [(Change, &str); 6] = [
        (|d| d.task = None, "deliberation.task.id"),
        (
            |d| d.task.get_or_insert_default().agents.clear(),
            "deliberation.task.agents",
        ),
        (
            |d| d.endpoint = "nonsense".to_owned(),
            "deliberation.endpoint",
        ),
        (
            |d| d.strategy = Some(named("scriptd", "")),
            "deliberation.strategy.name",
        ),
        (
            |d| d.strategy = Some(named("", r#"{"count": 0}"#)),
            "deliberation.strategy.params_json/count",
        ),
        (|d| d.max_retries = Some(-1), "deliberation.max_retries"),
    ];
    for (change, field) in cases {
        let mut request = create();
        change(request.deliberation.get_or_insert_default());
        let status = client.create_deliberation(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            field
        );
    }
    let nothing = client
        .create_deliberation(CreateDeliberationRequest::default())
        .await
        .unwrap_err();
    assert_eq!(told(&nothing).2, "deliberation must be given");
    for name in ["deliberation-1", "deliberations/"] {
        let request = GetDeliberationRequest {
            name: name.to_owned(),
        };
        assert_eq!(
            client.get_deliberation(request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let unknown = GetDeliberationRequest {
        name: "deliberations/none".to_owned(),
    };
    let status = client.get_deliberation(unknown).await.unwrap_err();
    let (code, reason, message) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::NotFound, "DELIBERATION_NOT_FOUND")
    );
    assert_eq!(message, "no deliberation `none`");
    let unknown = WatchDeliberationRequest {
        name: "deliberations/none".to_owned(),
        after_sequence: 0,
    };
    assert_eq!(
        client.watch_deliberation(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(served.journal.stored(), 0);
}

fn named(name: &str, params_json: &str) -> PluginSelection {
    PluginSelection {
        name: name.to_owned(),
        params_json: params_json.to_owned(),
        ..PluginSelection::default()
    }
}

#[tokio::test]
async fn priority_and_labels_come_back_everywhere() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let mut request = create();
    let asked = request.deliberation.get_or_insert_default();
    asked.priority = Some(0);
    asked.labels.insert("team".to_owned(), "blue".to_owned());
    let labels = asked.labels.clone();
    let told = |one: &Deliberation| (one.priority, one.labels.clone());
    let expected = (Some(0), labels);
    let created = client
        .create_deliberation(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(told(&created), expected);
    let name = created.name.clone();
    let done = client
        .wait_deliberation(wait(&name))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(told(&done), expected);
    let request = GetDeliberationRequest { name };
    let got = client.get_deliberation(request).await.unwrap().into_inner();
    assert_eq!(told(&got), expected);
    let request = ListDeliberationsRequest {
        filter: "labels.team = blue AND priority = 0".to_owned(),
        ..ListDeliberationsRequest::default()
    };
    let listed = client
        .list_deliberations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(told(&listed.deliberations[0]), expected);
    for wrong in [10, -1] {
        let mut request = create();
        request.deliberation.get_or_insert_default().priority = Some(wrong);
        let status = client.create_deliberation(request).await.unwrap_err();
        let details = status.get_error_details();
        let field = &details.bad_request().unwrap().field_violations[0].field;
        assert_eq!(field, "deliberation.priority");
    }
}
