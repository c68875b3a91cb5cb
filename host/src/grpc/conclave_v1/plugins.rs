//! The service `Plugins`: what the host has to deliberate with.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_core::channel::{Arm, Share};
use conclave_core::ids::Digest;
use conclave_core::inspect::Inspected;
use conclave_core::plugin::{Kind, Source};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::pages::{List, page};
use super::pb::plugin::Channel;
use super::pb::plugins_server::Plugins;
use super::pieces::pieces;
use super::{ConclaveV1, answered, pb};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;
use crate::grpc::wire::{int64, timestamp};
use crate::wasm::NoBytes;

/// The collection that every name begins with.
pub(super) const COLLECTION: &str = "plugins/";

#[tonic::async_trait]
impl Plugins for ConclaveV1 {
    type DownloadPluginStream = BoxStream<pb::DownloadPluginResponse>;

    async fn list_plugins(
        &self,
        request: Request<pb::ListPluginsRequest>,
    ) -> Result<Response<pb::ListPluginsResponse>, Status> {
        let call = Call::of(&request);
        answered(self.list_of_plugins(&call, request.into_inner()).await)
    }

    async fn get_plugin(
        &self,
        request: Request<pb::GetPluginRequest>,
    ) -> Result<Response<pb::Plugin>, Status> {
        let call = Call::of(&request);
        answered(self.plugin(&call, request.into_inner()).await)
    }

    async fn upload_plugin(
        &self,
        request: Request<Streaming<pb::UploadPluginRequest>>,
    ) -> Result<Response<pb::UploadPluginResponse>, Status> {
        let call = Call::of(&request);
        answered(self.upload(&call, request.into_inner()).await)
    }

    async fn import_plugin(
        &self,
        request: Request<pb::ImportPluginRequest>,
    ) -> Result<Response<pb::UploadPluginResponse>, Status> {
        let call = Call::of(&request);
        answered(self.import(&call, request.into_inner()).await)
    }

    async fn delete_plugin(
        &self,
        request: Request<pb::DeletePluginRequest>,
    ) -> Result<Response<pb::Plugin>, Status> {
        let call = Call::of(&request);
        answered(self.delete(&call, request.into_inner()).await)
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        let call = Call::of(&request);
        answered(self.channels(&call, request.into_inner()).await)
    }

    async fn start_canary(
        &self,
        request: Request<pb::StartCanaryRequest>,
    ) -> Result<Response<pb::PluginChannels>, Status> {
        let call = Call::of(&request);
        answered(self.start_canary(&call, request.into_inner()).await)
    }

    async fn promote_plugin(
        &self,
        request: Request<pb::PromotePluginRequest>,
    ) -> Result<Response<pb::PluginChannels>, Status> {
        let call = Call::of(&request);
        answered(self.promote(&call, request.into_inner()).await)
    }

    async fn rollback_plugin(
        &self,
        request: Request<pb::RollbackPluginRequest>,
    ) -> Result<Response<pb::PluginChannels>, Status> {
        let call = Call::of(&request);
        answered(self.rollback(&call, request.into_inner()).await)
    }

    async fn list_plugin_changes(
        &self,
        request: Request<pb::ListPluginChangesRequest>,
    ) -> Result<Response<pb::ListPluginChangesResponse>, Status> {
        let call = Call::of(&request);
        answered(self.changes(&call, request.into_inner()).await)
    }

    async fn list_plugin_use(
        &self,
        request: Request<pb::ListPluginUseRequest>,
    ) -> Result<Response<pb::ListPluginUseResponse>, Status> {
        let call = Call::of(&request);
        Ok(Response::new(
            self.use_of(&call, request.into_inner()).await,
        ))
    }

    async fn download_plugin(
        &self,
        request: Request<pb::DownloadPluginRequest>,
    ) -> Result<Response<Self::DownloadPluginStream>, Status> {
        answered(self.download(request.into_inner()).await)
    }
}

/// What the host does with components now.
#[derive(Debug, Default)]
pub(super) struct Known {
    channels: BTreeMap<Digest, (Channel, Share)>,
    held: BTreeMap<Digest, usize>,
}

impl Known {
    /// What a component is to its name, and its share if that is the canary.
    pub(super) fn channel(&self, digest: &Digest) -> (Channel, Share) {
        let found = self.channels.get(digest).copied();
        found.unwrap_or((Channel::Unspecified, Share::NONE))
    }
}

impl ConclaveV1 {
    /// What the host does with components now, as far as the caller may see it.
    pub(super) async fn known(&self, call: &Call) -> Known {
        let mut known = Known::default();
        for named in self.host.registry.names().await {
            let channels = &named.channels;
            if let Some(canary) = &channels.canary {
                let told = (Channel::Canary, canary.share);
                known.channels.insert(canary.digest, told);
            }
            if let Some(stable) = channels.digest(Arm::Stable) {
                known
                    .channels
                    .insert(stable, (Channel::Stable, Share::NONE));
            }
        }
        for one in self.uses(call) {
            *known.held.entry(one.plugin.digest).or_default() += one.deliberations.len();
        }
        known
    }

