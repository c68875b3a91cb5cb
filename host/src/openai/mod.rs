//! Generations by any OpenAI-compatible server (vLLM, llama.cpp, Ollama), over
//! `POST /v1/chat/completions`.
//!
//! Every answer is streamed, so that tokens are seen as they come, and dropping the future closes
//! the connection, by which the engine notices and aborts. A server that answers in one piece is
//! understood too. Redirects and proxies are off, keys go to their own origin only, and names are
//! resolved through a filter.

mod addresses;
mod answer;
mod body;
mod call;
mod chunk;
mod models;
mod probe;
mod refusal;
pub(crate) mod retry_after;
mod server;
mod settings;
mod sse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Inference, Progress, Request};
use reqwest::dns::Resolve;
use reqwest::{Client, redirect, retry};
use tracing::Instrument as _;

pub(crate) use addresses::FilteringResolver;
pub(crate) use answer::Collected;
pub(crate) use body::encode;
use call::Call;
pub(crate) use chunk::Chunk;
pub use models::ModelsError;
pub(crate) use refusal::Refusal;
pub(crate) use server::not_allowed;
use server::{Server, Servers};
pub use settings::{ApiKey, InvalidSettings, Settings};

use crate::errand::{Answers, Backend, Errand, OnlyAnswer};
use crate::telemetry::gen_ai::Attempt;

/// Runs generations on OpenAI-compatible servers; one HTTP client and its pool of connections serve
/// all of them.
///
/// It bounds every silence and every size, and leaves the whole time of a generation to the session,
/// which drops the future at its deadline.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    servers: Servers,
    settings: Settings,
}

impl OpenAi {
    /// Prepares the client; nothing is sent yet. The first one of a process also makes ring the
    /// process's cryptography, unless another was installed before.
    ///
    /// # Errors
    /// When a key has no endpoint or is no header, or an https endpoint is allowed and the system
    /// has no certificates to trust.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        Self::with_resolver(settings, FilteringResolver)
    }

    fn with_resolver(
        settings: Settings,
        resolver: impl Resolve + 'static,
    ) -> Result<Self, InvalidSettings> {
        let servers = Servers::new(&settings.allowed, &settings.api_keys)?;
        // An error means that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("conclave/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .dns_resolver(resolver)
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(settings.pool_idle_timeout)
            .pool_max_idle_per_host(settings.idle_connections_max);
        let mut schemes = settings
            .allowed
            .iter()
            .map(|endpoint| endpoint.url().scheme());
        if schemes.all(|scheme| scheme == "http") && !settings.own_https {
            // Reading the system's certificates takes a while, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            client: builder.build().map_err(InvalidSettings::Client)?,
            servers,
            settings,
        })
    }

    fn server(&self, errand: &Errand) -> Result<Arc<Server>, Error> {
        let endpoint = &errand.endpoint;
        match errand.own {
            true => Ok(self.servers.own(endpoint)),
            false => self
                .servers
                .get(endpoint)
                .ok_or_else(|| not_allowed(endpoint)),
        }
    }
}

#[async_trait]
impl Backend for OpenAi {
    async fn run(&self, errand: &Errand, answers: &dyn Answers) -> Result<(), Error> {
        let server = self.server(errand)?;
        let attempt = Attempt::begin(errand);
        let trace = attempt.headers(&errand.request);
        let answers = attempt.listening(answers);
        let result = Call::new(&self.client, &self.settings, &server, errand, trace)
            .run(&answers)
            .instrument(attempt.span().clone())
            .await;
        attempt.end(&result);
        result
    }
}

/// As the session sees it, where the request names the server.
#[async_trait]
impl Inference for OpenAi {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        let errand = Errand::as_named(request)?;
        let answer = OnlyAnswer::new(progress);
        self.run(&errand, &answer).await?;
        answer.take().ok_or_else(|| Error::Interrupted {
            endpoint: errand.endpoint,
            source: None,
        })
    }
}
