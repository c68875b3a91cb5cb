//! Which models a server says that it serves: an operator's question, not a deliberation's.

use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, Response};
use serde::Deserialize;
use tokio::time::timeout;

use super::OpenAi;
use super::server::broken_rule;

/// How long a server may take to list its models, beside the time to connect: it does not compute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A gateway before thousands of models answers with less.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a server did not say.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// It may not be called.
    #[error("{0}")]
    NotAllowed(String),
    /// No connection, or one that broke.
    #[error("cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It did not answer in time.
    #[error("does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It refused.
    #[error("answers with status {0}")]
    Status(u16),
    /// It answered with something else than a list of models.
    #[error("answers with what is no list of models")]
    NotAList,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl OpenAi {
    /// The names of the models that the server lists under `/v1/models`.
    ///
    /// # Errors
    /// See [`ModelsError`].
    pub async fn models(&self, endpoint: &Endpoint) -> Result<Vec<String>, ModelsError> {
        let server = self.servers.get(endpoint);
        let server = server.ok_or_else(|| ModelsError::NotAllowed(broken_rule(endpoint)))?;
        let mut request = Request::new(Method::GET, endpoint.join("v1/models"));
        if let Some(authorization) = &server.authorization {
            request
                .headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        let within = self.settings.connect_timeout + ANSWER_TIMEOUT;
        let answer = async {
            let executed = self.client.execute(request).await;
            let response = executed.map_err(ModelsError::Unreachable)?;
            match response.status() {
                status if status.is_success() => read(response).await,
                status => Err(ModelsError::Status(status.as_u16())),
            }
        };
        let answer = timeout(within, answer).await;
        answer.unwrap_or(Err(ModelsError::Silent(within)))
    }
}

async fn read(mut response: Response) -> Result<Vec<String>, ModelsError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(ModelsError::Unreachable)? {
        body.extend_from_slice(&bytes);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(ModelsError::NotAList);
        }
    }
    let list: List = serde_json::from_slice(&body).map_err(|_| ModelsError::NotAList)?;
    Ok(list.data.into_iter().map(|model| model.id).collect())
}
