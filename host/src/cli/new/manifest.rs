//! The manifest of the SDK outside its workspace, which it inherits from.

use anyhow::Context as _;
use toml::{Table, Value};

/// The SDK's manifest with what it inherits written out, and without what only its workspace has.
pub(super) fn of_sdk(manifest: &str, workspace: &str) -> anyhow::Result<String> {
    let mut manifest: Table = toml::from_str(manifest).context("the SDK's manifest is no TOML")?;
    let workspace: Table = toml::from_str(workspace).context("the workspace's is no TOML")?;
    manifest.remove("lints");
    for (own, shared) in [("package", "package"), ("dependencies", "dependencies")] {
        let shared = workspace
            .get("workspace")
            .and_then(|workspace| workspace.get(shared))
            .and_then(Value::as_table)
            .with_context(|| format!("the workspace has no `{shared}`"))?;
        let own = manifest.get_mut(own).and_then(Value::as_table_mut);
        for (key, value) in own.into_iter().flatten() {
            if value.get("workspace").and_then(Value::as_bool) == Some(true) {
                let inherited = shared.get(key);
                *value = inherited
                    .with_context(|| format!("the workspace has no `{key}`"))?
                    .clone();
            }
        }
    }
    toml::to_string(&manifest).context("the manifest has no text")
}

#[cfg(test)]
mod tests {
    use super::super::embedded::text;
    use super::*;

    #[test]
    fn what_is_inherited_is_written_out() {
        let sdk = of_sdk(text("plugins/sdk/Cargo.toml"), text("Cargo.toml")).unwrap();
        assert!(!sdk.contains("workspace"), "{sdk}");
        let sdk: Table = toml::from_str(&sdk).unwrap();
        assert_eq!(sdk["package"]["edition"].as_str(), Some("2024"));
        let bindings = &sdk["dependencies"]["wit-bindgen"];
        assert!(bindings["version"].as_str().is_some(), "{bindings}");
    }

    #[test]
    fn what_cannot_be_inherited_is_named() {
        let error = of_sdk(
            "[dependencies]\nserde = { workspace = true }\n",
            "[workspace.package]\n[workspace.dependencies]\n",
        );
        assert!(error.unwrap_err().to_string().contains("`serde`"));
    }
}
