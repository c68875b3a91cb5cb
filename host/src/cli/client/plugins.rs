//! The calls about plugins.

use std::time::Duration;

use tonic::Request;

use super::{Client, PAGE_SIZE, timed};
use crate::cli::failure::Refused;
use crate::cli::pb;

/// How long a host may take to fetch, check and compile a component.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(600);

impl Client {
    /// All plugins.
    pub(in crate::cli) async fn plugins(&mut self) -> Result<Vec<pb::Plugin>, Refused> {
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

    /// What names stand for: this one, or all.
    pub(in crate::cli) async fn channels(
        &mut self,
        plugin_name: &str,
    ) -> Result<Vec<pb::PluginChannels>, Refused> {
        let mut request = pb::ListChannelsRequest {
            page_size: PAGE_SIZE,
            page_token: String::new(),
            plugin_name: plugin_name.to_owned(),
        };
        let mut all = Vec::new();
        loop {
            let answer = self.plugins.list_channels(timed(request.clone())).await?;
            let page = answer.into_inner();
            all.extend(page.channels);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Brings a component.
    pub(in crate::cli) async fn upload(
        &mut self,
        parts: impl futures::Stream<Item = pb::UploadPluginRequest> + Send + 'static,
    ) -> Result<pb::UploadPluginResponse, Refused> {
        let mut request = Request::new(parts);
        request.set_timeout(ARRIVAL_TIMEOUT);
        Ok(self.plugins.upload_plugin(request).await?.into_inner())
    }

    /// Has a component fetched.
    pub(in crate::cli) async fn import(
        &mut self,
        request: pb::ImportPluginRequest,
    ) -> Result<pb::UploadPluginResponse, Refused> {
        let mut request = Request::new(request);
        request.set_timeout(ARRIVAL_TIMEOUT);
        Ok(self.plugins.import_plugin(request).await?.into_inner())
    }

    pub(in crate::cli) async fn start_canary(
        &mut self,
        request: pb::StartCanaryRequest,
    ) -> Result<pb::PluginChannels, Refused> {
        Ok(self
            .plugins
            .start_canary(timed(request))
            .await?
            .into_inner())
    }

    pub(in crate::cli) async fn promote(
        &mut self,
        request: pb::PromotePluginRequest,
    ) -> Result<pb::PluginChannels, Refused> {
        Ok(self
            .plugins
            .promote_plugin(timed(request))
            .await?
            .into_inner())
    }

    pub(in crate::cli) async fn rollback(
        &mut self,
        request: pb::RollbackPluginRequest,
    ) -> Result<pb::PluginChannels, Refused> {
        Ok(self
            .plugins
            .rollback_plugin(timed(request))
            .await?
            .into_inner())
    }

    pub(in crate::cli) async fn remove(
        &mut self,
        request: pb::DeletePluginRequest,
    ) -> Result<pb::Plugin, Refused> {
        Ok(self
            .plugins
            .delete_plugin(timed(request))
            .await?
            .into_inner())
    }

    /// A page of what happened.
    pub(in crate::cli) async fn changes(
        &mut self,
        request: pb::ListPluginChangesRequest,
    ) -> Result<pb::ListPluginChangesResponse, Refused> {
        let answer = self.plugins.list_plugin_changes(timed(request)).await?;
        Ok(answer.into_inner())
    }

    /// Who runs on the plugins of this name, or on all.
    pub(in crate::cli) async fn uses(
        &mut self,
        plugin_name: &str,
    ) -> Result<Vec<pb::PluginUse>, Refused> {
        let plugin_name = plugin_name.to_owned();
        let request = pb::ListPluginUseRequest { plugin_name };
        let answer = self.plugins.list_plugin_use(timed(request)).await?;
        Ok(answer.into_inner().uses)
    }
}
