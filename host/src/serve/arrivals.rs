//! Plugins that arrive while the host serves.

use std::sync::Arc;

use conclave_core::plugin::Plugins;
use conclave_core::registry::Registry;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::arrivals::folder::{Folder, TakenIn};
use crate::config::Config;

/// Takes in what lies in the operator's folder, if there is one.
pub(super) async fn take_in(
    config: &Config,
    registry: Arc<dyn Registry>,
    plugins: Arc<dyn Plugins>,
) -> Result<Option<Folder>, Error> {
    let Some(dir) = &config.plugins.dir else {
        return Ok(None);
    };
    let bytes_max = config.plugins.limits.component_bytes_max;
    let mut folder = Folder::new(dir, bytes_max, registry, plugins);
    let TakenIn { count, failed } = folder.take_in().await?;
    let failed = failed.len();
    tracing::info!(dir = %dir.display(), count, failed, "plugins loaded");
    Ok(Some(folder))
}

/// Takes what comes into the folder from now on.
pub(super) fn watch(folder: Option<Folder>, tasks: &Tasks, stop: &CancellationToken) {
    if let Some(folder) = folder {
        tasks.spawn("plugin folder", folder.watch(stop.clone()));
    }
}
