//! Compiled components in memory, by digest; at most so many, the least recently used go first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave_core::ids::Digest;

/// A bounded map from digests to what was made of the components.
pub(super) struct Compiled<T> {
    max: usize,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    by_digest: HashMap<Digest, (Arc<T>, u64)>,
    /// Counts uses: the clock of "least recently".
    uses: u64,
}

impl<T> Compiled<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            kept: Mutex::new(Kept {
                by_digest: HashMap::new(),
                uses: 0,
            }),
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<T>> {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        let (compiled, used) = kept.by_digest.get_mut(digest)?;
        *used = now;
        Some(Arc::clone(compiled))
    }

    pub(super) fn insert(&self, digest: Digest, compiled: Arc<T>) {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        kept.by_digest.insert(digest, (compiled, now));
        while kept.by_digest.len() > self.max {
            let oldest = kept.by_digest.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            kept.by_digest.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, digest: &Digest) {
        self.kept().by_digest.remove(digest);
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let compiled = Compiled::new(2);
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| Digest::of(text));
        compiled.insert(a, Arc::new("a"));
        compiled.insert(b, Arc::new("b"));
        assert!(compiled.get(&a).is_some());
        compiled.insert(c, Arc::new("c"));
        assert!(compiled.get(&b).is_none());
        assert!(compiled.get(&a).is_some() && compiled.get(&c).is_some());
        compiled.remove(&a);
        assert!(compiled.get(&a).is_none());
    }
}
