//! Reads the GGUF container: metadata and the table of tensors.
//!
//! The format is <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// What can be wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the model file")]
    Io(#[from] std::io::Error),
    #[error("not a GGUF file: the first bytes are not `GGUF`")]
    Magic,
    #[error("GGUF version {0} is not supported: convert the model to version 2 or 3")]
    Version(u32),
    #[error("the file ends early, at byte {0}: download it again")]
    Truncated(usize),
    #[error("{what} {value} at byte {at} makes no sense")]
    Malformed {
        what: &'static str,
        value: u64,
        at: usize,
    },
    #[error("the metadata have no {expected} `{key}`")]
    Metadata { key: String, expected: &'static str },
    #[error("the model has no tensor `{0}`")]
    NoTensor(String),
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

/// How a tensor's numbers are stored; the discriminants are those of `ggml_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding(pub(crate) u32);

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ggml type {}", self.0)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    shape: Vec<usize>,
    encoding: Encoding,
    offset: usize,
}

/// A tensor as it lies in the file, to be decoded by [`crate::weights`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tensor<'a> {
    /// Numbers in a row.
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) encoding: Encoding,
    /// From the tensor's first byte to the end of the file.
    pub(crate) bytes: &'a [u8],
}

/// A GGUF file in memory.
#[derive(Debug)]
pub(crate) struct Gguf {
    bytes: Vec<u8>,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Entry>,
    data: usize,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::parse(std::fs::read(path)?)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let mut cursor = Cursor {
            bytes: &bytes,
            at: 0,
        };
        if cursor.take(4)? != b"GGUF" {
            return Err(Error::Magic);
        }
        let version = cursor.u32()?;
        if !(2..=3).contains(&version) {
            return Err(Error::Version(version));
        }
        let tensor_count = cursor.u64()?;
        let metadata_count = cursor.u64()?;
        let mut metadata = HashMap::new();
        for _ in 0..metadata_count {
            let key = cursor.text()?;
            let kind = cursor.u32()?;
            metadata.insert(key, cursor.value(kind)?);
        }
        let mut tensors = HashMap::new();
        for _ in 0..tensor_count {
            let (name, entry) = cursor.entry()?;
            tensors.insert(name, entry);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Unsigned(n)) if n.is_power_of_two() => *n as usize,
            _ => 32,
        };
        let data = cursor.at.next_multiple_of(alignment);
        Ok(Self {
            bytes,
            metadata,
            tensors,
            data,
        })
    }

    /// The tensor of this name, of one or two dimensions.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor<'_>, Error> {
        let missing = || Error::NoTensor(name.to_owned());
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let start = self.data.saturating_add(entry.offset);
        Ok(Tensor {
            columns: entry.shape.first().copied().unwrap_or(1),
            rows: entry.shape.iter().skip(1).product(),
            encoding: entry.encoding,
            bytes: self.bytes.get(start..).ok_or(Error::Truncated(start))?,
        })
    }

    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, Error> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(wrong(key, "text")),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Result<usize, Error> {
        match self.metadata.get(key) {
            Some(value) => value.unsigned(),
            None => None,
        }
        .ok_or_else(|| wrong(key, "whole number"))
    }

    pub(crate) fn float(&self, key: &str) -> Result<f32, Error> {
        match self.metadata.get(key) {
            Some(Value::Float(x)) => Ok(*x as f32),
            _ => Err(wrong(key, "number")),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, Error> {
        self.array(key, "list of texts", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<usize>, Error> {
        self.array(key, "list of whole numbers", Value::unsigned)
    }

    fn array<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        item: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        match self.metadata.get(key) {
            Some(Value::Array(values)) => values.iter().map(item).collect(),
            _ => None,
        }
        .ok_or_else(|| wrong(key, expected))
    }
}

impl Value {
    fn unsigned(&self) -> Option<usize> {
        match self {
            Self::Unsigned(n) => usize::try_from(*n).ok(),
            Self::Signed(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }
}

fn wrong(key: &str, expected: &'static str) -> Error {
    Error::Metadata {
        key: key.to_owned(),
        expected,
    }
}

/// Reads little-endian values one after the other.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let end = self.at.saturating_add(length);
        let slice = self
            .bytes
            .get(self.at..end)
            .ok_or(Error::Truncated(self.bytes.len()))?;
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, Error> {
        let at = self.at;
        let value = self.u64()?;
        usize::try_from(value).map_err(|_| Error::Malformed {
            what: "length",
            value,
            at,
        })
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = self.length()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32) -> Result<Value, Error> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => self.list()?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.malformed("value type", other.into())),
        })
    }

    fn list(&mut self) -> Result<Value, Error> {
        let kind = self.u32()?;
        if kind == 9 {
            return Err(self.malformed("nested list of type", kind.into()));
        }
        let length = self.length()?;
        (0..length)
            .map(|_| self.value(kind))
            .collect::<Result<_, _>>()
            .map(Value::Array)
    }

    fn entry(&mut self) -> Result<(String, Entry), Error> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > 4 {
            return Err(self.malformed("number of dimensions", dimensions.into()));
        }
        let shape = (0..dimensions)
            .map(|_| self.length())
            .collect::<Result<_, _>>()?;
        let entry = Entry {
            shape,
            encoding: Encoding(self.u32()?),
            offset: self.length()?,
        };
        Ok((name, entry))
    }

    fn malformed(&self, what: &'static str, value: u64) -> Error {
        Error::Malformed {
            what,
            value,
            at: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    fn sample() -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        text(&mut bytes, "general.architecture");
        bytes.extend(8_u32.to_le_bytes());
        text(&mut bytes, "llama");
        text(&mut bytes, "sizes");
        for word in [9_u32, 4] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend([7_u32, 8].map(u32::to_le_bytes).as_flattened());
        text(&mut bytes, "norm");
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend([1_f32, 2.0, 3.0].map(f32::to_le_bytes).as_flattened());
        bytes
    }

    #[test]
    fn metadata_and_tensors_are_read() {
        let gguf = Gguf::parse(sample()).unwrap();
        assert_eq!(gguf.text("general.architecture").unwrap(), "llama");
        assert_eq!(gguf.numbers("sizes").unwrap(), [7, 8]);
        let tensor = gguf.tensor("norm").unwrap();
        assert_eq!((tensor.columns, tensor.rows), (3, 1));
        assert_eq!(tensor.bytes[..4], 1_f32.to_le_bytes());
    }

    #[test]
    fn a_missing_key_is_named() {
        let gguf = Gguf::parse(sample()).unwrap();
        assert_eq!(
            gguf.number("llama.block_count").unwrap_err().to_string(),
            "the metadata have no whole number `llama.block_count`"
        );
    }

    #[test]
    fn a_cut_file_is_an_error_at_every_length() {
        let bytes = sample();
        for length in 0..bytes.len() - 16 {
            if let Ok(gguf) = Gguf::parse(bytes[..length].to_vec()) {
                assert!(length >= bytes.len() - 44, "{length}");
                drop(gguf);
            }
        }
    }

    #[test]
    fn another_format_is_refused() {
        assert!(matches!(
            Gguf::parse(b"PK\x03\x04 and so on".to_vec()),
            Err(Error::Magic)
        ));
    }
}
