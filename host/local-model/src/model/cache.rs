//! The keys and values of one sequence.

use super::Config;

/// Keys and values of the positions that a sequence has passed, by layer.
///
/// It grows with the sequence, so a short answer costs little memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct KvCache {
    layers: Vec<LayerCache>,
}

/// Keys and values of one layer: a row for each position, heads side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerCache {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl KvCache {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            layers: vec![LayerCache::default(); config.layers],
        }
    }

    /// A copy of the first `positions`: what a sequence with the same beginning starts from.
    pub(crate) fn prefix(&self, config: &Config, positions: usize) -> Self {
        let length = positions * config.kv_width();
        let layers = self.layers.iter().map(|layer| LayerCache {
            keys: layer.keys[..length].to_vec(),
            values: layer.values[..length].to_vec(),
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// Positions held.
    pub(crate) fn positions(&self, config: &Config) -> usize {
        self.layers
            .first()
            .map_or(0, |layer| layer.keys.len() / config.kv_width())
    }

    pub(super) fn layer(&self, index: usize) -> &LayerCache {
        &self.layers[index]
    }

    pub(super) fn push(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        self.layers[layer].keys.extend_from_slice(keys);
        self.layers[layer].values.extend_from_slice(values);
    }
}
