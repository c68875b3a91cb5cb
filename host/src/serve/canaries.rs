//! Rolls back canaries that are found worse, and keeps what is known of the others.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, audit};
use crate::plugin_store::PluginStore;

/// How often evidence is kept: what a crash takes with it is evidence, not truth.
const KEPT_EVERY: Duration = Duration::from_secs(5);

/// How an automatic rollback stands in the audit log.
const METHOD: &str = "automatic rollback";

/// Watches until the host stops, and keeps the evidence once more then.
pub(super) fn start(
    plugins: &Arc<PluginStore>,
    access: &Arc<Access>,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let (store, access) = (Arc::clone(plugins), Arc::clone(access));
    let watching = async move {
        loop {
            roll_back_next(&store, &access).await;
        }
    };
    tasks.spawn("canaries", stop.clone().run_until_cancelled_owned(watching));
    let (store, stop) = (Arc::clone(plugins), stop.clone());
    tasks.spawn("evidence", async move {
        let mut going_on = true;
        while going_on {
            let waited = stop
                .run_until_cancelled(tokio::time::sleep(KEPT_EVERY))
                .await;
            going_on = waited.is_some();
            if let Err(error) = store.keep_evidence().await {
                tracing::warn!(error = %Chain(&error), "what was seen of canaries is not kept");
            }
        }
    });
}

async fn roll_back_next(store: &PluginStore, access: &Access) {
    match store.next_regression().await {
        Ok((regression, Some(_))) => {
            let plugin = &regression.plugin;
            tracing::warn!(
                %plugin, finding = %regression.finding,
                "a canary was found worse and is rolled back"
            );
            if let Some(audit) = access.audit() {
                let record = audit::Record {
                    method: METHOD.to_owned(),
                    resource: Some(plugin.to_string()),
                    outcome: "OK".to_owned(),
                    ..audit::Record::default()
                };
                audit.place().await.note(&record);
            }
        }
        Ok((_, None)) => {}
        Err(error) => {
            tracing::error!(
                error = %Chain(&error),
                "a canary was found worse and could not be rolled back; trying again"
            );
            tokio::time::sleep(KEPT_EVERY).await;
        }
    }
}
