//! What happened to plugins, and who runs on them.

use std::collections::BTreeMap;

use conclave_core::channel::PluginName;
use conclave_core::drain::{self, Use};
use conclave_core::ids::{DeliberationId, Digest};
use conclave_core::registry::{Action, Change, HistoryQuery};

use super::pages::{List, fits, size};
use super::plugins::{kind_of, wire_kind};
use super::{ConclaveV1, pb};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;
use crate::grpc::wire::{int64, timestamp};

/// Deliberations of a component that are named.
const NAMES_MAX: usize = 20;

/// Components whose use is told: a host has rarely more than some dozens.
const USES_MAX: usize = 1_000;

impl ConclaveV1 {
    pub(super) async fn changes(
        &self,
        call: &Call,
        request: pb::ListPluginChangesRequest,
    ) -> Result<pb::ListPluginChangesResponse, Refusal> {
        let limit = size(request.page_size)?;
        let kind = kind_of("kind", request.kind)?;
        let name = match (kind, request.plugin_name.as_str()) {
            (Some(_), "") => {
                let message = "plugin_name must be given with kind";
                return Err(Refusal::field("plugin_name", message));
            }
            (_, "") => None,
            (Some(kind), name) => Some(PluginName::new(kind, name)),
            // A name is rarely both; whose it is not has no history.
            (None, name) => Some(PluginName::new(self.kind(0, name).await?, name)),
        };
        let told = name.as_ref().map(ToString::to_string).unwrap_or_default();
        let list = List::of(&["changes", &told]);
        let before = list.place(&request.page_token)?;
        // One more than is answered, which tells whether there is more.
        let query = HistoryQuery {
            name,
            before,
            limit: limit + 1,
        };
        let found = self.host.registry.history(query).await?;
        let mut changes = Vec::new();
        let (mut bytes, mut last) = (0, 0);
        for one in &found {
            let wire = change(call, one);
            if changes.len() == limit || !fits(&mut bytes, &wire) {
                let next_page_token = list.token(last);
                return Ok(pb::ListPluginChangesResponse {
                    changes,
                    next_page_token,
                });
            }
            changes.push(wire);
            last = one.number;
        }
        Ok(pb::ListPluginChangesResponse {
            changes,
            next_page_token: String::new(),
        })
    }

    pub(super) async fn use_of(
        &self,
        call: &Call,
        request: pb::ListPluginUseRequest,
    ) -> pb::ListPluginUseResponse {
        let known = self.known(call).await;
        let tenant = &call.caller.tenant;
        let own = drain::uses(&self.host.live, |accepted| accepted.tenant == *tenant);
        let own: BTreeMap<_, _> = own
            .into_iter()
            .map(|one| (one.plugin.digest, one.deliberations))
            .collect();
        let uses = self.uses(call).into_iter();
        let wanted = &request.plugin_name;
        let wanted = uses.filter(|one| wanted.is_empty() || one.plugin.name == *wanted);
        let uses = wanted.take(USES_MAX).map(|one| {
            let (channel, _) = known.channel(&one.plugin.digest);
            let named = own.get(&one.plugin.digest).map_or(&[][..], Vec::as_slice);
            plugin_use(one, named, channel)
        });
        pb::ListPluginUseResponse {
            uses: uses.collect(),
        }
    }

    /// The components that run, with the deliberations that are counted for the caller.
    pub(super) fn uses(&self, call: &Call) -> Vec<Use> {
        let all = call.sees_totals;
        drain::uses(&self.host.live, |accepted| {
            all || accepted.tenant == call.caller.tenant
        })
    }
}

fn plugin_use(one: Use, named: &[DeliberationId], channel: pb::plugin::Channel) -> pb::PluginUse {
    let count = one.deliberations.len();
    let named = named.iter().take(NAMES_MAX);
    pb::PluginUse {
        kind: wire_kind(one.kind).into(),
        plugin: Some(pb::PluginVersion {
            digest: one.plugin.digest.to_string(),
            version: one.plugin.version,
        }),
        plugin_name: one.plugin.name,
        channel: channel.into(),
        deliberation_count: i32::try_from(count).unwrap_or(i32::MAX),
        deliberations: named.map(|id| format!("deliberations/{id}")).collect(),
    }
}

/// A change as the caller may see it: what the host itself gives as a reason counts the deliberations of
/// all tenants.
fn change(call: &Call, one: &Change) -> pb::PluginChange {
    use pb::plugin_change::Action as Wire;
    let action = match one.action {
        Action::Added => Wire::Added,
        Action::Promoted => Wire::Promoted,
        Action::Canary => Wire::CanaryChanged,
        Action::RolledBack => Wire::RolledBack,
        Action::Removed => Wire::Removed,
    };
    let text = |digest: &Option<Digest>| digest.map(|it| it.to_string()).unwrap_or_default();
    pb::PluginChange {
        number: int64(one.number),
        create_time: Some(timestamp(one.at_ms)),
        by: one.by.clone(),
        kind: wire_kind(one.name.kind).into(),
        plugin_name: one.name.name.clone(),
        action: action.into(),
        plugin: Some(pb::PluginVersion {
            digest: one.digest.to_string(),
            version: one.version.clone(),
        }),
        stable_before: text(&one.stable_before),
        stable_after: text(&one.stable_after),
        share_basis_points: one.share.map(|share| share.basis_points().into()),
        reason: match call.sees_totals || !one.by.is_empty() {
            true => one.reason.clone(),
            false => String::new(),
        },
    }
}
