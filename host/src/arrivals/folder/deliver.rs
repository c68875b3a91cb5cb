//! One file's way into the registry, and when it becomes stable.

use std::sync::Arc;

use conclave_core::chain::Chain;
use conclave_core::channel::PluginName;
use conclave_core::plugin::{Listed, PluginChoice, Plugins, Source};
use conclave_core::registry::{
    self, Action, Arrival, By, Change, HistoryQuery, Named, Registry, Wish,
};
use semver::Version;

use super::scan::Complete;

/// Why the host did it, as history tells.
const REASON: &str = "arrived in the folder";

/// Whom files are delivered to.
pub(super) struct Delivery {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) plugins: Arc<dyn Plugins>,
}

/// What became of a file.
#[derive(Debug)]
pub(super) struct Delivered {
    listed: Listed,
    effect: Effect,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Effect {
    /// The host had these bytes before.
    Known,
    /// It is the first of its name.
    Serves,
    /// It was newer than what was stable.
    Promoted { before: String },
    /// It serves only who names it; why.
    Waits(String),
}

impl Delivered {
    /// `NAME@VERSION`.
    pub(super) fn plugin(&self) -> String {
        self.listed.plugin.reference.to_string()
    }

    /// Tells the operator.
    pub(super) fn tell(&self, file: &str) {
        let (plugin, digest) = (self.plugin(), self.listed.plugin.reference.digest);
        for warning in &self.warnings {
            tracing::warn!(file, plugin, warning, "the plugin was taken, but");
        }
        match &self.effect {
            Effect::Known => {
                tracing::debug!(file, plugin, %digest, "a file holds a plugin that is known");
            }
            Effect::Serves => {
                tracing::info!(file, plugin, %digest, "a plugin arrived, and serves as the first of its name");
            }
            Effect::Promoted { before } => tracing::info!(
                file, plugin, %digest, before,
                "a plugin arrived, and is stable as it is newer; `conclave plugin rollback {}` undoes it",
                self.listed.plugin.reference.name
            ),
            Effect::Waits(why) => tracing::info!(
                file, plugin, %digest, why,
                "a plugin arrived, and serves whoever names its version; `conclave plugin promote \
                 {plugin}` makes it stable"
            ),
        }
    }
}

impl Delivery {
    /// Publishes a file, and makes it stable if it is newer than what is.
    ///
    /// # Errors
    /// When it is not taken.
    pub(super) async fn deliver(
        &self,
        file: &str,
        complete: Complete,
    ) -> Result<Delivered, registry::Error> {
        let published = self
            .registry
            .publish(Arrival {
                bytes: complete.bytes.into(),
                signature: complete.signature,
                source: Source::File(file.to_owned()),
                by: String::new(),
            })
            .await?;
        let effect = if published.known && !self.is_fresh(&published.listed).await? {
            Effect::Known
        } else if published.serves {
            Effect::Serves
        } else {
            self.promote_if_newer(&published.listed).await?
        };
        Ok(Delivered {
            listed: published.listed,
            effect,
            warnings: published.warnings,
        })
    }

    /// Whether nothing has happened to the name since this component came by a file: then what made it
    /// known, a crash perhaps, may not have come to promote it.
    async fn is_fresh(&self, listed: &Listed) -> Result<bool, registry::Error> {
        let Listed { plugin, source, .. } = listed;
        let latest = HistoryQuery {
            name: Some(PluginName::new(plugin.kind, plugin.reference.name.as_str())),
            before: None,
            limit: 1,
        };
        let latest = self.registry.history(latest).await?;
        let added = |change: &Change| {
            change.action == Action::Added && change.digest == plugin.reference.digest
        };
        Ok(matches!(source, Source::File(_)) && latest.first().is_some_and(added))
    }

    /// # Errors
    /// When the registry cannot do it now; a later look does.
    async fn promote_if_newer(&self, listed: &Listed) -> Result<Effect, registry::Error> {
        let plugin = &listed.plugin;
        let names = self.registry.names().await;
        let is_its = |named: &&Named| {
            named.name.kind == plugin.kind && named.name.name == plugin.reference.name
        };
        let Some((named, stable)) = names
            .iter()
            .find(is_its)
            .and_then(|named| Some((named, named.channels.stable?)))
        else {
            return Ok(Effect::Waits("its name stands for nothing".to_owned()));
        };
        if named.canary().is_some() {
            let why = "another version is tried as canary";
            return Ok(Effect::Waits(why.to_owned()));
        }
        let exactly = |digest| PluginChoice {
            digest: Some(digest),
            ..PluginChoice::named(plugin.reference.name.clone())
        };
        let stable = self.plugins.resolve(plugin.kind, &exactly(stable)).await?;
        let before = stable.reference.version.clone();
        if !is_newer(&plugin.reference.version, &before) {
            let why = format!("the stable version {before} is not older");
            return Ok(Effect::Waits(why));
        }
        let wish = Wish::Promote(exactly(plugin.reference.digest));
        let by = By {
            who: String::new(),
            reason: REASON.to_owned(),
            // Whoever changes the name meanwhile knows better.
            revision: Some(named.channels.revision),
        };
        match self.registry.order(plugin.kind, wish, by).await {
            Ok(_) => Ok(Effect::Promoted { before }),
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::warn!(plugin = %plugin.reference, error, "a newer plugin cannot be made stable");
                Ok(Effect::Waits(error))
            }
        }
    }
}

/// Whether a version comes after another one; what is no semantic version comes after none.
fn is_newer(version: &str, than: &str) -> bool {
    let parsed = (Version::parse(version), Version::parse(than));
    matches!(parsed, (Ok(version), Ok(than)) if version.cmp_precedence(&than).is_gt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_newer("0.10.0", "0.9.0"));
        assert!(is_newer("1.0.0", "1.0.0-rc.1"));
        assert!(!is_newer("1.0.0", "1.0.0"));
        assert!(!is_newer("1.0.0+b", "1.0.0+a"));
        assert!(!is_newer("1.0.0-rc.1", "1.0.0"));
        assert!(!is_newer("latest", "1.0.0"));
    }
}
