//! A client of the service `Plugins`: what an operator does.

use std::net::SocketAddr;

use anyhow::Context as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::client::pb;
use crate::patience::{PATIENCE, within};
use pb::plugins_client::PluginsClient;
use pb::upload_plugin_request::Part;

/// A connection to a host.
#[derive(Clone, Debug)]
pub struct Plugins(PluginsClient<Channel>);

impl Plugins {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))?.tcp_nodelay(true);
        let channel = within("a connection", endpoint.connect()).await?;
        let channel = channel.with_context(|| format!("cannot reach {addr}"))?;
        Ok(Self(PluginsClient::new(channel)))
    }

    /// Brings a component.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn push(
        &self,
        bytes: &[u8],
        rollout: Option<pb::Rollout>,
    ) -> Result<pb::UploadPluginResponse, Status> {
        let metadata = pb::UploadMetadata {
            rollout,
            ..pb::UploadMetadata::default()
        };
        let parts = parts(metadata, bytes);
        let mut client = self.0.clone();
        bounded(client.upload_plugin(timely(tonic::codegen::tokio_stream::iter(parts)))).await
    }

    /// Makes a version stable; of an empty version, the canary.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn promote(&self, name: &str, version: &str) -> Result<pb::PluginChannels, Status> {
        let request = pb::PromotePluginRequest {
            plugin_name: name.to_owned(),
            version: version.to_owned(),
            ..pb::PromotePluginRequest::default()
        };
        let mut client = self.0.clone();
        bounded(client.promote_plugin(request)).await
    }

    /// Tries a version on a share of the deliberations.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn canary(
        &self,
        name: &str,
        version: &str,
        share_basis_points: i32,
    ) -> Result<pb::PluginChannels, Status> {
        let request = pb::StartCanaryRequest {
            plugin_name: name.to_owned(),
            version: version.to_owned(),
            share_basis_points,
            ..pb::StartCanaryRequest::default()
        };
        let mut client = self.0.clone();
        bounded(client.start_canary(request)).await
    }

    /// Goes back.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn rollback(&self, name: &str) -> Result<pb::PluginChannels, Status> {
        let request = pb::RollbackPluginRequest {
            plugin_name: name.to_owned(),
            ..pb::RollbackPluginRequest::default()
        };
        let mut client = self.0.clone();
        bounded(client.rollback_plugin(request)).await
    }

    /// Removes a component.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn remove(&self, digest: &str) -> Result<pb::Plugin, Status> {
        let request = pb::DeletePluginRequest {
            name: format!("plugins/{digest}"),
            reason: String::new(),
        };
        let mut client = self.0.clone();
        bounded(client.delete_plugin(request)).await
    }

    /// The plugins of this name.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn list(&self, name: &str) -> Result<Vec<pb::Plugin>, Status> {
        let request = pb::ListPluginsRequest {
            page_size: 1_000,
            ..pb::ListPluginsRequest::default()
        };
        let mut client = self.0.clone();
        let all = bounded(client.list_plugins(request)).await?.plugins;
        let named = all.into_iter().filter(|one| one.plugin_name == name);
        Ok(named.collect())
    }

    /// What a name stands for; as good as empty when nothing has the name.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn channels(&self, name: &str) -> Result<pb::PluginChannels, Status> {
        let request = pb::ListChannelsRequest {
            plugin_name: name.to_owned(),
            ..pb::ListChannelsRequest::default()
        };
        let mut client = self.0.clone();
        let mut found = bounded(client.list_channels(request)).await?.channels;
        Ok(found.pop().unwrap_or_default())
    }

    /// What happened to a name, the latest first.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn changes(&self, name: &str) -> Result<Vec<pb::PluginChange>, Status> {
        let request = pb::ListPluginChangesRequest {
            plugin_name: name.to_owned(),
            page_size: 1_000,
            ..pb::ListPluginChangesRequest::default()
        };
        let mut client = self.0.clone();
        Ok(bounded(client.list_plugin_changes(request)).await?.changes)
    }

    /// Who runs on the plugins of a name.
    ///
    /// # Errors
    /// What the host answers.
    pub async fn uses(&self, name: &str) -> Result<Vec<pb::PluginUse>, Status> {
        let request = pb::ListPluginUseRequest {
            plugin_name: name.to_owned(),
        };
        let mut client = self.0.clone();
        Ok(bounded(client.list_plugin_use(request)).await?.uses)
    }

    /// The generated client, for what a test does part by part.
    #[must_use]
    pub fn raw(&self) -> PluginsClient<Channel> {
        self.0.clone()
    }
}

/// The messages of an upload.
#[must_use]
pub fn parts(metadata: pb::UploadMetadata, bytes: &[u8]) -> Vec<pb::UploadPluginRequest> {
    const CHUNK_BYTES: usize = 64 << 10;
    let chunks = bytes.chunks(CHUNK_BYTES);
    let chunks = chunks.map(|chunk| Part::Chunk(chunk.to_vec()));
    let parts = std::iter::once(Part::Metadata(metadata)).chain(chunks);
    let parts = parts.map(|part| pb::UploadPluginRequest { part: Some(part) });
    parts.collect()
}

fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

async fn bounded<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(
            "the test waited for this call in vain",
        )),
    }
}
