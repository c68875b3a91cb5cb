//! Chooses the next token from the logits.

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// 0 takes the likeliest token always.
    pub(crate) temperature: f32,
    /// The share of probability that may be chosen from, likeliest first.
    pub(crate) top_p: f32,
    pub(crate) seed: u64,
}

/// A seeded stream of choices: one random number a token, whatever the logits.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    state: u64,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            state: sampling.seed,
        }
    }

    /// The next token.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> u32 {
        let random = self.random();
        let best = likeliest(logits);
        if self.sampling.temperature == 0.0 {
            return best as u32;
        }
        let max = logits[best];
        let weight = |logit: f32| ((logit - max) / self.sampling.temperature).exp();
        let weights: Vec<f32> = logits.iter().map(|logit| weight(*logit)).collect();
        let chosen = if self.sampling.top_p < 1.0 {
            let (order, sum) = nucleus(&weights, self.sampling.top_p);
            pick(order.iter().map(|i| (*i, weights[*i])), random * sum)
        } else {
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            pick(weights.iter().copied().enumerate(), random * sum)
        };
        chosen.unwrap_or(best) as u32
    }

    /// A number in [0, 1), by SplitMix64 (Steele, Lea and Flood 2014).
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The natural logarithms of the probabilities, at temperature 1.
pub(crate) fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from((logit - max).exp()))
        .sum();
    let shift = max + sum.ln() as f32;
    logits.iter().map(|logit| logit - shift).collect()
}

/// The `count` likeliest tokens, likeliest first.
pub(crate) fn top(scores: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let count = count.min(order.len());
    if (1..order.len()).contains(&count) {
        order.select_nth_unstable_by(count - 1, |a, b| descending(scores, *a, *b));
    }
    order.truncate(count);
    order.sort_unstable_by(|a, b| descending(scores, *a, *b));
    order.into_iter().map(|token| token as u32).collect()
}

fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best
}

/// The fewest likeliest tokens whose weights make up the share `top_p`, and their sum.
fn nucleus(weights: &[f32], top_p: f32) -> (Vec<usize>, f64) {
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    // All that weigh less than this make up less than the share left out, so need no sorting.
    let least = f64::from(1.0 - top_p) * total / weights.len() as f64;
    let mut order: Vec<usize> = (0..weights.len())
        .filter(|i| f64::from(weights[*i]) >= least)
        .collect();
    order.sort_unstable_by(|a, b| descending(weights, *a, *b));
    let mut sum = 0.0;
    for (length, token) in (1..).zip(&order) {
        sum += f64::from(weights[*token]);
        if sum >= f64::from(top_p) * total {
            order.truncate(length);
            break;
        }
    }
    (order, sum)
}

/// Larger first; the lower token of equals.
fn descending(scores: &[f32], a: usize, b: usize) -> std::cmp::Ordering {
    scores[b].total_cmp(&scores[a]).then(a.cmp(&b))
}

fn pick(weights: impl Iterator<Item = (usize, f32)>, at: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (token, weight) in weights {
        sum += f64::from(weight);
        if weight > 0.0 {
            last = Some(token);
        }
        if sum > at {
            return last;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -4.0, 3.0];

    fn draws(temperature: f32, top_p: f32, seed: u64) -> Vec<u32> {
        let mut sampler = Sampler::new(Sampling {
            temperature,
            top_p,
            seed,
        });
        (0..2_000).map(|_| sampler.choose(&LOGITS)).collect()
    }

    #[test]
    fn temperature_zero_takes_the_first_likeliest() {
        assert!(draws(0.0, 1.0, 7).iter().all(|token| *token == 1));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        assert_eq!(draws(1.0, 1.0, 7), draws(1.0, 1.0, 7));
        assert_ne!(draws(1.0, 1.0, 7), draws(1.0, 1.0, 8));
    }

    #[test]
    fn tokens_are_drawn_by_their_probability() {
        let probabilities: Vec<f32> = log_probabilities(&LOGITS)
            .into_iter()
            .map(f32::exp)
            .collect();
        let draws = draws(1.0, 1.0, 42);
        for (token, probability) in (0..).zip(probabilities) {
            let share = draws.iter().filter(|t| **t == token).count() as f32 / 2_000.0;
            assert!(
                (share - probability).abs() < 0.04,
                "{token}: {share} {probability}"
            );
        }
    }

    #[test]
    fn top_p_keeps_the_fewest_tokens_that_reach_the_share() {
        let kept = |top_p| {
            let mut tokens = draws(1.0, top_p, 3);
            tokens.sort_unstable();
            tokens.dedup();
            tokens
        };
        assert_eq!(kept(0.3), [1]);
        assert_eq!(kept(0.7), [1, 4]);
        assert_eq!(kept(0.9), [1, 2, 4]);
    }

    #[test]
    fn a_low_temperature_sharpens() {
        let likeliest = |temperature| {
            let draws = draws(temperature, 1.0, 5);
            draws.iter().filter(|t| [1, 4].contains(*t)).count()
        };
        assert!(likeliest(0.3) > likeliest(1.0));
        assert!(likeliest(1.0) > likeliest(2.0));
    }

    #[test]
    fn the_top_tokens_come_in_order() {
        assert_eq!(top(&LOGITS, 3), [1, 4, 2]);
        assert!(top(&LOGITS, 0).is_empty());
        assert_eq!(top(&LOGITS, 9), [1, 4, 2, 0, 3]);
    }
}
