//! What the commands of operators print with `--json`: the field names of the .proto file.

use serde_json::{Value, json};

use crate::cli::json::{compact, host_plugin};
use crate::cli::pb;

/// What became of a component that arrived.
pub(super) fn arrival(one: &pb::UploadPluginResponse) -> Value {
    json!({
        "plugin": one.plugin.as_ref().map(host_plugin),
        "already_known": one.already_known,
        "serves": one.serves,
        "warnings": one.warnings,
    })
}

fn version(one: &pb::PluginVersion) -> Value {
    compact(json!({ "digest": one.digest, "version": one.version }))
}

fn rule(one: &pb::CanaryRule) -> Value {
    compact(json!({
        "role": one.role,
        "task_type": one.task_type,
        "labels": one.labels,
        "tenant": one.tenant,
        "share_basis_points": one.share_basis_points,
    }))
}

/// What a name stands for.
pub(in crate::cli) fn channels(one: &pb::PluginChannels) -> Value {
    let canary = one.canary.as_ref().map(|canary| {
        compact(json!({
            "plugin": canary.plugin.as_ref().map(version),
            "share_basis_points": canary.share_basis_points,
            "rules": canary.rules.iter().map(rule).collect::<Vec<_>>(),
            "evidence": canary.evidence,
        }))
    });
    compact(json!({
        "kind": one.kind().as_str_name(),
        "plugin_name": one.plugin_name,
        "stable": one.stable.as_ref().map(version),
        "canary": canary,
        "before": one.before.iter().map(version).collect::<Vec<_>>(),
        "revision": one.revision,
    }))
}

/// One change of a name.
pub(in crate::cli) fn change(one: &pb::PluginChange) -> Value {
    compact(json!({
        "number": one.number,
        "create_time": one.create_time.map(|time| time.to_string()),
        "by": one.by,
        "kind": one.kind().as_str_name(),
        "plugin_name": one.plugin_name,
        "action": one.action().as_str_name(),
        "plugin": one.plugin.as_ref().map(version),
        "stable_before": one.stable_before,
        "stable_after": one.stable_after,
        "share_basis_points": one.share_basis_points,
        "reason": one.reason,
    }))
}

/// Who runs on a component.
pub(super) fn plugin_use(one: &pb::PluginUse) -> Value {
    compact(json!({
        "kind": one.kind().as_str_name(),
        "plugin_name": one.plugin_name,
        "plugin": one.plugin.as_ref().map(version),
        "channel": one.channel().as_str_name(),
        "deliberation_count": one.deliberation_count,
        "deliberations": one.deliberations,
    }))
}
