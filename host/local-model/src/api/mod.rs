//! The HTTP server: the part of the OpenAI chat API that a deliberation needs.

mod answer;
mod error;
mod request;
mod response;
mod stream;

pub(crate) use error::Error;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, extract::DefaultBodyLimit};
use serde_json::{Value, json};

use crate::chat::Chat;
use crate::engine::{Engine, Job};
use crate::sampler::Sampling;
use crate::tokenizer::Tokenizer;
use answer::Answers;
use request::{ChatRequest, TokensMax};
use response::Head;

/// Longest body of a request; the longest context is a few ten thousand bytes of text.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A model and how it is served.
#[derive(Debug)]
pub(crate) struct Served {
    /// What requests call it.
    pub(crate) name: String,
    /// Most tokens of prompt and answer together.
    pub(crate) context: usize,
    pub(crate) slots: usize,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) chat: Chat,
    pub(crate) engine: Engine,
}

/// All endpoints.
pub(crate) fn router(served: Served) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .fallback(async || Error::NoEndpoint)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(served))
}

async fn models(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(json!({
        "object": "list",
        "data": [{
            "id": served.name,
            "object": "model",
            "created": 0,
            "owned_by": "conclave",
            "max_model_len": served.context,
        }],
    }))
}

/// 200 while requests are taken, 503 when the engine has stopped; the counters in either case.
async fn health(State(served): State<Arc<Served>>) -> (StatusCode, Json<Value>) {
    let counters = served.engine.counters();
    let (code, status) = if served.engine.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::OK, "ok")
    };
    let body = json!({
        "status": status,
        "model": served.name,
        "slots": served.slots,
        "running": counters.running,
        "waiting": counters.waiting,
        "aborted_total": counters.aborted_total,
        "completed_total": counters.completed_total,
        "generation_tokens_total": counters.generation_tokens_total,
    });
    (code, Json(body))
}

/// Answers a conversation; a client that goes away aborts its answers at the next token.
async fn chat_completions(
    State(served): State<Arc<Served>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let request = ChatRequest::parse(&body.map_err(unread)?, served.slots)?;
    if request.model != served.name {
        return Err(Error::UnknownModel {
            asked: request.model,
            served: served.name.clone(),
        });
    }
    let (stream, stream_usage) = (request.stream, request.stream_usage);
    let (choices, wants_logprobs) = (request.choices, request.top_logprobs.is_some());
    let job = prepare(Arc::clone(&served), request).await?;
    let answers = Answers {
        head: Head::new(&served.name, stream),
        prompt_tokens: job.prompt.len(),
        choices,
        events: served
            .engine
            .submit(several(&job, choices))
            .map_err(Error::Busy)?,
        wants_logprobs,
        tokenizer: Arc::clone(&served.tokenizer),
    };
    if stream {
        Ok(stream::respond(answers, stream_usage))
    } else {
        Ok(Json(answers.whole().await?).into_response())
    }
}

/// The jobs for so many answers: each is what it would be alone with its own seed, as in vLLM.
fn several(job: &Job, choices: usize) -> Vec<Job> {
    let of = |offset: usize| Job {
        sampling: Sampling {
            seed: job.sampling.seed.wrapping_add(offset as u64),
            ..job.sampling
        },
        ..job.clone()
    };
    (0..choices).map(of).collect()
}

/// Renders and tokenizes the conversation, on a thread that may take its time.
async fn prepare(served: Arc<Served>, request: ChatRequest) -> Result<Job, Error> {
    let work = move || {
        let text = served.chat.render(&request.messages)?;
        let prompt = served.tokenizer.encode(&text);
        let tokens_max = tokens_max(request.tokens_max, prompt.len(), served.context)?;
        Ok(Job {
            prompt,
            tokens_max,
            sampling: request.sampling,
            stops: request.stops,
            top_logprobs: request.top_logprobs,
        })
    };
    // It ends early only if it panics.
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(Error::Stopped))
}

/// Most tokens of the answer: as asked, else what the prompt leaves of the context.
fn tokens_max(asked: Option<TokensMax>, prompt: usize, context: usize) -> Result<usize, Error> {
    let left = context.saturating_sub(prompt);
    let (param, answer) = asked.map_or(("messages", left.max(1)), |a| (a.field, a.tokens));
    if answer <= left {
        return Ok(answer);
    }
    Err(Error::Context {
        param,
        prompt,
        answer,
        context,
    })
}

fn unread(rejection: BytesRejection) -> Error {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Error::TooLarge(BODY_BYTES_MAX)
        }
        other => Error::Body(axum::Error::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_and_answer_must_fit_the_context() {
        let asked = |tokens| {
            let field = "max_tokens";
            Some(TokensMax { field, tokens })
        };
        assert_eq!(tokens_max(asked(4), 6, 10).unwrap(), 4);
        assert_eq!(tokens_max(None, 6, 10).unwrap(), 4);
        assert_eq!(
            tokens_max(asked(5), 6, 10).unwrap_err().to_string(),
            "the prompt has 6 tokens and `max_tokens` asks for 5 more, beyond the context of 10"
        );
        assert!(tokens_max(None, 10, 10).is_err());
    }
}
