//! One file's way into the registry, and when it becomes stable.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::plugin::{Kind, Listed, PluginChoice, Plugins, Source};
use conclave_core::registry::{self, Arrival, By, Named, Registry, Wish};
use semver::Version;

use super::scan::Complete;

/// Why the host did it, as history tells.
const REASON: &str = "arrived in the folder";

/// How often a promotion is tried that the storage does not take.
const ATTEMPTS: u32 = 5;

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
        let effect = if published.known {
            Effect::Known
        } else if published.serves {
            Effect::Serves
        } else {
            self.promote_if_newer(&published.listed).await
        };
        Ok(Delivered {
            listed: published.listed,
            effect,
            warnings: published.warnings,
        })
    }

    async fn promote_if_newer(&self, listed: &Listed) -> Effect {
        let plugin = &listed.plugin;
        let names = self.registry.names().await;
        let is_its = |named: &&Named| {
            named.name.kind == plugin.kind && named.name.name == plugin.reference.name
        };
        let Some(named) = names.iter().find(is_its) else {
            return Effect::Waits("its name stands for nothing".to_owned());
        };
        if named.canary().is_some() {
            return Effect::Waits("another version is tried as canary".to_owned());
        }
        let exactly = |digest| PluginChoice {
            digest: Some(digest),
            ..PluginChoice::named(plugin.reference.name.clone())
        };
        let stable = match named.channels.stable {
            Some(stable) => self.plugins.resolve(plugin.kind, &exactly(stable)).await,
            None => return Effect::Waits("its name stands for nothing".to_owned()),
        };
        let before = match stable {
            Ok(stable) => stable.reference.version.clone(),
            Err(error) => return Effect::Waits(Chain(&error).to_string()),
        };
        if !is_newer(&plugin.reference.version, &before) {
            return Effect::Waits(format!("the stable version {before} is not older"));
        }
        let wish = Wish::Promote(exactly(plugin.reference.digest));
        let by = By {
            who: String::new(),
            reason: REASON.to_owned(),
            // Whoever changes the name meanwhile knows better.
            revision: Some(named.channels.revision),
        };
        match self.order(plugin.kind, &wish, &by).await {
            Ok(()) => Effect::Promoted { before },
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::warn!(plugin = %plugin.reference, error, "a newer plugin cannot be made stable");
                Effect::Waits(error)
            }
        }
    }

    /// The storage may not answer for a moment; the bytes are known by then, so no later look would
    /// promote them.
    async fn order(&self, kind: Kind, wish: &Wish, by: &By) -> Result<(), registry::Error> {
        let mut attempt = 1;
        loop {
            let ordered = self.registry.order(kind, wish.clone(), by.clone()).await;
            match ordered {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                    attempt += 1;
                }
                ordered => return ordered.map(|_| ()),
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
