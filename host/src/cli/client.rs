//! The gRPC client of the commands.

use std::time::Duration;

use anyhow::Context as _;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::failure::{Refused, Usage};
use super::pb;
use super::pb::deliberations_client::DeliberationsClient;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take that the host can give at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer holds the task (1 MiB) and the candidates of all agents.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection to a host.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: DeliberationsClient<Channel>,
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
        let inner = DeliberationsClient::new(channel);
        Ok(Self {
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
