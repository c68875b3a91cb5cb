//! What names stand for, and how operators change that.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_core::channel::{CanaryRule, PluginName, RULES_MAX};
use conclave_core::ids::{Digest, Tenant};
use conclave_core::inspect::Inspected;
use conclave_core::plugin::{Kind, PluginChoice, near_names};
use conclave_core::registry::{By, Named, Wish};
use conclave_core::task_type::TaskType;
use prost::Message as _;

use super::pages::{List, page};
use super::plugins::{COLLECTION, kind_of, plugin, wire_kind};
use super::request::reason;
use super::uploads::share;
use super::{ConclaveV1, pb};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;
use crate::grpc::wire::int64;

/// Bytes of one rule of a canary.
const RULE_BYTES_MAX: usize = 4 << 10;

/// The versions of the components that are listed.
type Versions = BTreeMap<Digest, String>;

/// A name as a request gives it.
struct Asked {
    kind: i32,
    name: String,
    expected_revision: Option<i64>,
    reason: String,
}

impl ConclaveV1 {
    pub(super) async fn channels(
        &self,
        call: &Call,
        request: pb::ListChannelsRequest,
    ) -> Result<pb::ListChannelsResponse, Refusal> {
        let mut names = self.host.registry.names().await;
        let wanted = &request.plugin_name;
        names.retain(|named| wanted.is_empty() || named.name.name == *wanted);
        let versions = self.versions().await;
        let texts: Vec<_> = names.iter().map(|named| named.name.to_string()).collect();
        let mut parts = vec!["channels", wanted.as_str()];
        parts.extend(texts.iter().map(String::as_str));
        let answer = page(
            List::of(&parts),
            request.page_size,
            &request.page_token,
            (1..).zip(&names),
            |(number, _)| *number,
            |(_, named)| seen_by(call, channels(named, &versions)),
        );
        let (channels, next_page_token) = answer.map_err(Refusal::of_changed_list)?;
        Ok(pb::ListChannelsResponse {
            channels,
            next_page_token,
        })
    }

    pub(super) async fn start_canary(
        &self,
        call: &Call,
        request: pb::StartCanaryRequest,
    ) -> Result<pb::PluginChannels, Refusal> {
        let share = share("share_basis_points", request.share_basis_points)?;
        let given = request.rules.len();
        if given > RULES_MAX {
            let message = format!("rules are {given}, at most {RULES_MAX} are allowed");
            return Err(Refusal::field("rules", message));
        }
        let rules = request.rules.into_iter().enumerate();
        let rules = rules.map(|(at, wire)| rule(at, wire));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let choice = choice(&request.plugin_name, request.version, &request.digest)?;
        let asked = Asked {
            kind: request.kind,
            name: request.plugin_name,
            expected_revision: request.expected_revision,
            reason: request.reason,
        };
        let wish = Wish::Canary {
            choice,
            share,
            rules,
        };
        self.order(call, asked, wish).await
    }

    pub(super) async fn promote(
        &self,
        call: &Call,
        request: pb::PromotePluginRequest,
    ) -> Result<pb::PluginChannels, Refusal> {
        let choice = choice(&request.plugin_name, request.version, &request.digest)?;
        let asked = Asked {
            kind: request.kind,
            name: request.plugin_name,
            expected_revision: request.expected_revision,
            reason: request.reason,
        };
        self.order(call, asked, Wish::Promote(choice)).await
    }

    pub(super) async fn rollback(
        &self,
        call: &Call,
        request: pb::RollbackPluginRequest,
    ) -> Result<pb::PluginChannels, Refusal> {
        let wish = Wish::Rollback(request.plugin_name.clone());
        let asked = Asked {
            kind: request.kind,
            name: request.plugin_name,
            expected_revision: request.expected_revision,
            reason: request.reason,
        };
        self.order(call, asked, wish).await
    }

    pub(super) async fn delete(
        &self,
        call: &Call,
        request: pb::DeletePluginRequest,
    ) -> Result<pb::Plugin, Refusal> {
        let digest = super::plugins::digest(&request.name)?;
        call.concerns(&format!("{COLLECTION}{digest}"));
        self.readiness.check()?;
        let by = By {
            who: call.caller.name.clone(),
            reason: reason(request.reason)?,
            revision: None,
        };
        let registry = Arc::clone(&self.host.registry);
        let removing = async move { Ok(registry.remove(digest, by).await?) };
        let listed = self.whole(removing).await?;
        let removed = Inspected {
            listed,
            is_default: false,
        };
        Ok(plugin(&removed, &self.known(call).await))
    }

    async fn order(
        &self,
        call: &Call,
        asked: Asked,
        wish: Wish,
    ) -> Result<pb::PluginChannels, Refusal> {
        let reason = reason(asked.reason)?;
        let revision = asked.expected_revision.map(|wire| {
            u64::try_from(wire).map_err(|_| {
                let message = format!("expected_revision is {wire}, it must not be negative");
                Refusal::field("expected_revision", message)
            })
        });
        let revision = revision.transpose()?;
        let kind = self.kind(asked.kind, &asked.name).await?;
        call.concerns(&format!("channels/{kind}/{}", asked.name));
        self.readiness.check()?;
        let by = By {
            who: call.caller.name.clone(),
            reason,
            revision,
        };
        let registry = Arc::clone(&self.host.registry);
        let ordering = async move { Ok(registry.order(kind, wish, by).await?) };
        let named = self.whole(ordering).await?;
        Ok(channels(&named, &self.versions().await))
    }

