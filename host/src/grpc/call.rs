//! What happens to every call, whatever its service: a bound, who calls, the client's deadline, a span.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response, Uri};
use tracing::{Instrument as _, Span};

use super::fields::Api;
use super::status::{Refusal, code_name, status};
use crate::access::audit::{self, Place, Record};
use crate::access::policy::{self, Rule};
use crate::access::{Access, Caller, Denied};
use crate::telemetry::spans;
use crate::tls::Peer;

/// What a service can learn of the call that it serves, from the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Who calls.
    pub(super) caller: Arc<Caller>,
    /// Whether it may see what is counted over all tenants.
    pub(super) sees_totals: bool,
    /// When the client stops waiting.
    pub(super) deadline: Option<Instant>,
    /// What it is about, for the audit log.
    resource: Arc<OnceLock<String>>,
    /// Held by a stream, too, which goes on when the call has been answered.
    #[expect(dead_code, reason = "dropping the last clone gives the place back")]
    place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Call {
    /// The call that brought this request.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        let call = request.extensions().get().cloned();
        call.unwrap_or_else(|| Self {
            caller: Arc::new(Caller::anyone()),
            sees_totals: true,
            deadline: None,
            resource: Arc::default(),
            place: None,
        })
    }

    /// Says what the call is about.
    pub(super) fn concerns(&self, resource: &impl ToString) {
        self.resource.get_or_init(|| resource.to_string());
    }

    /// Awaits what must not outlast the call.
    pub(super) async fn bound<T>(&self, future: impl Future<Output = T>) -> Result<T, Refusal> {
        let Some(deadline) = self.deadline else {
            return Ok(future.await);
        };
        tokio::time::timeout_at(deadline, future)
            .await
            .map_err(|_| Refusal::DeadlineExceeded)
    }
}

/// Measures calls; probes of the host's health too. It must not block.
pub trait CallMeter: Send + Sync {
    /// A call came.
    fn began(&self);
    /// It was answered, or the client went away; of a stream, it began. The path is the client's.
    fn ended(&self, path: &str, code: Code, took: Duration);
}

/// A call that is not answered; dropping it tells the meter.
struct Open {
    meter: Arc<dyn CallMeter>,
    uri: Uri,
    started: Instant,
    code: Code,
}

impl Open {
    fn new(meter: &Arc<dyn CallMeter>, uri: &Uri) -> Self {
        meter.began();
        Self {
            meter: Arc::clone(meter),
            uri: uri.clone(),
            started: Instant::now(),
            // What stands when the client goes away.
            code: Code::Cancelled,
        }
    }

    /// Takes note of the answer, also in the log and in the span.
    fn answered(mut self, response: &Response<Body>, span: &Span) {
        self.code = note(response, self.started);
        spans::note_call(span, self.code);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.meter.ended(self.uri.path(), self.code, took);
    }
}

/// Serves calls with the services of `inner`.
#[derive(Clone)]
pub(super) struct Calls<S> {
    inner: S,
    access: Arc<Access>,
    places: Arc<Semaphore>,
    places_max: usize,
    message_bytes_max: usize,
    meter: Arc<dyn CallMeter>,
}

impl<S> std::fmt::Debug for Calls<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls")
            .field("places_max", &self.places_max)
            .finish_non_exhaustive()
    }
}

impl<S> Calls<S> {
    /// Serves at most `places_max` calls at once, of callers that are let in; `inner` takes messages of
    /// `message_bytes_max`.
    pub(super) fn new(
        inner: S,
        access: Arc<Access>,
        places_max: usize,
        message_bytes_max: usize,
        meter: Arc<dyn CallMeter>,
    ) -> Self {
        Self {
            inner,
            access,
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            message_bytes_max,
            meter,
        }
    }