    async fn list_of_plugins(
        &self,
        call: &Call,
        request: pb::ListPluginsRequest,
    ) -> Result<pb::ListPluginsResponse, Refusal> {
        let all = self.host.plugins.list().await;
        let known = self.known(call).await;
        let digests = all
            .iter()
            .map(|one| one.listed.plugin.reference.digest.to_string());
        let digests: Vec<_> = digests.collect();
        let mut parts = vec!["plugins"];
        parts.extend(digests.iter().map(String::as_str));
        let numbered = (1..).zip(&all);
        let answer = page(
            List::of(&parts),
            request.page_size,
            &request.page_token,
            numbered,
            |(number, _)| *number,
            |(_, one)| plugin(one, &known),
        );
        // A token is bound to the plugins that there were, so that no page skips one.
        let (plugins, next_page_token) = answer.map_err(Refusal::of_changed_list)?;
        Ok(pb::ListPluginsResponse {
            plugins,
            next_page_token,
        })
    }

    async fn plugin(
        &self,
        call: &Call,
        request: pb::GetPluginRequest,
    ) -> Result<pb::Plugin, Refusal> {
        let found = self.host.plugins.get(&digest(&request.name)?).await;
        let found = found.ok_or(Refusal::NoSuchPlugin(request.name))?;
        Ok(plugin(&found, &self.known(call).await))
    }

    async fn download(
        &self,
        request: pb::DownloadPluginRequest,
    ) -> Result<BoxStream<pb::DownloadPluginResponse>, Refusal> {
        let name = request.name;
        let digest = digest(&name)?;
        let components = Arc::clone(&self.host.components);
        let read = tokio::task::spawn_blocking(move || components.bytes(&digest)).await;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(NoBytes::Gone(_))) => return Err(Refusal::NoSuchPlugin(name)),
            Ok(Err(NoBytes::Unreadable(_))) | Err(_) => return Err(Refusal::Unreadable(name)),
        };
        Ok(pieces(bytes, |data| pb::DownloadPluginResponse { data }))
    }
}

/// The digest in a plugin's name.
pub(super) fn digest(name: &str) -> Result<Digest, Refusal> {
    let digest = name.strip_prefix(COLLECTION).filter(|id| id.len() == 64);
    let digest = digest.and_then(|id| id.parse().ok());
    digest.ok_or_else(|| {
        let message = format!("name is {name:?}, it must be `{COLLECTION}` and a sha256 digest");
        Refusal::field("name", message)
    })
}

/// The kind that a field says, if it says one.
pub(super) fn kind_of(field: &str, wire: i32) -> Result<Option<Kind>, Refusal> {
    match pb::plugin::Kind::try_from(wire) {
        Ok(pb::plugin::Kind::Unspecified) => Ok(None),
        Ok(pb::plugin::Kind::Strategy) => Ok(Some(Kind::Strategy)),
        Ok(pb::plugin::Kind::Scorer) => Ok(Some(Kind::Scorer)),
        Err(_) => {
            let message = format!("{field} is {wire}, which is no kind of plugin");
            Err(Refusal::field(field, message))
        }
    }
}

pub(super) fn wire_kind(kind: Kind) -> pb::plugin::Kind {
    match kind {
        Kind::Strategy => pb::plugin::Kind::Strategy,
        Kind::Scorer => pb::plugin::Kind::Scorer,
    }
}

pub(super) fn plugin(one: &Inspected, known: &Known) -> pb::Plugin {
    use pb::plugin::Origin;
    let listed = &one.listed;
    let reference = &listed.plugin.reference;
    let (origin, file_name, oci_reference) = match &listed.source {
        Source::BuiltIn => (Origin::BuiltIn, "", ""),
        Source::File(name) => (Origin::File, name.as_str(), ""),
        Source::Upload => (Origin::Upload, "", ""),
        Source::Oci(reference) => (Origin::Oci, "", reference.as_str()),
    };
    let (channel, share) = known.channel(&reference.digest);
    let held = known.held.get(&reference.digest).copied();
    pb::Plugin {
        name: format!("{COLLECTION}{}", reference.digest),
        plugin_name: reference.name.clone(),
        kind: wire_kind(listed.plugin.kind).into(),
        version: reference.version.clone(),
        digest: reference.digest.to_string(),
        summary: listed.plugin.descriptor.summary.clone(),
        params_schema_json: listed.plugin.descriptor.params_schema.clone(),
        contract: listed.contract.clone(),
        origin: origin.into(),
        file_name: file_name.to_owned(),
        size_bytes: int64(listed.bytes),
        is_default: one.is_default,
        add_time: (listed.added_at_ms > 0).then(|| timestamp(listed.added_at_ms)),
        added_by: listed.added_by.clone(),
        signed_by: listed.signed_by.clone().unwrap_or_default(),
        channel: channel.into(),
        share_basis_points: share.basis_points().into(),
        held_by_count: i32::try_from(held.unwrap_or_default()).unwrap_or(i32::MAX),
        oci_reference: oci_reference.to_owned(),
    }
}