    /// The kind that a request says, or the only one that has the name.
    pub(super) async fn kind(&self, wire: i32, name: &str) -> Result<Kind, Refusal> {
        if name.is_empty() {
            return Err(Refusal::field("plugin_name", "plugin_name must be given"));
        }
        if let Some(kind) = kind_of("kind", wire)? {
            return Ok(kind);
        }
        let names = self.host.registry.names().await;
        let mut kinds = names
            .iter()
            .filter(|named| named.name.name == name)
            .map(|named| named.name.kind);
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(kind),
            (Some(_), Some(_)) => {
                let message = format!(
                    "a strategy and a scorer are called `{name}`; kind must say which (`--kind`)"
                );
                Err(Refusal::field("kind", message))
            }
            (None, _) => {
                let known = names.iter().map(|named| named.name.name.as_str());
                Err(Refusal::NoSuchName {
                    name: name.to_owned(),
                    near: near_names(name, known),
                })
            }
        }
    }

    async fn versions(&self) -> Versions {
        let all = self.host.plugins.list().await.into_iter();
        let references = all.map(|one| one.listed.plugin.reference.clone());
        references.map(|one| (one.digest, one.version)).collect()
    }
}

/// Exactly what a request names, or what its bare name stands for.
fn choice(name: &str, version: String, digest: &str) -> Result<PluginChoice, Refusal> {
    let mut choice = PluginChoice::named(name);
    choice.version = (!version.is_empty()).then_some(version);
    if !digest.is_empty() {
        let parsed = digest.parse().map_err(|_| {
            let message = format!("digest is {digest:?}, it must be 64 hexadecimal digits");
            Refusal::field("digest", message)
        })?;
        choice.digest = Some(parsed);
    }
    Ok(choice)
}

fn rule(at: usize, wire: pb::CanaryRule) -> Result<CanaryRule, Refusal> {
    let bytes = wire.encoded_len();
    if bytes > RULE_BYTES_MAX {
        let message =
            format!("rules[{at}] has {bytes} bytes, at most {RULE_BYTES_MAX} are allowed");
        return Err(Refusal::field(&format!("rules[{at}]"), message));
    }
    let field = |name: &str| format!("rules[{at}].{name}");
    let task_type = match wire.task_type.as_str() {
        "" => None,
        text => {
            let all = [
                TaskType::BacklogReviewRole,
                TaskType::TaskExtraction,
                TaskType::Other,
            ];
            let found = all.into_iter().find(|one| one.as_str() == text);
            Some(found.ok_or_else(|| {
                let names = all.map(TaskType::as_str).join(", ");
                let field = field("task_type");
                Refusal::field(
                    &field,
                    format!("{field} is {text:?}, it must be one of {names}"),
                )
            })?)
        }
    };
    let tenant = match wire.tenant.as_str() {
        "" => None,
        text => Some(Tenant::parse(text).map_err(|error| {
            let field = field("tenant");
            Refusal::field(&field, format!("{field} {error}"))
        })?),
    };
    Ok(CanaryRule {
        role: (!wire.role.is_empty()).then_some(wire.role),
        task_type,
        labels: wire.labels.into_iter().collect(),
        tenant,
        share: share(&field("share_basis_points"), wire.share_basis_points)?,
    })
}

fn channels(named: &Named, versions: &Versions) -> pb::PluginChannels {
    let Named {
        name: PluginName { kind, name },
        channels,
        evidence,
    } = named;
    let version = |digest: &Digest| version(digest, versions);
    let canary = channels.canary.as_ref().map(|canary| pb::Canary {
        plugin: Some(version(&canary.digest)),
        share_basis_points: canary.share.basis_points().into(),
        rules: canary.rules.iter().map(wire_rule).collect(),
        evidence: evidence.clone().unwrap_or_default(),
    });
    pb::PluginChannels {
        kind: wire_kind(*kind).into(),
        plugin_name: name.clone(),
        stable: channels.stable.as_ref().map(version),
        canary,
        before: channels.before.iter().rev().map(version).collect(),
        revision: int64(channels.revision),
    }
}

/// What of a name's channels the caller may see: who sees no totals learns neither how other tenants fared
/// nor that there are rules for them.
fn seen_by(call: &Call, mut channels: pb::PluginChannels) -> pb::PluginChannels {
    if let Some(canary) = channels.canary.as_mut().filter(|_| !call.sees_totals) {
        canary.evidence.clear();
        let own = call.caller.tenant.as_str();
        canary
            .rules
            .retain(|rule| rule.tenant.is_empty() || rule.tenant == own);
    }
    channels
}

fn version(digest: &Digest, versions: &Versions) -> pb::PluginVersion {
    pb::PluginVersion {
        digest: digest.to_string(),
        version: versions.get(digest).cloned().unwrap_or_default(),
    }
}

fn wire_rule(rule: &CanaryRule) -> pb::CanaryRule {
    pb::CanaryRule {
        role: rule.role.clone().unwrap_or_default(),
        task_type: rule.task_type.map_or("", TaskType::as_str).to_owned(),
        labels: rule.labels.clone().into_iter().collect(),
        tenant: rule.tenant.as_ref().map_or("", Tenant::as_str).to_owned(),
        share_basis_points: rule.share.basis_points().into(),
    }
}
