//! Bounds the labels that others name: models come from clients, and a time series for each would
//! fill the memory of the host and of Prometheus.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// How many different names get series of their own.
pub(super) const NAMES_MAX: usize = 100;

/// What all further names share.
pub(super) const OTHER: &str = "other";

/// The characters of a name that are shown.
const NAME_CHARS_MAX: usize = 100;

/// One `T` for each of the first [`NAMES_MAX`] names, and one for all others.
pub(super) struct Names<T> {
    known: RwLock<HashMap<String, Arc<T>>>,
    make: Box<dyn Fn(&str) -> T + Send + Sync>,
}

impl<T> Names<T> {
    /// Makes each `T` when its name first comes.
    pub(super) fn new(make: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        Self {
            known: RwLock::default(),
            make: Box::new(make),
        }
    }

    /// What counts for this name.
    pub(super) fn get(&self, name: &str) -> Arc<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Arc::clone(found);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let name = if known.contains_key(name) || known.len() < NAMES_MAX {
            name
        } else {
            OTHER
        };
        let made = known.entry(name.to_owned()).or_insert_with(|| {
            let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
            Arc::new((self.make)(&shown))
        });
        Arc::clone(made)
    }
}

impl<T> std::fmt::Debug for Names<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_one_series() {
        let names = Names::new(ToOwned::to_owned);
        for n in 0..NAMES_MAX {
            assert_eq!(*names.get(&format!("model-{n}")), format!("model-{n}"));
        }
        assert_eq!(*names.get("one more"), OTHER);
        assert_eq!(*names.get("and another"), OTHER);
        assert_eq!(*names.get("model-7"), "model-7");
    }
}
