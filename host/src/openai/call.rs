//! One call to one server: send, read, and say what went wrong.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use conclave_core::inference::Error;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::addresses::Refused;
use super::answer::Collected;
use super::body;
use super::chunk::{Chunk, Fault};
use super::refusal::{self, Refusal};
use super::retry_after;
use super::server::Server;
use super::settings::Settings;
use super::sse::Events;
use crate::errand::{Answers, Errand};
use crate::telemetry::TraceHeaders;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long the end of the body may take after the end of the answer. Servers send it at once; a
/// connection whose body was not read to its end cannot be used again.
const TRAILER_TIMEOUT: Duration = Duration::from_millis(100);

/// A call that is about to be made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    client: &'a Client,
    settings: &'a Settings,
    server: &'a Server,
    errand: &'a Errand,
    trace: TraceHeaders,
    started: Instant,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        client: &'a Client,
        settings: &'a Settings,
        server: &'a Server,
        errand: &'a Errand,
        trace: TraceHeaders,
    ) -> Self {
        Self {
            client,
            settings,
            server,
            errand,
            trace,
            started: Instant::now(),
        }
    }

    /// Makes the call.
    pub(super) async fn run(self, answers: &dyn Answers) -> Result<(), Error> {
        let json = body::encode(self.errand)?;
        let response = self.send(json.into()).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        if let Some(placement) = &self.errand.placement {
            answers.placed(placement);
        }
        let collected = Collected::new(self.errand, answers, self.started);
        let collected = if content_type.contains("json") {
            self.read_whole(response, collected).await?
        } else {
            let content_type = content_type.to_owned();
            self.read_stream(response, &content_type, collected).await?
        };
        match collected.hand_over() {
            true => Ok(()),
            false => Err(self.interrupted(None)),
        }
    }

    /// Sends the request and waits for the head of the answer. A server may close an idle connection
    /// at the very moment in which a request is sent on it: only then it is sent a second time.
    async fn send(&self, json: Bytes) -> Result<Response, Error> {
        let pool_idle_timeout = self.settings.pool_idle_timeout;
        let may_be_stale = self.server.may_have_idle_connections(pool_idle_timeout);
        let by = self.started + self.settings.first_byte_timeout;
        let execute = |json| timeout_at(by, self.client.execute(self.http_request(json)));
        let mut sent = execute(json.clone()).await;
        if may_be_stale && matches!(&sent, Ok(Err(error)) if died_unanswered(error)) {
            tracing::debug!(endpoint = %self.errand.endpoint, "an idle connection was dead");
            sent = execute(json).await;
        }
        match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(error)),
            Err(_) => Err(self.stalled(self.settings.first_byte_timeout)),
        }
    }

    fn http_request(&self, json: Bytes) -> reqwest::Request {
        let url = self.errand.endpoint.join("v1/chat/completions");
        let mut http = reqwest::Request::new(Method::POST, url);
        let headers = http.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.server.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // An id that does not fit into a header is only missing from the engine's log.
        if let Ok(id) = HeaderValue::try_from(self.errand.request.id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        let trace = [
            ("traceparent", &self.trace.traceparent),
            ("tracestate", &self.trace.tracestate),
        ];
        for (name, text) in trace {
            let value = text.as_deref().map(HeaderValue::from_str);
            if let Some(Ok(value)) = value {
                headers.insert(name, value);
            }
        }
        *http.body_mut() = Some(json.into());
        http
    }

    /// Reads a stream of events until the server says that it is done, or closes.
    async fn read_stream(
        &self,
        mut response: Response,
        content_type: &str,
        mut answer: Collected<'a>,
    ) -> Result<Collected<'a>, Error> {
        let mut events = Events::default();
        let mut received = 0;
        let mut any = false;
        loop {
            let bytes = match self.next_bytes(&mut response, &mut received).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) if !any && received > 0 => {
                    let found =
                        format!("it is neither events nor JSON (content type `{content_type}`)");
                    return Err(self.protocol(found));
                }
                Ok(None) => {
                    self.server.connection_kept();
                    return Ok(answer);
                }
                // The model had ended: only the usage, which can be counted, is lost.
                Err(_) if answer.is_finished() => return Ok(answer),
                Err(error) => return Err(error),
            };
            events.push(&bytes);
            while let Some(data) = events.next() {
                any = true;
                match data.trim_ascii() {
                    b"" => (),
                    b"[DONE]" => {
                        answer.finish();
                        self.read_trailer(response).await;
                        return Ok(answer);
                    }
                    data => match Chunk::parse(data) {
                        Ok(chunk) => answer.take(chunk),
                        Err(fault) => return Err(self.faulty(&fault, data)),
                    },
                }
            }
        }
    }

    /// Reads the answer of a server that does not stream.
    async fn read_whole(
        &self,
        mut response: Response,
        mut answer: Collected<'a>,
    ) -> Result<Collected<'a>, Error> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next_bytes(&mut response, &mut body.len()).await? {
            body.extend_from_slice(&bytes);
        }
        self.server.connection_kept();
        let chunk = Chunk::parse(&body).map_err(|fault| self.faulty(&fault, &body))?;
        if chunk.choices.is_empty() {
            return Err(self.protocol("it has no choices".to_owned()));
        }
        answer.take(chunk);
        answer.finish();
        Ok(answer)
    }

    /// The next bytes of the body, `None` at its end; adds their number to `received`.
    async fn next_bytes(
        &self,
        response: &mut Response,
        received: &mut usize,
    ) -> Result<Option<Bytes>, Error> {
        let settings = self.settings;
        let (silence, by) = if *received == 0 {
            let silence = settings.first_byte_timeout;
            (silence, self.started + silence)
        } else {
            (
                settings.idle_timeout,
                Instant::now() + settings.idle_timeout,
            )
        };
        let bytes = match timeout_at(by, response.chunk()).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(self.interrupted(Some(error))),
            Err(_) => return Err(self.stalled(silence)),
        };
        *received += bytes.as_ref().map_or(0, Bytes::len);
        if *received > settings.answer_bytes_max {
            let bound = settings.answer_bytes_max;
            return Err(self.protocol(format!(
                "it is larger than the {bound} bytes of `inference.answer_bytes_max`"
            )));
        }
        Ok(bytes)
    }

    async fn read_trailer(&self, mut response: Response) {
        let end = async { while let Ok(Some(_)) = response.chunk().await {} };
        if timeout(TRAILER_TIMEOUT, end).await.is_ok() {
            self.server.connection_kept();
        }
    }

    /// What an answer with another status than success means.
    async fn refused(&self, mut response: Response) -> Error {
        let mut body = Vec::new();
        let bound = self.settings.error_bytes_max;
        while body.len() < bound {
            match timeout(self.settings.idle_timeout, response.chunk()).await {
                Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes[..bytes.len().min(bound)]),
                Ok(Ok(None)) => {
                    self.server.connection_kept();
                    break;
                }
                // The status alone says enough.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let location = response.headers().get(LOCATION);
        let refusal = Refusal {
            status: response.status().as_u16(),
            retry_after: retry_after::read(response.headers()),
            location: location.and_then(|location| location.to_str().ok()),
            authorization: self.server.authorization.as_ref(),
            body: &body,
        };
        refusal.into_error(self.errand)
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let endpoint = self.errand.endpoint.clone();
        let refused = sources(&error).find_map(|source| source.downcast_ref::<Refused>());
        if let Some(refused) = refused {
            return Error::NotAllowed {
                endpoint,
                reason: refused.to_string(),
            };
        }
        Error::Unavailable {
            endpoint,
            retry_after: None,
            source: Box::new(error.without_url()),
        }
    }

    fn interrupted(&self, error: Option<reqwest::Error>) -> Error {
        Error::Interrupted {
            endpoint: self.errand.endpoint.clone(),
            source: error.map(|error| error.without_url().into()),
        }
    }

    fn stalled(&self, silence: Duration) -> Error {
        Error::Stalled {
            endpoint: self.errand.endpoint.clone(),
            silence,
        }
    }

    fn faulty(&self, fault: &Fault, data: &[u8]) -> Error {
        match fault {
            Fault::IsError => {
                refusal::in_stream(data, self.server.authorization.as_ref(), self.errand)
            }
            Fault::Invalid { line, column } => self.protocol(format!(
                "its JSON is invalid at line {line} column {column}"
            )),
        }
    }

    fn protocol(&self, reason: String) -> Error {
        Error::Protocol {
            endpoint: self.errand.endpoint.clone(),
            reason,
        }
    }
}

/// Whether the connection ended after the request was sent and before any answer.
fn died_unanswered(error: &reqwest::Error) -> bool {
    let ended =
        |source: &(dyn std::error::Error + 'static)| match source.downcast_ref::<io::Error>() {
            Some(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
            ),
            // hyper's `IncompleteMessage`, whose type reqwest does not expose; a test holds the words.
            None => source.to_string() == "connection closed before message completed",
        };
    !error.is_connect() && !error.is_timeout() && sources(error).any(ended)
}

/// Everything that lies behind an error.
fn sources<'e>(
    error: &'e reqwest::Error,
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}
