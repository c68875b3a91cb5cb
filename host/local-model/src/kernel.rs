//! The one hot loop: 8-bit weights times 16-bit activations.
//!
//! Weights stay in blocks of 32 that share a scale and an offset, which holds Q4_0, Q4_1 and Q8_0
//! exactly. Activations are rounded to 16 bits by block, which is as good as `f32` here and lets one
//! instruction do sixteen products. Every output is the sum of one weight row and one activation
//! row in an order that depends on nothing else: a sequence gets the same bits alone or in a batch.

use std::sync::LazyLock;

/// Weights in a block, and activations in one.
pub(crate) const BLOCK: usize = 32;

/// Activation rows that share one pass over a weight row; more would spill registers.
const TILE: usize = 4;

/// Thirty-two weights, each `scale * q + offset`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct WeightBlock {
    pub(crate) scale: f32,
    pub(crate) offset: f32,
    pub(crate) q: [i8; BLOCK],
}

/// Thirty-two activations, each `scale * q`, and their sum.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct ActivationBlock {
    scale: f32,
    sum: f32,
    q: [i16; BLOCK],
}

impl ActivationBlock {
    pub(crate) const ZERO: Self = Self {
        scale: 0.0,
        sum: 0.0,
        q: [0; BLOCK],
    };

    /// Rounds thirty-two values to sixteen bits.
    pub(crate) fn round(values: &[f32; BLOCK]) -> Self {
        let max = values.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
        if max == 0.0 {
            return Self::ZERO;
        }
        let steps = f32::from(i16::MAX);
        let inverse = steps / max;
        Self {
            scale: max / steps,
            sum: values.iter().sum(),
            q: values.map(|v| (v * inverse).round_ties_even() as i16),
        }
    }
}

/// Multiplies `batch` activation rows with as many weight rows as fill `out`.
///
/// `weights` and `activations` hold rows of `blocks` blocks; `out[row * batch + item]` is the product
/// of weight row `row` and activation row `item`.
///
/// # Panics
///
/// When the lengths do not agree.
pub(crate) fn multiply(
    weights: &[WeightBlock],
    activations: &[ActivationBlock],
    blocks: usize,
    out: &mut [f32],
) {
    let batch = activations.len() / blocks;
    assert_eq!(weights.len() / blocks * batch, out.len());
    for (row, out) in weights
        .chunks_exact(blocks)
        .zip(out.chunks_exact_mut(batch))
    {
        let mut tiles = out.chunks_exact_mut(TILE);
        let mut groups = activations.chunks_exact(TILE * blocks);
        for (out, group) in tiles.by_ref().zip(groups.by_ref()) {
            let group: [&[ActivationBlock]; TILE] =
                std::array::from_fn(|i| &group[i * blocks..(i + 1) * blocks]);
            out.copy_from_slice(&dot(row, group));
        }
        let rest = groups.remainder().chunks_exact(blocks);
        for (out, activation) in tiles.into_remainder().iter_mut().zip(rest) {
            [*out] = dot(row, [activation]);
        }
    }
}

