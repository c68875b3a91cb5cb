//! Shows the plugins of the host.

use std::sync::Arc;

use crate::ids::Digest;
use crate::plugin::{Catalogue, Kind, Listed, PluginChoice, Plugins};

/// A plugin, and what the host does with it.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What it is.
    pub listed: Listed,
    /// Whether it serves requests that name no plugin of its kind.
    pub is_default: bool,
}

/// Shows plugins.
#[derive(Clone)]
pub struct InspectPlugins {
    catalogue: Arc<dyn Catalogue>,
    plugins: Arc<dyn Plugins>,
    defaults: [(Kind, PluginChoice); 2],
}

impl InspectPlugins {
    /// Shows what is listed there; requests that name no plugin are served by `strategy` and `scorer`.
    #[must_use]
    pub fn new(
        catalogue: Arc<dyn Catalogue>,
        plugins: Arc<dyn Plugins>,
        strategy: PluginChoice,
        scorer: PluginChoice,
    ) -> Self {
        Self {
            catalogue,
            plugins,
            defaults: [(Kind::Strategy, strategy), (Kind::Scorer, scorer)],
        }
    }

    /// All of them, by kind, name and version.
    pub async fn list(&self) -> Vec<Inspected> {
        let mut defaults = Vec::new();
        for (kind, choice) in &self.defaults {
            // A default that cannot be found is none; the host says so when it starts.
            let found = self.plugins.resolve(*kind, choice).await;
            defaults.extend(found.map(|plugin| plugin.reference.digest));
        }
        let listed = self.catalogue.listed().await.into_iter();
        let inspected = listed.map(|listed| Inspected {
            is_default: defaults.contains(&listed.plugin.reference.digest),
            listed,
        });
        inspected.collect()
    }

    /// The one with these bytes.
    pub async fn get(&self, digest: &Digest) -> Option<Inspected> {
        let mut all = self.list().await.into_iter();
        all.find(|one| one.listed.plugin.reference.digest == *digest)
    }
}

impl std::fmt::Debug for InspectPlugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InspectPlugins").finish_non_exhaustive()
    }
}
