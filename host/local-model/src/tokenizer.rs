//! Byte-level byte-pair encoding, from the vocabulary in the model's own file.
//!
//! The algorithm is that of GPT-2; the `smollm` variant sets every digit apart first. Merging keeps
//! the candidates in a heap, so a text of a million equal letters takes no longer than prose.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use regex::Regex;

use crate::gguf::Gguf;

/// The control tokens' kind in `tokenizer.ggml.token_type`.
const CONTROL: usize = 3;

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    #[error(
        "tokenizer `{model}` with pre-tokenizer `{pre}` is not supported: only gpt2 with smollm is"
    )]
    Unsupported { model: String, pre: String },
    #[error("the vocabulary lacks the token `{0}`")]
    NoToken(String),
    #[error("the vocabulary has {tokens} tokens but {kinds} token types")]
    Kinds { tokens: usize, kinds: usize },
    #[error("the pattern that splits words is wrong")]
    Pattern(#[from] regex::Error),
}

/// Turns text into tokens and tokens into bytes.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    /// The bytes of each token.
    pieces: Vec<Vec<u8>>,
    /// The token of each single byte; the unknown token where there is none.
    bytes: [u32; 256],
    /// Adjacent tokens, how early they merge, and into what.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Control tokens such as `<|im_end|>`, by their text.
    control: HashMap<String, u32>,
    control_pattern: Regex,
    word: Regex,
    /// The token that ends an answer.
    pub(crate) end: u32,
}

impl Tokenizer {
    pub(crate) fn load(gguf: &Gguf) -> Result<Self, Error> {
        let model = gguf.text("tokenizer.ggml.model")?;
        let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
        if (model, pre) != ("gpt2", "smollm") {
            return Err(Error::Unsupported {
                model: model.to_owned(),
                pre: pre.to_owned(),
            });
        }
        Self::new(
            &gguf.texts("tokenizer.ggml.tokens")?,
            &gguf.numbers("tokenizer.ggml.token_type")?,
            &gguf.texts("tokenizer.ggml.merges")?,
            gguf.number("tokenizer.ggml.eos_token_id")? as u32,
        )
    }

    fn new(tokens: &[&str], kinds: &[usize], merges: &[&str], end: u32) -> Result<Self, Error> {
        if tokens.len() != kinds.len() {
            return Err(Error::Kinds {
                tokens: tokens.len(),
                kinds: kinds.len(),
            });
        }
        let ids: HashMap<&str, u32> = (0..).zip(tokens).map(|(id, token)| (*token, id)).collect();
        let id = |token: &str| {
            let missing = || Error::NoToken(token.to_owned());
            ids.get(token).copied().ok_or_else(missing)
        };
        let alphabet = alphabet();
        let from_alphabet: HashMap<char, u8> =
            (0..=255).map(|b| (alphabet[usize::from(b)], b)).collect();
        let control: HashMap<String, u32> = tokens
            .iter()
            .zip(kinds)
            .filter(|(_, kind)| **kind == CONTROL)
            .map(|(token, _)| Ok(((*token).to_owned(), id(token)?)))
            .collect::<Result<_, Error>>()?;
        let pieces = tokens.iter().zip(kinds).map(|(token, kind)| {
            if *kind == CONTROL {
                return token.as_bytes().to_vec();
            }
            token
                .chars()
                .filter_map(|c| from_alphabet.get(&c))
                .copied()
                .collect()
        });
        let mut ranked = HashMap::new();
        for (rank, merge) in (0..).zip(merges) {
            let Some((left, right)) = merge.split_once(' ') else {
                return Err(Error::NoToken((*merge).to_owned()));
            };
            let merged = id(&format!("{left}{right}"))?;
            ranked
                .entry((id(left)?, id(right)?))
                .or_insert((rank, merged));
        }
        let mut names: Vec<_> = control.keys().map(|name| regex::escape(name)).collect();
        names.sort_by_key(|name| Reverse(name.len()));
        // An empty alternation would match everywhere; `[^\s\S]` matches nowhere.
        let names = if names.is_empty() {
            r"[^\s\S]".to_owned()
        } else {
            names.join("|")
        };
        Ok(Self {
            pieces: pieces.collect(),
            bytes: alphabet.map(|c| id(c.encode_utf8(&mut [0; 4])).unwrap_or(0)),
            merges: ranked,
            control,
            control_pattern: Regex::new(&names)?,
            // Without GPT-2's look-ahead for spaces, which `words` does.
            word: Regex::new(r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")?,
            end,
        })
    }

    /// Tokens in the vocabulary.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The tokens of a text, in which the names of control tokens stand for those.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut plain = 0;
        for name in self.control_pattern.find_iter(text) {
            self.encode_plain(&text[plain..name.start()], &mut tokens);
            tokens.extend(self.control.get(name.as_str()));
            plain = name.end();
        }
        self.encode_plain(&text[plain..], &mut tokens);
        tokens
    }

    /// The bytes of a token: not always whole characters.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether the token ends an answer: the end of the turn, or any other control token.
    pub(crate) fn ends(&self, token: u32) -> bool {
        token == self.end || self.control.values().any(|control| *control == token)
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) {
        for word in self.words(text) {
            let bytes = word.bytes().map(|byte| self.bytes[usize::from(byte)]);
            merge(bytes.collect(), &self.merges, tokens);
        }
    }

