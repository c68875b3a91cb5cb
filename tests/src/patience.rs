//! Bounds on waiting, so that a test that hangs fails and says what it waited for.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;

/// How long a test waits for one thing: far longer than it takes on a busy machine that
/// compiles plugins for the first time.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for something, which `what` names.
///
/// # Errors
/// When it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.with_context(|| format!("waited for {} s in vain: {what}", PATIENCE.as_secs()))
}
