//! The language model: a Llama-style transformer with its weights shared by all sequences.

mod attention;
mod cache;
mod forward;

pub(crate) use cache::KvCache;
pub(crate) use forward::Step;

use crate::gguf::Gguf;
use crate::kernel::BLOCK;
use crate::weights::{self, Matrix};

/// Why a file is not a model that runs here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("architecture `{0}` is not supported: use a `llama` model")]
    Architecture(String),
    #[error("the sizes in the metadata do not fit together: {0}")]
    Sizes(String),
}

/// Sizes of the model, in the names of the GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) layers: usize,
    /// Width of the residual stream.
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    /// Key and value heads, each shared by `heads / kv_heads` query heads.
    pub(crate) kv_heads: usize,
    pub(crate) head_width: usize,
    /// Tokens the model was trained to attend to.
    pub(crate) context: usize,
    rope_base: f32,
    epsilon: f32,
}

impl Config {
    fn read(gguf: &Gguf) -> Result<Self, Error> {
        let architecture = gguf.text("general.architecture")?;
        if architecture != "llama" {
            return Err(Error::Architecture(architecture.to_owned()));
        }
        let width = gguf.number("llama.embedding_length")?;
        let heads = gguf.number("llama.attention.head_count")?;
        let config = Self {
            layers: gguf.number("llama.block_count")?,
            width,
            hidden: gguf.number("llama.feed_forward_length")?,
            heads,
            kv_heads: gguf
                .number("llama.attention.head_count_kv")
                .unwrap_or(heads),
            head_width: width.checked_div(heads).unwrap_or(0),
            context: gguf.number("llama.context_length")?,
            rope_base: gguf.float("llama.rope.freq_base").unwrap_or(10_000.0),
            epsilon: gguf.float("llama.attention.layer_norm_rms_epsilon")?,
        };
        let rope = gguf.number("llama.rope.dimension_count");
        let rope_fits = rope.map_or(true, |n| n == config.head_width);
        if config.fits() && rope_fits {
            Ok(config)
        } else {
            Err(Error::Sizes(format!("{config:?}")))
        }
    }

    fn fits(&self) -> bool {
        self.layers > 0
            && self.context > 0
            && self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head_width > 0
            && self.head_width.is_multiple_of(attention::LANES)
            && self.heads * self.head_width == self.width
            && self.width.is_multiple_of(BLOCK)
            && self.hidden > 0
            && self.hidden.is_multiple_of(BLOCK)
    }

    /// Numbers in the keys, and in the values, of one position.
    pub(crate) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_width
    }
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    /// Query, key and value projections, stacked.
    qkv: Matrix,
    attention_output: Matrix,
    feed_forward_norm: Vec<f32>,
    /// Gate and up projections, stacked.
    gate_up: Matrix,
    down: Matrix,
}

/// A loaded model; [`Model::forward`] runs it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// Absent when the embedding serves as output, too.
    output: Option<Matrix>,
}

impl Model {
    /// Decodes the weights; `vocabulary` is the number of tokens that the tokenizer knows.
    pub(crate) fn load(gguf: &Gguf, vocabulary: usize) -> Result<Self, Error> {
        let config = Config::read(gguf)?;
        let matrix =
            |name: &str| Matrix::stacked(gguf, &[(name.to_owned(), vocabulary)], config.width);
        Ok(Self {
            embedding: matrix("token_embd.weight")?,
            output: gguf
                .has_tensor("output.weight")
                .then(|| matrix("output.weight"))
                .transpose()?,
            norm: weights::vector(gguf, "output_norm.weight", config.width)?,
            layers: (0..config.layers)
                .map(|i| Layer::load(gguf, &config, i))
                .collect::<Result<_, _>>()?,
            config,
        })
    }
}

impl Layer {
    fn load(gguf: &Gguf, config: &Config, index: usize) -> Result<Self, weights::Error> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (width, hidden, kv) = (config.width, config.hidden, config.kv_width());
        let stacked = |parts: &[(&str, usize)], columns| {
            let parts: Vec<_> = parts.iter().map(|(p, rows)| (name(p), *rows)).collect();
            Matrix::stacked(gguf, &parts, columns)
        };
        Ok(Self {
            attention_norm: weights::vector(gguf, &name("attn_norm"), width)?,
            qkv: stacked(&[("attn_q", width), ("attn_k", kv), ("attn_v", kv)], width)?,
            attention_output: stacked(&[("attn_output", width)], width)?,
            feed_forward_norm: weights::vector(gguf, &name("ffn_norm"), width)?,
            gate_up: stacked(&[("ffn_gate", hidden), ("ffn_up", hidden)], width)?,
            down: stacked(&[("ffn_down", width)], hidden)?,
        })
    }
}
