//! The service `Plugins`: what the host has to deliberate with.

use conclave_core::ids::Digest;
use conclave_core::inspect::Inspected;
use conclave_core::plugin::{Kind, Source};
use tonic::{Request, Response, Status};

use super::pages::{List, page};
use super::pb::plugins_server::Plugins;
use super::{ConclaveV1, answered, pb};
use crate::grpc::status::Refusal;
use crate::grpc::wire::int64;

/// The collection that every name begins with.
const COLLECTION: &str = "plugins/";

#[tonic::async_trait]
impl Plugins for ConclaveV1 {
    async fn list_plugins(
        &self,
        request: Request<pb::ListPluginsRequest>,
    ) -> Result<Response<pb::ListPluginsResponse>, Status> {
        answered(self.list_of_plugins(request.into_inner()).await)
    }

    async fn get_plugin(
        &self,
        request: Request<pb::GetPluginRequest>,
    ) -> Result<Response<pb::Plugin>, Status> {
        answered(self.plugin(request.into_inner()).await)
    }
}

impl ConclaveV1 {
    async fn list_of_plugins(
        &self,
        request: pb::ListPluginsRequest,
    ) -> Result<pb::ListPluginsResponse, Refusal> {
        let all = self.host.plugins.list().await;
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
            |(_, one)| plugin(one),
        );
        // A token is bound to the plugins that there were, so that no page skips one.
        let (plugins, next_page_token) = answer.map_err(|refusal| match refusal {
            Refusal::Field { field, .. } if field == "page_token" => Refusal::PluginsChanged,
            other => other,
        })?;
        Ok(pb::ListPluginsResponse {
            plugins,
            next_page_token,
        })
    }

    async fn plugin(&self, request: pb::GetPluginRequest) -> Result<pb::Plugin, Refusal> {
        let name = request.name;
        let digest = name.strip_prefix(COLLECTION).filter(|id| id.len() == 64);
        let digest = digest.and_then(|id| id.parse::<Digest>().ok());
        let digest = digest.ok_or_else(|| {
            let message =
                format!("name is {name:?}, it must be `{COLLECTION}` and a sha256 digest");
            Refusal::field("name", message)
        })?;
        let found = self.host.plugins.get(&digest).await;
        found
            .map(|one| plugin(&one))
            .ok_or(Refusal::NoSuchPlugin(name))
    }
}

fn plugin(one: &Inspected) -> pb::Plugin {
    use pb::plugin::{Kind as WireKind, Origin};
    let listed = &one.listed;
    let reference = &listed.plugin.reference;
    let (origin, file_name) = match &listed.source {
        Source::BuiltIn => (Origin::BuiltIn, String::new()),
        Source::File(name) => (Origin::File, name.clone()),
        Source::Upload | Source::Oci(_) => (Origin::Unspecified, String::new()),
    };
    let kind = match listed.plugin.kind {
        Kind::Strategy => WireKind::Strategy,
        Kind::Scorer => WireKind::Scorer,
    };
    pb::Plugin {
        name: format!("{COLLECTION}{}", reference.digest),
        plugin_name: reference.name.clone(),
        kind: kind.into(),
        version: reference.version.clone(),
        digest: reference.digest.to_string(),
        summary: listed.plugin.descriptor.summary.clone(),
        params_schema_json: listed.plugin.descriptor.params_schema.clone(),
        contract: listed.contract.clone(),
        origin: origin.into(),
        file_name,
        size_bytes: int64(listed.bytes),
        is_default: one.is_default,
    }
}
