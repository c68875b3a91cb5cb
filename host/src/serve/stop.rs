//! Lets deliberations end, and those that do not end in time, rest.

use std::time::Duration;

use conclave_core::live::Live;
use tokio::time::Instant;

/// How often it is looked whether all have ended.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until no deliberation is left, for at most `grace`; then tells the rest to pause. How many
/// those are.
pub(super) async fn end_or_pause(live: &Live, grace: Duration) -> usize {
    let started = Instant::now();
    while !live.is_empty() {
        let left = grace.saturating_sub(started.elapsed());
        if left.is_zero() {
            let rest = live.len();
            live.pause_all();
            return rest;
        }
        tokio::time::sleep(LOOK.min(left)).await;
    }
    // A submit that was let in before the stop may still come.
    live.pause_all();
    0
}

/// Waits until those that were told to pause rest, for at most `patience`: what they give up is cancelled
/// in the engines by parts of the host that must still be there.
pub(super) async fn rested(live: &Live, patience: Duration) {
    let resting = async {
        while !live.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(patience, resting).await.is_err() {
        tracing::warn!(count = live.len(), "some deliberations do not come to rest");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use conclave_core::entry::Entry;
    use conclave_core::testkit::host::Host;
    use conclave_core::testkit::inference::ScriptedInference;
    use conclave_core::testkit::journal::MemoryJournal;
    use conclave_core::testkit::runtime::ScriptedRuntime;

    use super::*;

    /// A host whose strategy takes a minute.
    async fn host() -> Host {
        let runtime = ScriptedRuntime::new(|_, _| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Err(conclave_core::runtime::Error::Refused("tired".to_owned()))
        });
        Host::start(
            &MemoryJournal::new(),
            Arc::new(ScriptedInference::answering("yes")),
            Arc::new(runtime),
        )
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_within_the_grace_period_is_not_paused() {
        let host = host().await;
        let id = host.accept(|_| ()).await;
        assert_eq!(
            end_or_pause(host.run.live(), Duration::from_secs(61)).await,
            0
        );
        assert!(host.tasks.drained(DRAINED).await);
        assert!(matches!(
            host.records(&id).last().unwrap().entry,
            Entry::Finished { .. }
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_paused_and_can_be_resumed() {
        let host = host().await;
        let id = host.accept(|_| ()).await;
        let started = Instant::now();
        assert_eq!(
            end_or_pause(host.run.live(), Duration::from_secs(25)).await,
            1
        );
        assert_eq!(started.elapsed().as_secs(), 25);
        assert!(host.tasks.drained(DRAINED).await);
        assert!(matches!(
            host.records(&id).last().unwrap().entry,
            Entry::Paused { .. }
        ));
        assert_eq!(host.run.unfinished().await.unwrap().len(), 1);
    }

    const DRAINED: Duration = Duration::from_secs(1);
}
