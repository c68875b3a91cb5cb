//! Decodes tensors into what the forward pass reads: 8-bit blocks for matrices, `f32` for vectors.

use crate::gguf::{Encoding, Gguf, Tensor};
use crate::kernel::{BLOCK, WeightBlock};
use half::f16;

/// What can be wrong with a tensor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    #[error(
        "tensor `{name}` is stored as {encoding}, which is not supported: \
         use a model in F32, F16, Q4_0, Q4_1 or Q8_0"
    )]
    Encoding { name: String, encoding: Encoding },
    #[error("tensor `{name}` is {rows} x {columns}, not {expected}")]
    Shape {
        name: String,
        rows: usize,
        columns: usize,
        expected: String,
    },
    #[error("the file ends within tensor `{0}`: download it again")]
    Truncated(String),
}

/// A matrix of weights; a row gives one output.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    /// Blocks in a row.
    pub(crate) blocks: usize,
    pub(crate) weights: Vec<WeightBlock>,
}

impl Matrix {
    /// The matrices of these names, each with `columns` columns, one below the other.
    pub(crate) fn stacked(
        gguf: &Gguf,
        parts: &[(String, usize)],
        columns: usize,
    ) -> Result<Self, Error> {
        let mut weights = Vec::new();
        for (name, rows) in parts {
            let tensor = gguf.tensor(name)?;
            if (tensor.rows, tensor.columns) != (*rows, columns) || !columns.is_multiple_of(BLOCK) {
                return Err(shape(name, tensor, format!("{rows} x {columns}")));
            }
            decode(name, tensor, &mut weights)?;
        }
        Ok(Self {
            rows: parts.iter().map(|(_, rows)| rows).sum(),
            blocks: columns / BLOCK,
            weights,
        })
    }

    /// Writes the weights of one row as `f32`.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let blocks = &self.weights[row * self.blocks..(row + 1) * self.blocks];
        for (out, block) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks) {
            *out = block.q.map(|q| f32::from(q) * block.scale + block.offset);
        }
    }
}

/// The vector of this name and length.
pub(crate) fn vector(gguf: &Gguf, name: &str, length: usize) -> Result<Vec<f32>, Error> {
    let tensor = gguf.tensor(name)?;
    if (tensor.rows, tensor.columns) != (1, length) {
        return Err(shape(name, tensor, format!("1 x {length}")));
    }
    floats(name, tensor)
}

fn shape(name: &str, tensor: Tensor<'_>, expected: String) -> Error {
    Error::Shape {
        name: name.to_owned(),
        rows: tensor.rows,
        columns: tensor.columns,
        expected,
    }
}

fn decode(name: &str, tensor: Tensor<'_>, out: &mut Vec<WeightBlock>) -> Result<(), Error> {
    let count = tensor.rows * tensor.columns / BLOCK;
    match tensor.encoding {
        Encoding(2) => out.extend(blocks::<18>(name, tensor, count)?.iter().map(q4_0)),
        Encoding(3) => out.extend(blocks::<20>(name, tensor, count)?.iter().map(q4_1)),
        Encoding(8) => out.extend(blocks::<34>(name, tensor, count)?.iter().map(q8_0)),
        _ => {
            let floats = floats(name, tensor)?;
            out.extend(floats.as_chunks::<BLOCK>().0.iter().map(rounded));
        }
    }
    Ok(())
}

fn floats(name: &str, tensor: Tensor<'_>) -> Result<Vec<f32>, Error> {
    let count = tensor.rows * tensor.columns;
    match tensor.encoding {
        Encoding(0) => {
            let values = blocks::<4>(name, tensor, count)?;
            Ok(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
        }
        Encoding(1) => {
            let values = blocks::<2>(name, tensor, count)?;
            Ok(values.iter().map(|b| half(b)).collect())
        }
        encoding => Err(Error::Encoding {
            name: name.to_owned(),
            encoding,
        }),
    }
}

fn blocks<'a, const N: usize>(
    name: &str,
    tensor: Tensor<'a>,
    count: usize,
) -> Result<&'a [[u8; N]], Error> {
    let (blocks, _) = tensor.bytes.as_chunks::<N>();
    blocks
        .get(..count)
        .ok_or_else(|| Error::Truncated(name.to_owned()))
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Byte `i` holds weight `i` in its low half and weight `i + 16` in its high half.
fn nibbles(bytes: &[u8], zero: i8) -> [i8; BLOCK] {
    std::array::from_fn(|i| {
        let byte = bytes[i % 16];
        let nibble = if i < 16 { byte & 15 } else { byte >> 4 };
        nibble.cast_signed() - zero
    })
}

fn q4_0(block: &[u8; 18]) -> WeightBlock {
    WeightBlock {
        scale: half(block),
        offset: 0.0,
        q: nibbles(&block[2..], 8),
    }
}

fn q4_1(block: &[u8; 20]) -> WeightBlock {
    WeightBlock {
        scale: half(block),
        offset: half(&block[2..]),
        q: nibbles(&block[4..], 0),
    }
}

fn q8_0(block: &[u8; 34]) -> WeightBlock {
    WeightBlock {
        scale: half(block),
        offset: 0.0,
        q: std::array::from_fn(|i| block[2 + i].cast_signed()),
    }
}

/// Rounds full weights to eight bits, as Q8_0 does.
fn rounded(values: &[f32; BLOCK]) -> WeightBlock {
    let max = values.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
    let scale = max / 127.0;
    let inverse = if max == 0.0 { 0.0 } else { 127.0 / max };
    WeightBlock {
        scale,
        offset: 0.0,
        q: values.map(|v| (v * inverse).round_ties_even() as i8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: u32, bytes: &[u8]) -> Vec<f32> {
        let tensor = Tensor {
            columns: BLOCK,
            rows: 1,
            encoding: Encoding(encoding),
            bytes,
        };
        let mut weights = Vec::new();
        decode("t", tensor, &mut weights).unwrap();
        let matrix = Matrix {
            rows: 1,
            blocks: 1,
            weights,
        };
        let mut row = vec![0.0; BLOCK];
        matrix.row(0, &mut row);
        row
    }

    fn scaled(scales: &[f32], quants: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = scales
            .iter()
            .flat_map(|s| f16::from_f32(*s).to_le_bytes())
            .collect();
        bytes.extend(quants);
        bytes
    }

    #[test]
    fn quantised_blocks_decode_exactly() {
        let q4_1 = decoded(3, &scaled(&[0.5, -2.0], &[0x1f; 16]));
        assert_eq!((q4_1[0], q4_1[16]), (5.5, -1.5));
        let q4_0 = decoded(2, &scaled(&[0.5], &[0x1f; 16]));
        assert_eq!((q4_0[0], q4_0[16]), (3.5, -3.5));
        let q8_0 = decoded(8, &scaled(&[0.25], &[0xff; 32]));
        assert_eq!(q8_0[31], -0.25);
    }

    #[test]
    fn full_weights_are_rounded_closely() {
        let values: [f32; BLOCK] = std::array::from_fn(|i| (i as f32 - 15.0) / 7.0);
        let row = decoded(0, values.map(f32::to_le_bytes).as_flattened());
        for (value, rounded) in values.iter().zip(row) {
            assert!((value - rounded).abs() < 0.01, "{value} {rounded}");
        }
    }

    #[test]
    fn an_unknown_encoding_is_named() {
        let tensor = Tensor {
            columns: BLOCK,
            rows: 1,
            encoding: Encoding(14),
            bytes: &[],
        };
        let error = decode("blk.0.attn_q.weight", tensor, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("ggml type 14"), "{error}");
    }
}
