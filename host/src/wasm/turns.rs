//! Lets one at a time work on the same component, and others on others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use conclave_core::ids::Digest;

/// A lock for each digest that somebody works on.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The lock of this digest; it is forgotten when nobody has it any more.
    pub(super) fn of(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(digest, Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_of_one_digest_wait_for_each_other() {
        let turns = Turns::default();
        let [a, b] = [b"a", b"b"].map(|text| Digest::of(text));
        let first = turns.of(a);
        let held = first.lock().await;
        assert!(turns.of(a).try_lock().is_err());
        assert!(turns.of(b).try_lock().is_ok());
        drop(held);
        assert!(turns.of(a).try_lock().is_ok());
        drop(first);
        drop(turns.of(b));
        let left = turns.0.lock().unwrap().len();
        assert_eq!(left, 1, "those that nobody has are forgotten");
    }
}
