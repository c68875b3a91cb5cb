//! Deletes components that nothing needs any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::drain;
use conclave_core::ids::Digest;
use conclave_core::live::Live;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::plugin_store::PluginStore;

/// How often it is looked: what remains for a while only takes room.
const PERIOD: Duration = Duration::from_secs(60);

/// Deletes what neither a name nor one of these deliberations needs.
pub(super) async fn sweep(plugins: &PluginStore, held: &BTreeSet<Digest>) {
    match plugins.sweep(held).await {
        Ok(deleted) if deleted.is_empty() => {}
        Ok(deleted) => tracing::info!(
            count = deleted.len(),
            "components that nothing needs were deleted"
        ),
        // They only take room.
        Err(error) => tracing::warn!(
            error = %Chain(&error),
            "components that nothing needs remain"
        ),
    }
}

/// Sweeps again and again until the host stops. Every unfinished deliberation must be live by now.
pub(super) fn start(
    plugins: &Arc<PluginStore>,
    live: &Live,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let (plugins, live, stop) = (Arc::clone(plugins), live.clone(), stop.clone());
    tasks.spawn("plugin sweep", async move {
        while stop
            .run_until_cancelled(tokio::time::sleep(PERIOD))
            .await
            .is_some()
        {
            let held = drain::held(&live).into_keys().collect();
            sweep(&plugins, &held).await;
        }
    });
}