/// The products of one weight row with `N` activation rows.
#[inline]
fn dot<const N: usize>(row: &[WeightBlock], activations: [&[ActivationBlock]; N]) -> [f32; N] {
    #[cfg(target_arch = "x86_64")]
    {
        static FAST: LazyLock<bool> =
            LazyLock::new(|| is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
        if *FAST {
            #[expect(unsafe_code, reason = "the processor was just asked for both features")]
            // SAFETY: `dot_avx2` needs AVX2 and FMA and nothing else.
            return unsafe { avx2::dot(row, activations) };
        }
    }
    dot_portable(row, activations)
}

/// [`dot`] for any processor: the compiler vectorises it with what the target has.
fn dot_portable<const N: usize>(
    row: &[WeightBlock],
    activations: [&[ActivationBlock]; N],
) -> [f32; N] {
    activations.map(|activation| {
        let mut sum = 0.0;
        for (w, a) in row.iter().zip(activation) {
            // Wrapping, because the checks of a dev build would keep the loop scalar; 32 products
            // of 8 by 16 bits cannot overflow.
            let dot = w.q.iter().zip(&a.q).fold(0_i32, |dot, (w, a)| {
                dot.wrapping_add(i32::from(*w).wrapping_mul(i32::from(*a)))
            });
            sum += w.scale * a.scale * dot as f32 + w.offset * a.sum;
        }
        sum
    })
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
        _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    };

    use super::{ActivationBlock, WeightBlock};

    /// [`super::dot`] in instructions that no autovectoriser finds.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot<const N: usize>(
        row: &[WeightBlock],
        activations: [&[ActivationBlock]; N],
    ) -> [f32; N] {
        let activations = activations.map(|activation| &activation[..row.len()]);
        let mut sums = [_mm256_setzero_ps(); N];
        let mut offsets = [0.0_f32; N];
        for (i, w) in row.iter().enumerate() {
            let [low, high]: [__m128i; 2] = bytemuck::must_cast(w.q);
            let (low, high) = (_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high));
            for n in 0..N {
                let a = &activations[n][i];
                let [a_low, a_high]: [__m256i; 2] = bytemuck::must_cast(a.q);
                let products = _mm256_add_epi32(
                    _mm256_madd_epi16(low, a_low),
                    _mm256_madd_epi16(high, a_high),
                );
                let scale = _mm256_set1_ps(w.scale * a.scale);
                sums[n] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, sums[n]);
                offsets[n] = w.offset.mul_add(a.sum, offsets[n]);
            }
        }
        std::array::from_fn(|n| across(sums[n]) + offsets[n])
    }

    /// The sum of the eight lanes.
    #[target_feature(enable = "avx2,fma")]
    fn across(lanes: __m256) -> f32 {
        let l: [f32; 8] = bytemuck::must_cast(lanes);
        ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: usize = 3;

    /// Numbers without a pattern, between -1 and 1.
    fn noise(seed: usize) -> f32 {
        let mixed = seed.wrapping_mul(0x9e37_79b9).wrapping_add(seed >> 3) % 2_001;
        mixed as f32 / 1_000.0 - 1.0
    }

    fn weights(rows: usize) -> Vec<WeightBlock> {
        let block = |i: usize| WeightBlock {
            scale: noise(i) / 100.0,
            offset: noise(i + 7),
            q: std::array::from_fn(|k| (noise(i * BLOCK + k) * 127.0) as i8),
        };
        (0..rows * BLOCKS).map(block).collect()
    }

    fn inputs(items: usize) -> Vec<[f32; BLOCK]> {
        let block = |i: usize| std::array::from_fn(|k| 4.0 * noise(i * 77 + k * 3));
        (0..items * BLOCKS).map(block).collect()
    }

    fn rounded(inputs: &[[f32; BLOCK]]) -> Vec<ActivationBlock> {
        inputs.iter().map(ActivationBlock::round).collect()
    }

    fn exact(weights: &[WeightBlock], inputs: &[[f32; BLOCK]]) -> f64 {
        let block = |(w, x): (&WeightBlock, &[f32; BLOCK])| -> f64 {
            let weight = |q: &i8| f64::from(w.scale) * f64::from(*q) + f64::from(w.offset);
            let pairs = w.q.iter().zip(x);
            pairs.map(|(q, x)| weight(q) * f64::from(*x)).sum()
        };
        weights.iter().zip(inputs).map(block).sum()
    }

    #[test]
    fn products_are_close_to_exact_ones_on_every_processor() {
        let (weights, inputs) = (weights(1), inputs(1));
        let activations = rounded(&inputs);
        let exact = exact(&weights, &inputs);
        let [fast] = dot(&weights, [&activations]);
        let [portable] = dot_portable(&weights, [&activations]);
        for product in [fast, portable] {
            assert!(
                (f64::from(product) - exact).abs() < 1e-3,
                "{product} {exact}"
            );
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_a_batch() {
        let (rows, items) = (5, 2 * TILE + 3);
        let weights = weights(rows);
        let activations = rounded(&inputs(items));
        let mut batch = vec![0.0; rows * items];
        multiply(&weights, &activations, BLOCKS, &mut batch);
        for item in 0..items {
            let mut alone = vec![0.0; rows];
            let activation = &activations[item * BLOCKS..(item + 1) * BLOCKS];
            multiply(&weights, activation, BLOCKS, &mut alone);
            let column: Vec<f32> = batch[item..].iter().step_by(items).copied().collect();
            assert_eq!(alone, column);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let activations = rounded(&[[0.0; BLOCK]; BLOCKS]);
        assert_eq!(dot(&weights(1), [&activations]), [0.0]);
    }
}
