//! A client of `conclave.v1` that was generated from the .proto file.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::patience::{PATIENCE, within};

#[expect(
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "it is generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/grpc.rs"));
}

pub use generated::conclave::v1 as pb;
pub use generated::fleet::ray_executor::v1 as fleet;
pub use generated::ray_executor::v1 as ray_executor;
use pb::deliberation_event::Event;
use pb::deliberations_client::DeliberationsClient;

/// A connection to a host.
#[derive(Clone, Debug)]
pub struct Client(DeliberationsClient<InterceptedService<Channel, Token>>);

/// Sends a bearer token with every call, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))?.tcp_nodelay(true);
        Self::connect_to(endpoint, None).await
    }

    /// Connects as the endpoint says, and sends this bearer token with every call.
    ///
    /// # Errors
    /// When nobody listens there, or TLS does not come about.
    pub async fn connect_to(endpoint: Endpoint, token: Option<&str>) -> anyhow::Result<Self> {
        let token = token.map(|token| MetadataValue::try_from(format!("Bearer {token}")));
        let token = Token(token.transpose()?);
        let addr = endpoint.uri().clone();
        let channel = within("a connection", endpoint.connect())
            .await?
            .with_context(|| format!("cannot reach {addr}"))?;
        let client = DeliberationsClient::with_interceptor(channel, token);
        Ok(Self(client))
    }

    /// Creates a deliberation.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn create(&self, deliberation: pb::Deliberation) -> Result<pb::Deliberation, Status> {
        self.create_as("", deliberation).await
    }

    /// Creates a deliberation under a request id.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn create_as(
        &self,
        request_id: &str,
        deliberation: pb::Deliberation,
    ) -> Result<pb::Deliberation, Status> {
        let request = pb::CreateDeliberationRequest {
            deliberation: Some(deliberation),
            request_id: request_id.to_owned(),
        };
        let mut client = self.0.clone();
        answer(Box::pin(client.create_deliberation(request))).await
    }

    /// Creates a deliberation in a call with these headers.
    ///
    /// # Errors
    /// What the host answers, also when a header is none.
    pub async fn create_with(
        &self,
        headers: &[(&'static str, &str)],
        deliberation: pb::Deliberation,
    ) -> Result<pb::Deliberation, Status> {
        let mut request = tonic::Request::new(pb::CreateDeliberationRequest {
            deliberation: Some(deliberation),
            request_id: String::new(),
        });
        for (name, value) in headers {
            let value = value.parse();
            let value = value.map_err(|_| Status::invalid_argument("a header is none"))?;
            request.metadata_mut().insert(*name, value);
        }
        let mut client = self.0.clone();
        answer(Box::pin(client.create_deliberation(request))).await
    }

    /// The deliberation as it is now.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn get(&self, uid: &str) -> Result<pb::Deliberation, Status> {
        let mut client = self.0.clone();
        answer(client.get_deliberation(pb::GetDeliberationRequest { name: name(uid) })).await
    }

    /// The deliberation at its end.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn wait(&self, uid: &str) -> Result<pb::Deliberation, Status> {
        let mut client = self.0.clone();
        let request = pb::WaitDeliberationRequest {
            name: name(uid),
            timeout: None,
        };
        answer(client.wait_deliberation(request)).await
    }

    /// The deliberation at its end, or as it is after this time.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn wait_for(&self, uid: &str, timeout: Duration) -> Result<pb::Deliberation, Status> {
        let mut client = self.0.clone();
        let timeout = prost_types::Duration::try_from(timeout);
        let request = pb::WaitDeliberationRequest {
            name: name(uid),
            timeout: Some(timeout.map_err(|_| Status::invalid_argument("the time is too long"))?),
        };
        answer(client.wait_deliberation(request)).await
    }

    /// Creates a deliberation and waits for its end.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn run(&self, deliberation: pb::Deliberation) -> Result<pb::Deliberation, Status> {
        let created = Box::pin(self.create(deliberation)).await?;
        self.wait(&created.uid).await
    }

    /// What happens in a deliberation behind a place in its journal.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn watch(&self, uid: &str, after_sequence: i64) -> Result<Events, Status> {
        let mut client = self.0.clone();
        let request = pb::WatchDeliberationRequest {
            name: name(uid),
            after_sequence,
        };
        Ok(Events(answer(client.watch_deliberation(request)).await?))
    }

    /// All that is journaled of a deliberation, to its end.
    ///
    /// # Errors
    /// What the host answers, or with which the stream ends before.
    pub async fn history(&self, uid: &str) -> Result<Vec<pb::DeliberationEvent>, Status> {
        self.watch(uid, 0).await?.rest().await
    }

    /// Cancels a deliberation.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn cancel(&self, uid: &str, reason: &str) -> Result<pb::Deliberation, Status> {
        let mut client = self.0.clone();
        let request = pb::CancelDeliberationRequest {
            name: name(uid),
            reason: reason.to_owned(),
        };
        answer(client.cancel_deliberation(request)).await
    }
}

