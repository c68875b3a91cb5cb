//! What is counted of the work on a cluster, since the start of the host.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one cluster, for the metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Work that was queued.
    pub published: AtomicU64,
    /// Work of before a restart of the host that was found again, queued, running or ended.
    pub adopted: AtomicU64,
    /// Results that somebody waited for.
    pub results: AtomicU64,
    /// Results that nobody waited for: a second one of the same work, or one that was given up.
    pub duplicates: AtomicU64,
    /// Results that were found in their stream because their message was missed.
    pub found: AtomicU64,
    /// Questions of executors about work that was delivered to them again.
    pub redeliveries: AtomicU64,
    /// Work that went to the dead letters.
    pub dead: AtomicU64,
    /// Work that was cancelled because nobody waits for it any more.
    pub cancelled: AtomicU64,
    /// Work that was lost: its cluster fell silent, or its queue has lost it.
    pub lost: AtomicU64,
    /// Orders to cancel that could not be carried out.
    pub cancels_lost: AtomicU64,
    /// Pieces of progress that came faster than they were taken.
    pub progress_lost: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
