//! One pass through the model for the next tokens of many sequences.
//!
//! A token is a row; the rows of all sequences go through each matrix together, so its weights are
//! read once a step. Rows never mix but through a sequence's own cache, and each is summed in an
//! order of its own: what runs beside a sequence does not change its numbers.

use rayon::prelude::*;

use super::attention::{Rotation, attend};
use super::{KvCache, Layer, Model};
use crate::kernel::{self, ActivationBlock, BLOCK};
use crate::weights::Matrix;

/// Weight rows in one piece of work for a thread.
const PIECE: usize = 64;

/// The next tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// What the sequence has seen; the pass appends to it.
    pub(crate) cache: &'a mut KvCache,
    pub(crate) tokens: &'a [u32],
    /// Whether the logits after the last of the tokens are wanted.
    pub(crate) wants_logits: bool,
}

/// Where a row's token stands.
#[derive(Debug)]
struct Place {
    step: usize,
    position: usize,
    rotation: Rotation,
}

impl Model {
    /// Runs the tokens of every step; gives the logits of each step that wants them, in order.
    pub(crate) fn forward(&self, steps: &mut [Step<'_>]) -> Vec<Vec<f32>> {
        let places = self.places(steps);
        let width = self.config.width;
        let mut stream = vec![0.0; places.len() * width];
        let tokens = steps.iter().flat_map(|step| step.tokens);
        for (row, token) in stream.chunks_exact_mut(width).zip(tokens) {
            self.embedding.row(*token as usize, row);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(index, layer, &places, steps, &mut stream);
            self.feed_forward(layer, &mut stream);
        }
        self.logits(steps, &stream)
    }

    fn places(&self, steps: &[Step<'_>]) -> Vec<Place> {
        let mut places = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let first = step.cache.positions(&self.config);
            places.extend((first..first + step.tokens.len()).map(|position| Place {
                step: index,
                position,
                rotation: Rotation::at(&self.config, position),
            }));
        }
        places
    }

    fn attention(
        &self,
        index: usize,
        layer: &Layer,
        places: &[Place],
        steps: &mut [Step<'_>],
        stream: &mut [f32],
    ) {
        let config = &self.config;
        let (width, kv) = (config.width, config.kv_width());
        let mut qkv = self.normed(stream, &layer.attention_norm, &layer.qkv);
        for (row, place) in qkv.chunks_exact_mut(width + 2 * kv).zip(places) {
            let (rotated, values) = row.split_at_mut(width + kv);
            place.rotation.apply(rotated);
            let cache = &mut steps[place.step].cache;
            cache.push(index, &rotated[width..], values);
        }
        let steps = &*steps;
        let group = width / config.kv_heads;
        let mut mixed = vec![0.0; places.len() * width];
        mixed
            .par_chunks_exact_mut(group)
            .enumerate()
            .for_each(|(i, out)| {
                let (row, kv_head) = (i / config.kv_heads, i % config.kv_heads);
                let place = &places[row];
                let queries = row * (width + 2 * kv) + kv_head * group;
                attend(
                    config,
                    steps[place.step].cache.layer(index),
                    kv_head,
                    place.position + 1,
                    &qkv[queries..queries + group],
                    out,
                );
            });
        add(stream, &multiply(&layer.attention_output, &mixed));
    }

    fn feed_forward(&self, layer: &Layer, stream: &mut [f32]) {
        let hidden = self.config.hidden;
        let mut gate_up = self.normed(stream, &layer.feed_forward_norm, &layer.gate_up);
        let mut gated = vec![0.0; gate_up.len() / 2];
        gated
            .par_chunks_exact_mut(hidden)
            .zip(gate_up.par_chunks_exact_mut(2 * hidden))
            .for_each(|(gated, gate_up)| {
                let (gate, up) = gate_up.split_at(hidden);
                for ((out, gate), up) in gated.iter_mut().zip(gate).zip(up) {
                    *out = gate / (1.0 + (-gate).exp()) * up;
                }
            });
        add(stream, &multiply(&layer.down, &gated));
    }

    fn logits(&self, steps: &[Step<'_>], stream: &[f32]) -> Vec<Vec<f32>> {
        let width = self.config.width;
        let mut last = Vec::new();
        let mut end = 0;
        for step in steps {
            end += step.tokens.len() * width;
            if step.wants_logits {
                last.extend_from_slice(&stream[end - width..end]);
            }
        }
        if last.is_empty() {
            return Vec::new();
        }
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let logits = self.normed(&last, &self.norm, output);
        logits
            .chunks_exact(output.rows)
            .map(<[f32]>::to_vec)
            .collect()
    }

    /// The products of a matrix with the normalised rows of `stream`.
    fn normed(&self, stream: &[f32], norm: &[f32], matrix: &Matrix) -> Vec<f32> {
        let mut rows = stream.to_vec();
        for row in rows.chunks_exact_mut(norm.len()) {
            let squares: f32 = row.iter().map(|x| x * x).sum();
            let scale = 1.0 / (squares / row.len() as f32 + self.config.epsilon).sqrt();
            for (x, weight) in row.iter_mut().zip(norm) {
                *x *= scale * weight;
            }
        }
        multiply(matrix, &rows)
    }
}

/// The products of a matrix with rows of activations: a row of outputs for each.
fn multiply(matrix: &Matrix, rows: &[f32]) -> Vec<f32> {
    let activations: Vec<ActivationBlock> = rows
        .par_chunks(BLOCK * matrix.blocks)
        .flat_map_iter(|row| {
            row.as_chunks::<BLOCK>()
                .0
                .iter()
                .map(ActivationBlock::round)
        })
        .collect();
    let batch = activations.len() / matrix.blocks;
    // A thread writes a run of weight rows for the whole batch.
    let mut by_weight_row = vec![0.0; matrix.rows * batch];
    by_weight_row
        .par_chunks_mut(PIECE * batch)
        .zip(matrix.weights.par_chunks(PIECE * matrix.blocks))
        .for_each(|(out, weights)| {
            kernel::multiply(weights, &activations, matrix.blocks, out);
        });
    if batch == 1 {
        return by_weight_row;
    }
    let mut by_item = vec![0.0; matrix.rows * batch];
    by_item
        .par_chunks_exact_mut(matrix.rows)
        .enumerate()
        .for_each(|(item, out)| {
            let column = by_weight_row[item..].iter().step_by(batch);
            for (out, x) in out.iter_mut().zip(column) {
                *out = *x;
            }
        });
    by_item
}

fn add(stream: &mut [f32], update: &[f32]) {
    for (x, update) in stream.iter_mut().zip(update) {
        *x += update;
    }
}
