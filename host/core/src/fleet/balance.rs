//! Which of several servers a generation goes to.
//!
//! Deliberations prefer a server each, so that the prefixes of their prompts stay in its cache: the one
//! that rendezvous hashing finds (D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit
//! Rates", IEEE/ACM ToN 6(1), 1998), with weights as in J. Schindelhauer, G. Schomaker, "Weighted
//! Distributed Hash Tables", SPAA 2005. A server that comes or goes moves no deliberation but its own.
//!
//! A preferred server takes a generation as long as it would not have more than so many times the mean
//! load (V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018,
//! preprint 2016). Beyond that, the one with the least load does. Load is counted in tokens that are
//! outstanding, in proportion to the weight.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use super::backoff::unit;

/// A server, to whoever chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<K> {
    /// What the caller knows it by.
    pub(super) key: K,
    /// What deliberations prefer it by: the same in every life of the host.
    pub(super) hash: u64,
    pub(super) weight: f64,
    pub(super) tokens: u64,
    /// Whether it can take one more.
    pub(super) has_room: bool,
}

/// A hash of a name.
pub(super) fn hash_of(name: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The one of those with room that a generation of so many tokens goes to. Those without count, too:
/// a deliberation does not come to prefer another server while its own is full.
pub(super) fn choose<K: Copy>(
    candidates: &[Candidate<K>],
    affinity: u64,
    tokens: u32,
    factor: f64,
) -> Option<K> {
    let least = candidates
        .iter()
        .filter(|one| one.has_room)
        .min_by(|left, right| {
            let by_load = load(left).total_cmp(&load(right));
            by_load.then_with(|| preference(right, affinity).total_cmp(&preference(left, affinity)))
        })?;
    let preferred = candidates
        .iter()
        .max_by(|left, right| preference(left, affinity).total_cmp(&preference(right, affinity)))?;
    let chosen = if preferred.has_room && is_within(preferred, candidates, tokens, factor) {
        preferred
    } else {
        least
    };
    Some(chosen.key)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "loads are compared, and far below 2^53 tokens"
)]
fn load<K>(candidate: &Candidate<K>) -> f64 {
    candidate.tokens as f64 / candidate.weight
}

fn preference<K>(candidate: &Candidate<K>, affinity: u64) -> f64 {
    let drawn = unit(hash_of((affinity, candidate.hash)));
    // The logarithm of 0 is infinite; the greater the draw, the greater the preference.
    -candidate.weight / drawn.max(f64::MIN_POSITIVE).ln()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "loads are compared, and far below 2^53 tokens"
)]
fn is_within<K>(
    preferred: &Candidate<K>,
    candidates: &[Candidate<K>],
    tokens: u32,
    factor: f64,
) -> bool {
    let all: u64 = candidates.iter().map(|one| one.tokens).sum();
    let weights: f64 = candidates.iter().map(|one| one.weight).sum();
    let more = f64::from(tokens) / preferred.weight;
    load(preferred) + more <= factor * (all as f64 / weights + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(tokens: &[u64]) -> Vec<Candidate<usize>> {
        let one = |(key, tokens): (usize, &u64)| Candidate {
            key,
            hash: hash_of(key),
            weight: 1.0,
            tokens: *tokens,
            has_room: true,
        };
        tokens.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_server_that_goes_moves_only_the_deliberations_that_preferred_it() {
        let all = candidates(&[0; 5]);
        let fewer = &all[..4];
        for affinity in 0..1000 {
            let before = choose(&all, affinity, 10, 2.0).unwrap();
            let after = choose(fewer, affinity, 10, 2.0).unwrap();
            assert!(before == 4 || before == after, "{affinity}");
        }
    }

    #[test]
    fn deliberations_are_spread_in_proportion_to_the_weights() {
        let mut all = candidates(&[0; 3]);
        all[2].weight = 2.0;
        let mut counts = [0; 3];
        for affinity in 0..4000 {
            counts[choose(&all, affinity, 10, 2.0).unwrap()] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1000, 1000, 2000_i32]) {
            assert!((count - expected).abs() < expected / 5, "{counts:?}");
        }
    }

    #[test]
    fn a_preferred_server_is_left_when_it_has_more_than_its_share() {
        let affinity = 7;
        let preferred = choose(&candidates(&[0; 4]), affinity, 100, 2.0).unwrap();
        let least = (preferred + 2) % 4;
        let with = |load| {
            let mut all = candidates(&[150; 4]);
            all[preferred].tokens = load;
            all[least].tokens = 100;
            choose(&all, affinity, 100, 2.0).unwrap()
        };
        assert_eq!(with(300), preferred);
        assert_eq!(with(900), least);
    }

    #[test]
    fn a_full_server_is_not_chosen_and_its_deliberations_come_back() {
        let mut all = candidates(&[0; 3]);
        let preferred = choose(&all, 3, 10, 2.0).unwrap();
        all[preferred].has_room = false;
        assert_ne!(choose(&all, 3, 10, 2.0).unwrap(), preferred);
        for one in &mut all {
            one.has_room = false;
        }
        assert!(choose(&all, 3, 10, 2.0).is_none());
    }

    #[test]
    fn loads_are_weighed() {
        let mut all = candidates(&[300, 200]);
        all[0].weight = 2.0;
        for affinity in 0..100 {
            assert_eq!(choose(&all, affinity, 1, 0.0).unwrap(), 0);
        }
    }
}