    /// The words of a text: a space belongs to the word after it, a digit stands alone.
    fn words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut words = Vec::new();
        let mut at = 0;
        while let Some(found) = self.word.find_at(text, at) {
            let word = found.as_str();
            let mut end = found.end();
            let last = word.char_indices().next_back().map_or(0, |(i, _)| i);
            // GPT-2's `\s+(?!\S)`: the last of several spaces goes to a word that follows; a digit
            // was set apart before, so nothing follows here.
            let follows = text[end..].chars().next().is_some_and(|c| !c.is_numeric());
            if word.starts_with(char::is_whitespace)
                && word.trim().is_empty()
                && last > 0
                && follows
            {
                end = found.start() + last;
            }
            words.push(&text[found.start()..end]);
            at = end;
        }
        words
    }
}

/// Merges adjacent tokens of a word, the earliest learnt pair first and the leftmost of equals.
fn merge(mut word: Vec<u32>, merges: &HashMap<(u32, u32), (u32, u32)>, tokens: &mut Vec<u32>) {
    const GONE: u32 = u32::MAX;
    let length = word.len();
    let mut next: Vec<usize> = (1..=length).collect();
    let mut previous: Vec<usize> = (0..length).map(|i| i.wrapping_sub(1)).collect();
    let mut candidates = BinaryHeap::new();
    let candidate = |word: &[u32], left: usize, right: usize| {
        let pair = (*word.get(left)?, *word.get(right)?);
        let (rank, _) = merges.get(&pair)?;
        Some(Reverse((*rank, left, right, pair)))
    };
    candidates.extend((1..length).filter_map(|right| candidate(&word, right - 1, right)));
    while let Some(Reverse((_, left, right, pair))) = candidates.pop() {
        // A candidate is stale when one of its tokens has merged since.
        if (word[left], word[right]) != pair || next[left] != right {
            continue;
        }
        word[left] = merges[&pair].1;
        word[right] = GONE;
        next[left] = next[right];
        if let Some(previous) = previous.get_mut(next[right]) {
            *previous = left;
        }
        candidates.extend(candidate(&word, previous[left], left));
        candidates.extend(candidate(&word, left, next[left]));
    }
    tokens.extend(word.into_iter().filter(|token| *token != GONE));
}

/// The character that stands for each byte in a byte-level vocabulary: itself if it prints.
fn alphabet() -> [char; 256] {
    let mut others = (256..).filter_map(char::from_u32);
    std::array::from_fn(|byte| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte as u8),
        _ => others.next().unwrap_or_default(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tokenizer of all single bytes, a few merges and two control tokens.
    pub(crate) fn small() -> Tokenizer {
        let mut tokens: Vec<String> = vec!["<|im_start|>".into(), "<|im_end|>".into()];
        tokens.extend(alphabet().map(String::from));
        let merges = ["l l", "h e", "ll o", "Ġ he", "he llo", "Ġhe llo"];
        tokens.extend(merges.map(|m| m.replace(' ', "")));
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let mut kinds = vec![1; tokens.len()];
        kinds[..2].fill(CONTROL);
        Tokenizer::new(&tokens, &kinds, &merges, 1).unwrap()
    }

    fn pieces(text: &str) -> Vec<String> {
        let tokenizer = small();
        let tokens = tokenizer.encode(text);
        let text = |token: &u32| String::from_utf8_lossy(tokenizer.bytes(*token)).into_owned();
        tokens.iter().map(text).collect()
    }

    #[test]
    fn pairs_merge_in_the_order_they_were_learnt() {
        assert_eq!(pieces("hello hello"), ["hello", " hello"]);
        assert_eq!(pieces("hellll"), ["he", "ll", "ll"]);
    }

    #[test]
    fn control_tokens_are_recognised_in_the_text() {
        let tokens = small().encode("<|im_start|>he<|im_end|>");
        assert_eq!((tokens[0], tokens[2]), (0, 1));
        assert_eq!(tokens.len(), 3);
        assert!(small().ends(0) && small().ends(1) && !small().ends(tokens[1]));
    }

    #[test]
    fn every_text_comes_back_from_its_tokens() {
        let tokenizer = small();
        for text in [
            "",
            "hello, wörld 42\n\n  indented\t",
            "日本語 🦀🦀 naïve",
            "  ",
            "a'll  b",
        ] {
            let bytes: Vec<u8> = tokenizer
                .encode(text)
                .iter()
                .flat_map(|token| tokenizer.bytes(*token).to_vec())
                .collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }

    #[test]
    fn words_split_as_in_gpt2_with_digits_apart() {
        let tokenizer = small();
        assert_eq!(
            tokenizer.words("I'll pay  $12 for\n\n it  "),
            [
                "I", "'ll", " pay", " ", " $", "1", "2", " for", "\n\n", " it", "  "
            ]
        );
        assert_eq!(tokenizer.words("a  7"), ["a", "  ", "7"]);
    }

    #[test]
    fn a_long_word_does_not_take_quadratic_time() {
        let tokens = small().encode(&"l".repeat(300_000));
        assert_eq!(tokens.len(), 150_000);
    }
}
