//! Errors in the shape of the OpenAI API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{chat, engine};

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `param` is the field that is wrong, if it is one field.
    #[error("{message}")]
    Invalid {
        param: Option<String>,
        message: String,
    },
    #[error(
        "the prompt has {prompt} tokens and `{param}` asks for {answer} more, beyond the context of {context}"
    )]
    Context {
        param: &'static str,
        prompt: usize,
        answer: usize,
        context: usize,
    },
    #[error("the model `{asked}` is not served here: use `{served}`")]
    UnknownModel { asked: String, served: String },
    #[error("no such endpoint: use POST /v1/chat/completions, GET /v1/models or GET /health")]
    NoEndpoint,
    #[error("this endpoint does not take the method")]
    Method,
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive")]
    Body(#[source] axum::Error),
    #[error("{0}: try again later")]
    Busy(#[source] engine::Error),
    #[error("the conversation cannot be put into the model's template")]
    Template(#[from] chat::Error),
    #[error("the engine stopped before the answer was complete")]
    Stopped,
}

impl Error {
    pub(super) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::Invalid {
            param: Some(param.to_owned()),
            message: message.into(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } | Self::Context { .. } | Self::Template(_) | Self::Body(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownModel { .. } | Self::NoEndpoint => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy(engine::Error::Full { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `error` object: message, type, param and code.
    pub(super) fn body(&self) -> Value {
        let (param, code) = match self {
            Self::Invalid { param, .. } => (param.as_deref(), "invalid_value"),
            Self::Context { param, .. } => (Some(*param), "context_length_exceeded"),
            Self::UnknownModel { .. } => (Some("model"), "model_not_found"),
            Self::NoEndpoint => (None, "unknown_url"),
            Self::Method => (None, "method_not_supported"),
            Self::TooLarge(_) => (None, "request_too_large"),
            Self::Body(_) => (None, "incomplete_body"),
            Self::Busy(engine::Error::Full { .. }) => (None, "queue_full"),
            Self::Busy(_) | Self::Stopped => (None, "stopping"),
            Self::Template(_) => (Some("messages"), "invalid_value"),
        };
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        let message = self.to_string();
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        tracing::debug!(%status, error = %self, "request refused");
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}
