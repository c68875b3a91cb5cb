//! The gRPC client of the commands.

use std::time::Duration;

use anyhow::Context as _;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::failure::{Refused, Usage};
use super::pb;
use super::pb::deliberations_client::DeliberationsClient;
use super::pb::plugins_client::PluginsClient;
use super::pb::records_client::RecordsClient;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take that the host can give at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer holds the task (1 MiB) and the candidates of all agents.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Items of a page; the host's bound.
const PAGE_SIZE: i32 = 1_000;

/// A connection to a host.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: DeliberationsClient<Channel>,
    records: RecordsClient<Channel>,
    plugins: PluginsClient<Channel>,
}

impl Client {
    /// Connects to a host's gRPC address; `http://` may be left out.
    pub(super) async fn connect(addr: &str) -> anyhow::Result<Self> {
        let url = if addr.contains("://") {
            addr.to_owned()
        } else {
            format!("http://{addr}")
        };
        let endpoint = Endpoint::from_shared(url.clone()).ok();
        let endpoint = endpoint.filter(|endpoint| {
            endpoint.uri().scheme_str() == Some("http") && endpoint.uri().host().is_some()
        });
        let endpoint = endpoint.ok_or_else(|| {
            Usage(format!(
                "--addr is `{addr}`, it must be like http://127.0.0.1:50056"
            ))
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .connect()
            .await
            .with_context(|| format!("no host answers at {url}; start one with `conclave serve`, or name it with --addr"))?;
        let inner = DeliberationsClient::new(channel.clone());
        let records = RecordsClient::new(channel.clone());
        Ok(Self {
            records: records.max_decoding_message_size(MESSAGE_BYTES_MAX),
            plugins: PluginsClient::new(channel),
            inner: inner
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    pub(super) async fn create(
        &mut self,
        request: pb::CreateDeliberationRequest,
    ) -> Result<pb::Deliberation, Refused> {
        let answer = self.inner.create_deliberation(timed(request)).await?;
        Ok(answer.into_inner())
    }

    pub(super) async fn get(&mut self, uid: &str) -> Result<pb::Deliberation, Refused> {
        let request = pb::GetDeliberationRequest { name: name_of(uid) };
        let answer = self.inner.get_deliberation(timed(request)).await?;
        Ok(answer.into_inner())
    }

    /// A page of deliberations, as they are now.
    pub(super) async fn list(
        &mut self,
        request: pb::ListDeliberationsRequest,
    ) -> Result<pb::ListDeliberationsResponse, Refused> {
        let answer = self.inner.list_deliberations(timed(request)).await?;
        Ok(answer.into_inner())
    }

    /// All generations of a deliberation.
    pub(super) async fn generations(
        &mut self,
        uid: &str,
    ) -> Result<Vec<pb::GenerationRecord>, Refused> {
        let mut request = pb::ListGenerationsRequest {
            parent: name_of(uid),
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let answer = self
                .records
                .list_generations(timed(request.clone()))
                .await?;
            let page = answer.into_inner();
            all.extend(page.generations);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// All calls of a deliberation's scorer.
    pub(super) async fn scores(&mut self, uid: &str) -> Result<Vec<pb::ScoreRecord>, Refused> {
        let mut request = pb::ListScoresRequest {
            parent: name_of(uid),
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let answer = self.records.list_scores(timed(request.clone())).await?;
            let page = answer.into_inner();
            all.extend(page.scores);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// What a deliberation cost.
    pub(super) async fn usage(&mut self, uid: &str) -> Result<pb::UsageReport, Refused> {
        let name = format!("{}/usage", name_of(uid));
        let answer = self
            .records
            .get_usage(timed(pb::GetUsageRequest { name }))
            .await?;
        Ok(answer.into_inner())
    }

    /// All plugins.
    pub(super) async fn plugins(&mut self) -> Result<Vec<pb::Plugin>, Refused> {
        let mut request = pb::ListPluginsRequest {
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let answer = self.plugins.list_plugins(timed(request.clone())).await?;
            let page = answer.into_inner();
            all.extend(page.plugins);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn cancel(
        &mut self,
        uid: &str,
        reason: &str,
    ) -> Result<pb::Deliberation, Refused> {
        let (name, reason) = (name_of(uid), reason.to_owned());
        let request = pb::CancelDeliberationRequest { name, reason };
        let answer = self.inner.cancel_deliberation(timed(request)).await?;
        Ok(answer.into_inner())
    }

    pub(super) async fn watch(
        &mut self,
        uid: &str,
        after: i64,
    ) -> Result<Streaming<pb::DeliberationEvent>, Refused> {
        let (name, after_sequence) = (name_of(uid), after);
        let request = pb::WatchDeliberationRequest {
            name,
            after_sequence,
        };
        Ok(self.inner.watch_deliberation(request).await?.into_inner())
    }
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// The resource name of an id, which may be one already.
fn name_of(uid: &str) -> String {
    if uid.starts_with("deliberations/") {
        return uid.to_owned();
    }
    format!("deliberations/{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_a_resource_name_are_both_understood() {
        assert_eq!(name_of("deliberation-1"), "deliberations/deliberation-1");
        assert_eq!(
            name_of("deliberations/deliberation-1"),
            "deliberations/deliberation-1"
        );
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_wrong_usage() {
        for addr in ["", "https://h:1", "ftp://h", "http://"] {
            let error = Client::connect(addr).await.unwrap_err();
            assert!(error.downcast_ref::<Usage>().is_some(), "{addr}: {error:#}");
        }
    }
}