    /// A place for a call; probes of the host's health need none.
    fn place(&self, method: &str) -> Result<Option<Arc<OwnedSemaphorePermit>>, Refusal> {
        if method.starts_with("/grpc.health.v1.Health/") {
            return Ok(None);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        place
            .map(|place| Some(Arc::new(place)))
            .map_err(|_| Refusal::Crowded(self.places_max))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answering {
        let open = Open::new(&self.meter, request.uri());
        let started = open.started;
        let span = spans::call(&mut request);
        // tonic answers a call whose `grpc-timeout` has passed with CANCELLED. This timer was started
        // before tonic's and is a millisecond shorter, so that the client gets what gRPC promises.
        let deadline = grpc_timeout(request.headers()).and_then(|timeout| {
            started.checked_add(timeout.saturating_sub(Duration::from_millis(1)))
        });
        let place = match self.place(request.uri().path()) {
            Ok(place) => place,
            Err(refusal) => {
                let _entered = span.enter();
                let response = refused(&refusal);
                open.answered(&response, &span);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let (access, waits) = (Arc::clone(&self.access), self.inner.clone());
        // The one that has said that it is ready.
        let mut inner = std::mem::replace(&mut self.inner, waits);
        let message_bytes_max = self.message_bytes_max;
        let answering_span = span.clone();
        let answering = async move {
            let rule = policy::of_method(request.uri().path());
            let peer = request.extensions().get::<Peer>().cloned();
            let admitted = access.admit(&rule, request.headers(), peer.as_ref()).await;
            let method = request.uri().path().trim_start_matches('/');
            let caller = match admitted {
                Ok(caller) => caller,
                Err(denied) => {
                    note_denied(&access, method, peer.as_ref(), &denied).await;
                    let response = refused(&Refusal::Denied(denied));
                    open.answered(&response, &answering_span);
                    return Ok(response);
                }
            };
            let call = Call {
                sees_totals: access.shows_totals_to(&caller),
                caller,
                deadline,
                resource: Arc::default(),
                place,
            };
            let audited = Audited::of(&access, &rule, method, peer.as_ref(), &call).await;
            request.extensions_mut().insert(call.clone());
            let response = match call.bound(inner.call(request)).await {
                Ok(Ok(response)) if is_too_large(&response) => {
                    refused(&Refusal::TooLarge(message_bytes_max))
                }
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(refusal) => refused(&refusal),
            };
            if let Some(audited) = audited {
                audited.end(code_of(&response));
            }
            open.answered(&response, &answering_span);
            Ok(response)
        };
        Box::pin(answering.instrument(span))
    }
}

/// A call whose end is noted in the audit log, whether it is answered or given up.
struct Audited {
    place: Option<Place>,
    record: Record,
    resource: Arc<OnceLock<String>>,
}

impl Audited {
    /// Takes a place in the audit log for a call that changes something: without one it is not served.
    async fn of(
        access: &Access,
        rule: &Rule,
        method: &str,
        peer: Option<&Peer>,
        call: &Call,
    ) -> Option<Self> {
        let audit = access.audit().filter(|_| rule.changes)?;
        let record = record(method, peer).by(&call.caller);
        Some(Self {
            place: Some(audit.place().await),
            record,
            resource: Arc::clone(&call.resource),
        })
    }

    fn end(mut self, code: Code) {
        self.note(code);
    }

    fn note(&mut self, code: Code) {
        if let Some(place) = self.place.take() {
            code_name(code).clone_into(&mut self.record.outcome);
            self.record.resource = self.resource.get().cloned();
            place.note(&self.record);
        }
    }
}

impl Drop for Audited {
    /// The client has gone; what it asked for may still happen.
    fn drop(&mut self) {
        self.note(Code::Cancelled);
    }
}

fn record(method: &str, peer: Option<&Peer>) -> Record {
    Record {
        method: audit::clipped(method),
        peer: peer.map(|peer| peer.addr.to_string()),
        ..Record::default()
    }
}

async fn note_denied(access: &Access, method: &str, peer: Option<&Peer>, denied: &Denied) {
    let Some(audit) = access.audit() else {
        return;
    };
    let code = status(&Refusal::Denied(denied.clone()), Api::ConclaveV1).code();
    let mut record = Record {
        outcome: code_name(code).to_owned(),
        reason: Some(denied.reason()),
        ..record(method, peer)
    };
    if let Some(caller) = denied.caller() {
        record = record.by(caller);
    }
    audit.place().await.note(&record);
}

/// These refusals concern no field, so that they read the same in every API.
fn refused(refusal: &Refusal) -> Response<Body> {
    status(refusal, Api::ConclaveV1).into_http()
}

/// Whether tonic refused the request's message for its size. Its status says neither what the bound
/// is called nor why; every status of ours has details.
fn is_too_large(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let code = headers.get("grpc-status");
    code.is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::OutOfRange)
        && !headers.contains_key("grpc-status-details-bin")
}

/// Logs how the call was answered; of a stream, how it began.
fn note(response: &Response<Body>, started: Instant) -> Code {
    let code = code_of(response);
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match code {
        Code::Unknown | Code::DataLoss => {
            tracing::error!(?code, latency_ms, "the call failed");
        }
        Code::Ok => tracing::debug!(?code, latency_ms, "answered"),
        _ => tracing::debug!(?code, latency_ms, "refused"),
    }
    code
}

/// How the call was answered, where that is known before its stream has ended.
fn code_of(response: &Response<Body>) -> Code {
    let code = response.headers().get("grpc-status");
    code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// The time that the client gives the call (`grpc-timeout` in the gRPC protocol over HTTP/2).
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_has_at_most_eight_digits_and_a_unit() {
        let timeout = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(timeout("2M"), Some(Duration::from_secs(120)));
        assert_eq!(timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            timeout("99999999u"),
            Some(Duration::from_micros(99_999_999))
        );
        assert_eq!(timeout("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "5", "5s", "-5S", "123456789S", "5 S"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
