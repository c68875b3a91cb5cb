//! Answers HTTP requests as their model names say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::behaviour::{Behaviour, NoBehaviour};
use super::chat::ChatRequest;
use super::gate::{Gate, Held};
use super::plan::Plan;
use super::record::{Open, Recorded, Recorder, State};

const MODELS: &str =
    r#"{"object":"list","data":[{"id":"stub","object":"model","created":0,"owned_by":"stub"}]}"#;

/// What all connections share.
#[derive(Debug, Default)]
pub(super) struct Stub {
    pub(super) records: Arc<Recorder>,
    pub(super) gate: Gate,
    /// Where the answers of `held` models wait; the first of them closes it.
    held: Gate,
    counters: Mutex<HashMap<String, u32>>,
    /// The behaviours that are left for a model, the next one last.
    scripts: Mutex<HashMap<String, Vec<Behaviour>>>,
}

#[derive(Debug, Deserialize)]
struct Script {
    model: String,
    behaviours: Vec<String>,
}

/// Why a request is refused with status 400.
type Why = String;

impl Stub {
    pub(super) fn reset(&self) {
        self.records.reset();
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.scripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.release();
    }

    pub(super) fn release(&self) {
        self.gate.release();
        self.held.release();
    }

    pub(super) fn script(&self, model: &str, mut behaviours: Vec<Behaviour>) {
        behaviours.reverse();
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.insert(model.to_owned(), behaviours);
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::POST, "/v1/chat/completions") => self.complete(request).await,
            (&Method::GET, "/v1/models") => ok(MODELS.as_bytes().to_vec()),
            (&Method::GET, "/health") => ok(b"{}".to_vec()),
            (&Method::GET, "/_stub/requests") => match serde_json::to_vec(&self.records.all()) {
                Ok(records) => ok(records),
                Err(error) => refusal(500, None, &error.to_string(), None),
            },
            (&Method::POST, _) if path.starts_with("/_stub/") => {
                match self.control(request).await {
                    Ok(()) => ok(b"{}".to_vec()),
                    Err(why) => refusal(400, None, &why, None),
                }
            }
            _ => refusal(404, None, "the stub has no such path", None),
        }
    }

    async fn control(&self, request: Request<Incoming>) -> Result<(), Why> {
        let count = request
            .uri()
            .query()
            .and_then(|query| query.strip_prefix("count="));
        match (request.uri().path(), count) {
            ("/_stub/reset", _) => self.reset(),
            ("/_stub/hold", _) => self.gate.hold(),
            ("/_stub/release", None) => self.release(),
            ("/_stub/release", Some(count)) => {
                let count = count.parse().map_err(|_| "count is no number".to_owned())?;
                self.gate.release_next(count);
            }
            ("/_stub/script", _) => {
                let script: Script = parsed(request).await?;
                let behaviours = script.behaviours.iter().map(|name| name.parse());
                let behaviours: Result<_, NoBehaviour> = behaviours.collect();
                self.script(
                    &script.model,
                    behaviours.map_err(|error| error.to_string())?,
                );
            }
            (other, _) => return Err(format!("the stub has no control {other}")),
        }
        Ok(())
    }

    async fn complete(&self, request: Request<Incoming>) -> Response<Answer> {
        let header = |name| {
            let value = request.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let request_id = header("x-request-id");
        let traceparent = header("traceparent");
        let tracestate = header("tracestate");
        let authorized = request.headers().contains_key(AUTHORIZATION);
        let chat: ChatRequest = match parsed(request).await {
            Ok(chat) => chat,
            Err(why) => return refusal(400, None, &why, None),
        };
        let prompt_sha256 = chat.prompt_sha256();
        // All is settled before the gate, so that it follows the order in which requests come, and
        // before the request is recorded, so that whoever saw it can release it.
        let plan = self
            .behaviour(&chat.model)
            .map(|behaviour| Plan::new(behaviour, &chat, &prompt_sha256, |key| self.count(key)));
        let held = plan.as_ref().is_ok_and(|plan| plan.held);
        let held = held.then(|| Held::at(&self.held));
        let open = self.records.begin(Recorded {
            number: 0,
            model: chat.model.clone(),
            prompt_sha256,
            prompt_tokens: chat.prompt_tokens(),
            n: chat.n,
            seed: chat.seed,
            max_tokens: chat.max_tokens,
            temperature: chat.temperature,
            json_schema: chat.json_schema().cloned(),
            last_user_message: chat.last_user_message().to_owned(),
            request_id,
            traceparent,
            tracestate,
            authorized,
            status: 0,
            tokens_sent: 0,
            state: State::Running,
        });
        if let Some(why) = chat.fault() {
            return refusal(400, None, &why, Some(open));
        }
        self.gate.pass().await;
        match plan {
            Ok(plan) => carry_out(plan, held, &chat, open).await,
            Err(error) => refusal(400, None, &error.to_string(), Some(open)),
        }
    }

    fn behaviour(&self, model: &str) -> Result<Behaviour, NoBehaviour> {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = scripts.get_mut(model) else {
            return model.parse();
        };
        let next = if left.len() > 1 {
            left.pop()
        } else {
            left.last().cloned()
        };
        Ok(next.unwrap_or(Behaviour::Default))
    }

    /// How often this was counted before.
    fn count(&self, key: String) -> u32 {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counters.entry(key).or_default();
        *counter += 1;
        *counter - 1
    }
}

async fn carry_out(
    plan: Plan,
    mut held: Option<Held>,
    chat: &ChatRequest,
    mut open: Open,
) -> Response<Answer> {
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    if plan.is_silent() {
        return std::future::pending().await;
    }
    // What is sent in one piece can show no sign of life before.
    if !plan.is_streamed()
        && let Some(held) = held.take()
    {
        held.released().await;
    }
    if let Some((status, after)) = plan.refusal() {
        let message = format!("the stub refuses model `{}`", chat.model);
        return refusal(status, after, &message, Some(open));
    }
    open.status = 200;
    let (answer, streamed) = plan.into_answer(chat, open);
    let mut response = Response::new(answer.behind(held));
    let content_type = if streamed {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn parsed<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Why> {
    let body = request.into_body().collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("the request is not understood: {error}"))
}

fn ok(body: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(body, 0, None));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in OpenAI's form.
fn refusal(
    status: u16,
    retry_after: Option<&str>,
    message: &str,
    mut open: Option<Open>,
) -> Response<Answer> {
    let error = serde_json::json!({
        "error": { "message": message, "type": "StubError", "param": null, "code": status }
    });
    if let Some(open) = &mut open {
        open.status = status;
    }
    let mut response = Response::new(Answer::whole(error.to_string().into_bytes(), 0, open));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = retry_after.and_then(|after| HeaderValue::from_str(after).ok()) {
        headers.insert(RETRY_AFTER, after);
    }
    response
}