fn name(uid: &str) -> String {
    format!("deliberations/{uid}")
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(
            "the test waited for this call in vain",
        )),
    }
}

/// What happens in a deliberation, in order.
#[derive(Debug)]
pub struct Events(Streaming<pb::DeliberationEvent>);

impl Events {
    /// The next event; nothing behind the last.
    ///
    /// # Errors
    /// With which the stream ends.
    pub async fn next(&mut self) -> Result<Option<pb::DeliberationEvent>, Status> {
        match tokio::time::timeout(PATIENCE, self.0.message()).await {
            Ok(event) => event,
            Err(_) => Err(Status::deadline_exceeded(
                "the test waited for an event in vain",
            )),
        }
    }

    /// Reads on until an event is what is waited for.
    ///
    /// # Errors
    /// When the stream ends before.
    pub async fn until(
        &mut self,
        what: &str,
        mut is: impl FnMut(&Event) -> bool,
    ) -> anyhow::Result<pb::DeliberationEvent> {
        let found = async {
            while let Some(event) = self.next().await? {
                if event.event.as_ref().is_some_and(&mut is) {
                    return Ok(event);
                }
            }
            anyhow::bail!("the stream ended without {what}")
        };
        within(what, found).await?
    }

    /// All that is journaled, to the end of the deliberation.
    ///
    /// # Errors
    /// With which the stream ends before.
    pub async fn rest(mut self) -> Result<Vec<pb::DeliberationEvent>, Status> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            if event.sequence > 0 {
                events.push(event);
            }
        }
        Ok(events)
    }
}

/// The reason in a status's `google.rpc.ErrorInfo`.
#[must_use]
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map_or_else(String::new, |info| info.reason.clone())
}

/// The fields that a status's `google.rpc.BadRequest` names, with the rules.
#[must_use]
pub fn violations(status: &Status) -> BTreeMap<String, String> {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice());
    let violations = violations.unwrap_or_default().iter();
    violations
        .map(|one| (one.field.clone(), one.description.clone()))
        .collect()
}

/// The answers of a deliberation's candidates, best first.
#[must_use]
pub fn answers(deliberation: &pb::Deliberation) -> Vec<&str> {
    let ranked = deliberation
        .outcome
        .as_ref()
        .map_or(&[][..], |outcome| &outcome.ranked);
    let candidates = ranked.iter().filter_map(|ranked| ranked.candidate.as_ref());
    candidates
        .map(|candidate| candidate.content.as_str())
        .collect()
}

/// The reason and message of a failed deliberation, both empty when it has not failed.
#[must_use]
pub fn failure(deliberation: &pb::Deliberation) -> (&str, &str) {
    let failure = deliberation.failure.as_ref();
    failure.map_or(("", ""), |failure| (&failure.reason, &failure.message))
}
