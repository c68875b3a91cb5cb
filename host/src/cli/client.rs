//! The gRPC client of the commands.

mod clusters;
mod plugins;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use conclave_core::ids::Digest;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use super::args::Connection;
use super::failure::{Refused, Usage};
use super::pb;
use super::pb::clusters_client::ClustersClient;
use super::pb::deliberations_client::DeliberationsClient;
use super::pb::plugins_client::PluginsClient;
use super::pb::records_client::RecordsClient;
use crate::access::Bearer;

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
    inner: DeliberationsClient<Authorized>,
    records: RecordsClient<Authorized>,
    plugins: PluginsClient<Authorized>,
    clusters: ClustersClient<Authorized>,
}

/// A connection that sends the token, if there is one, with every call.
type Authorized = InterceptedService<Channel, Authorization>;

/// Sends the token, if there is one, with every call.
#[derive(Clone, Debug)]
pub(super) struct Authorization(Option<MetadataValue<Ascii>>);

impl Authorization {
    fn of(connection: &Connection) -> anyhow::Result<Self> {
        let token = match &connection.token_file {
            Some(path) => Some(Bearer::new(&read("--token-file", path)?)),
            None => connection.token.clone(),
        };
        let Some(token) = token.filter(|token| !token.reveal().is_empty()) else {
            return Ok(Self(None));
        };
        let header = MetadataValue::try_from(format!("Bearer {}", token.reveal()));
        let mut header = header.map_err(|_| {
            Usage("the token has characters that no header has: is it the right file?".to_owned())
        })?;
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }
}

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}

fn read(flag: &str, path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    text.with_context(|| format!("cannot read `{}`, the value of {flag}", path.display()))
}

/// Whom to trust, and what to show.
fn tls(connection: &Connection) -> anyhow::Result<ClientTlsConfig> {
    let roots = match &connection.ca {
        Some(path) => vec![Certificate::from_pem(read("--ca", path)?)],
        None => Vec::new(),
    };
    let mut tls = ClientTlsConfig::new().ca_certificates(roots);
    if connection.ca.is_none() {
        let found = rustls_native_certs::load_native_certs();
        let anchors = found
            .certs
            .iter()
            .filter_map(|root| Some(webpki::anchor_from_trusted_cert(root).ok()?.to_owned()));
        tls = tls.trust_anchors(anchors);
    }
    if let (Some(cert), Some(key)) = (&connection.cert, &connection.key) {
        tls = tls.identity(Identity::from_pem(
            read("--cert", cert)?,
            read("--key", key)?,
        ));
    }
    Ok(tls)
}

impl Client {
    /// Connects to a host's gRPC address; `http://` may be left out.
    pub(super) async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let addr = connection.addr.as_str();
        let url = if addr.contains("://") {
            addr.to_owned()
        } else {
            format!("http://{addr}")
        };
        let endpoint = Endpoint::from_shared(url.clone()).ok();
        let endpoint = endpoint.filter(|endpoint| {
            matches!(endpoint.uri().scheme_str(), Some("http" | "https"))
                && endpoint.uri().host().is_some()
        });
        let mut endpoint = endpoint.ok_or_else(|| {
            Usage(format!(
                "--addr is `{addr}`, it must be like http://127.0.0.1:50056"
            ))
        })?;
        let authorization = Authorization::of(connection)?;
        let is_encrypted = endpoint.uri().scheme_str() == Some("https");
        if is_encrypted {
            let usable = endpoint.tls_config(tls(connection)?);
            endpoint =
                usable.context("the certificates of --ca, --cert and --key cannot be used")?;
        } else if connection.ca.is_some() || connection.cert.is_some() {
            let rule =
                format!("--addr is `{addr}`: with --ca or --cert it must begin with https://");
            return Err(Usage(rule).into());
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .connect()
            .await
            .with_context(|| match is_encrypted {
                true => format!("cannot connect to {url}: is a host there, does --ca name the root of its certificate, and does it ask for --cert?"),
                false => format!("no host answers at {url}; start one with `conclave serve`, or name it with --addr"),
            })?;
        let channel = InterceptedService::new(channel, authorization);
        let inner = DeliberationsClient::new(channel.clone());
        let records = RecordsClient::new(channel.clone());
        Ok(Self {
            records: records.max_decoding_message_size(MESSAGE_BYTES_MAX),
            plugins: PluginsClient::new(channel.clone()),
            clusters: ClustersClient::new(channel),
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

    /// The journal of a deliberation, as a file; tells of its bytes as they come.
    pub(super) async fn record(
        &mut self,
        uid: &str,
        received: impl Fn(usize),
    ) -> Result<Vec<u8>, Refused> {
        let request = pb::ExportRecordRequest { name: name_of(uid) };
        let mut pieces = self.records.export_record(request).await?.into_inner();
        let mut file = Vec::new();
        while let Some(piece) = pieces.message().await? {
            file.extend(piece.data);
            received(file.len());
        }
        Ok(file)
    }

    /// The bytes of a component; tells of them as they come.
    pub(super) async fn component(
        &mut self,
        digest: &Digest,
        received: impl Fn(usize),
    ) -> Result<Vec<u8>, Refused> {
        let name = format!("plugins/{digest}");
        let request = pb::DownloadPluginRequest { name };
        let mut pieces = self.plugins.download_plugin(request).await?.into_inner();
        let mut file = Vec::new();
        while let Some(piece) = pieces.message().await? {
            file.extend(piece.data);
            received(file.len());
        }
        Ok(file)
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
        for addr in ["", "ftp://h", "http://"] {
            let error = Client::connect(&Connection::to(addr)).await.unwrap_err();
            assert!(error.downcast_ref::<Usage>().is_some(), "{addr}: {error:#}");
        }
    }
}
