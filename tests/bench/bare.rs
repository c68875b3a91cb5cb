//! The same model calls without a host: what HTTP and the stub cost by themselves.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

/// A client of the model server, with a pool of connections as the host has one.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    uri: Uri,
    body: Bytes,
}

impl Bare {
    pub(crate) fn of(url: &str) -> anyhow::Result<Self> {
        // What the host sends for this agent.
        let body = serde_json::json!({
            "model": "answer:yes",
            "messages": [
                {"role": "system", "content": "You answer as DEV."},
                {"role": "user", "content": "Is 7 prime?"}
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.7,
            "seed": 42
        });
        Self::asking(url, &body)
    }

    /// A client that asks for this.
    pub(crate) fn asking(url: &str, body: &serde_json::Value) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self {
            url: url.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            uri: format!("{url}/v1/chat/completions").parse()?,
            body: body.to_string().into(),
        })
    }

    /// The same connections, to ask for something else.
    pub(crate) fn with_body(&self, body: &serde_json::Value) -> Self {
        Self {
            body: body.to_string().into(),
            ..self.clone()
        }
    }

    /// Makes so many calls at once, and reads their answers to the end.
    pub(crate) async fn ask(&self, calls: u32) -> anyhow::Result<()> {
        let mut asked = JoinSet::new();
        for _ in 0..calls {
            let bare = self.clone();
            asked.spawn(async move { bare.ask_once().await });
        }
        while let Some(answered) = asked.join_next().await {
            answered??;
        }
        Ok(())
    }

    /// Tells the stub what to do: `hold` or `release`.
    pub(crate) async fn control(&self, what: &str) -> anyhow::Result<()> {
        self.send(Method::POST, &format!("/_stub/{what}")).await?;
        Ok(())
    }

    /// The requests that the stub has not answered.
    pub(crate) async fn running(&self) -> anyhow::Result<usize> {
        let records = self.send(Method::GET, "/_stub/requests").await?;
        let records: serde_json::Value = serde_json::from_slice(&records)?;
        let requests = records["requests"].as_array();
        let requests = requests.context("the stub tells no requests")?;
        let running = requests
            .iter()
            .filter(|request| request["state"] == "running");
        Ok(running.count())
    }

    async fn send(&self, method: Method, path: &str) -> anyhow::Result<Bytes> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.url).parse()?;
        let response = self.client.request(request).await?;
        let status = response.status();
        ensure!(
            status == StatusCode::OK,
            "the stub answered {status} to {path}"
        );
        Ok(response.into_body().collect().await?.to_bytes())
    }

    async fn ask_once(&self) -> anyhow::Result<()> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.client.request(request).await?;
        ensure!(
            response.status() == StatusCode::OK,
            "the stub answered {}",
            response.status()
        );
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(
            answer.ends_with(b"data: [DONE]\n\n"),
            "the stub's answer is cut off"
        );
        Ok(())
    }
}
