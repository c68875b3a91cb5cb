//! Rotary positions, and attention of one position to those before it.

use super::Config;
use super::cache::LayerCache;

/// Partial sums in a dot product, so that it runs in vector registers.
pub(super) const LANES: usize = 16;

/// The rotation of each pair of numbers in a head, for one position.
#[derive(Debug)]
pub(super) struct Rotation(Vec<(f32, f32)>);

impl Rotation {
    pub(super) fn at(config: &Config, position: usize) -> Self {
        let pairs = (0..config.head_width / 2).map(|i| {
            let exponent = (2 * i) as f32 / config.head_width as f32;
            let angle = position as f32 / config.rope_base.powf(exponent);
            (angle.cos(), angle.sin())
        });
        Self(pairs.collect())
    }

    /// Rotates heads that lie side by side; GGUF keeps the two numbers of a pair adjacent.
    pub(super) fn apply(&self, heads: &mut [f32]) {
        for head in heads.chunks_exact_mut(2 * self.0.len()) {
            for ([x, y], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(&self.0) {
                (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
            }
        }
    }
}

/// Attends with the query heads that share key and value head `kv_head` to the first `positions`.
///
/// `queries` and `out` hold those heads side by side.
pub(super) fn attend(
    config: &Config,
    layer: &LayerCache,
    kv_head: usize,
    positions: usize,
    queries: &[f32],
    out: &mut [f32],
) {
    let (width, stride) = (config.head_width, config.kv_width());
    let first = kv_head * width;
    let scale = 1.0 / (width as f32).sqrt();
    let mut scores = vec![0.0; positions];
    for (query, out) in queries.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for (score, keys) in scores.iter_mut().zip(layer.keys.chunks_exact(stride)) {
            *score = scale * dot(query, &keys[first..first + width]);
        }
        softmax(&mut scores);
        out.fill(0.0);
        let fours = layer.values.chunks_exact(4 * stride);
        let (score_fours, score_rest) = scores.as_chunks::<4>();
        for (scores, values) in score_fours.iter().zip(fours) {
            let rows: [&[f32]; 4] = std::array::from_fn(|i| &values[i * stride + first..][..width]);
            for (i, out) in out.iter_mut().enumerate() {
                // Four positions in one pass, since reading and writing `out` is what takes time.
                *out += (scores[0] * rows[0][i] + scores[1] * rows[1][i])
                    + (scores[2] * rows[2][i] + scores[3] * rows[3][i]);
            }
        }
        let rest = layer.values[score_fours.len() * 4 * stride..].chunks_exact(stride);
        for (score, values) in score_rest.iter().zip(rest) {
            for (out, value) in out.iter_mut().zip(&values[first..]) {
                *out += score * value;
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    // By halves: each addition waits for the one before it only.
    let halves: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let quarters: [f32; 4] = std::array::from_fn(|i| halves[i] + halves[i + 4]);
    (quarters[0] + quarters[2]) + (quarters[1] + quarters[3])
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            layers: 1,
            width: 32,
            hidden: 32,
            heads: 2,
            kv_heads: 1,
            head_width: 16,
            context: 8,
            rope_base: 10_000.0,
            epsilon: 1e-5,
        }
    }

    #[test]
    fn rotation_depends_on_the_distance_only() {
        let rotated = |position: usize, value: f32| {
            let mut head = vec![value; 16];
            Rotation::at(&config(), position).apply(&mut head);
            head
        };
        let near = dot(&rotated(3, 0.5), &rotated(1, 2.0));
        let far = dot(&rotated(7, 0.5), &rotated(5, 2.0));
        assert!((near - far).abs() < 1e-4, "{near} {far}");
    }

    #[test]
    fn attention_is_a_weighted_mean_of_the_values() {
        let layer = LayerCache {
            keys: [vec![0.0; 16], vec![0.0; 16], vec![9.0; 16]].concat(),
            values: [vec![1.0; 16], vec![3.0; 16], vec![100.0; 16]].concat(),
        };
        let mut out = vec![0.0; 32];
        attend(&config(), &layer, 0, 2, &[1.0; 32], &mut out);
        assert_eq!(out, vec![2.0; 32]);
        attend(&config(), &layer, 0, 3, &[1.0; 32], &mut out);
        assert!(out.iter().all(|x| (99.0..=100.0).contains(x)), "{out:?}");
    }
}
