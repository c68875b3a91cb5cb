//! Whether a model server is well, for the fleet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conclave_core::chain::Chain;
use conclave_core::endpoint::Endpoint;
use conclave_core::execution::Execution;
use conclave_core::fleet::Probe;
use conclave_core::generation::{Message, MessageRole, Sampling};
use conclave_core::ids::{DeliberationId, JobId, ModelName};
use conclave_core::inference::{AttemptId, Progress, Request};
use conclave_core::slots::Rank;
use conclave_core::wave::Wave;
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use super::OpenAi;
use crate::errand::{Backend as _, Errand, OnlyAnswer};

/// How long a server may take to say that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long its first token may take: an engine may compile kernels for it.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(300);

#[async_trait]
impl Probe for OpenAi {
    /// Asks for `/health`, as vLLM, SGLang and llama.cpp serve it, and where there is none for the list
    /// of models.
    async fn healthy(&self, endpoint: &Endpoint) -> Result<(), String> {
        let status = |path: &'static str| async move {
            let mut request = reqwest::Request::new(Method::GET, endpoint.join(path));
            let server = self.servers.own(endpoint);
            if let Some(authorization) = &server.authorization {
                let headers = request.headers_mut();
                headers.insert(reqwest::header::AUTHORIZATION, authorization.clone());
            }
            let response = timeout(HEALTH_TIMEOUT, self.client.execute(request)).await;
            let response = response.map_err(|_| {
                let seconds = HEALTH_TIMEOUT.as_secs();
                format!("/{path} was not answered within {seconds} s")
            })?;
            let response = response.map_err(|error| Chain(&error.without_url()).to_string())?;
            Ok::<_, String>(response.status())
        };
        let mut path = "health";
        let mut found = status(path).await?;
        if found == StatusCode::NOT_FOUND {
            path = "v1/models";
            found = status(path).await?;
        }
        match found.is_success() {
            true => Ok(()),
            false => Err(format!("/{path} was answered with status {found}")),
        }
    }

    async fn warm_up(&self, endpoint: &Endpoint, model: &ModelName) -> Result<(), String> {
        let errand = errand(endpoint, model);
        let progress = Progress::silent();
        let answer = OnlyAnswer::new(&progress);
        let generated = timeout(WARM_UP_TIMEOUT, self.run(&errand, &answer)).await;
        let generated = generated.map_err(|_| {
            let seconds = WARM_UP_TIMEOUT.as_secs();
            format!("its first token did not come within {seconds} s")
        })?;
        generated.map_err(|error| Chain(&error).to_string())
    }
}

/// A generation of one token.
fn errand(endpoint: &Endpoint, model: &ModelName) -> Errand {
    let request = Request {
        id: AttemptId {
            deliberation: DeliberationId::new("warm-up"),
            job: JobId(1),
            attempt: 1,
        },
        retries: 0,
        wave: Wave::of_one(),
        execution: Execution::Direct,
        endpoint: Some(endpoint.clone()),
        model: model.clone(),
        messages: Arc::new([Message {
            role: MessageRole::User,
            content: "Hello.".to_owned(),
        }]),
        sampling: Sampling {
            tokens_max: Some(1),
            ..Sampling::default()
        },
        timeout: WARM_UP_TIMEOUT,
        rank: Rank::default(),
        traceparent: None,
        tracestate: None,
    };
    Errand {
        endpoint: endpoint.clone(),
        request,
        own: true,
        choices: 1,
        placement: None,
        priority: None,
    }
}
