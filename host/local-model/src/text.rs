//! Turns the bytes of tokens into text to show: whole characters, nothing of a stop sequence.

/// What can be shown after another token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Whether a stop sequence is complete; nothing follows then.
    pub(crate) stopped: bool,
}

/// The end of an answer that is not shown yet.
#[derive(Debug)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// What may become a stop sequence.
    held: String,
}

impl TextStream {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            bytes: Vec::new(),
            held: String::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Shown {
        self.bytes.extend_from_slice(bytes);
        self.decode();
        if let Some(start) = self.stops.iter().filter_map(|s| self.held.find(s)).min() {
            self.held.truncate(start);
            return Shown {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let held = self.stops.iter().map(|stop| begun(&self.held, stop));
        let keep = held.max().unwrap_or(0);
        let kept = self.held.split_off(self.held.len() - keep);
        Shown {
            text: std::mem::replace(&mut self.held, kept),
            stopped: false,
        }
    }

    /// What is left when no token follows.
    pub(crate) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.bytes);
        self.held.push_str(&String::from_utf8_lossy(&rest));
        std::mem::take(&mut self.held)
    }

    /// Moves whole characters to the held text; bytes that are none become U+FFFD.
    fn decode(&mut self) {
        let mut decoded = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            decoded += chunk.valid().len();
            let invalid = chunk.invalid();
            let unfinished = decoded + invalid.len() == self.bytes.len()
                && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if invalid.is_empty() || unfinished {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            decoded += invalid.len();
        }
        self.bytes.drain(..decoded);
    }
}

/// Bytes at the end of `text` that begin `stop`.
fn begun(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(length, _)| length);
    lengths
        .filter(|length| text.ends_with(&stop[..*length]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(stops.iter().map(|stop| (*stop).to_owned()).collect())
    }

    fn shown(text: &str) -> Shown {
        Shown {
            text: text.to_owned(),
            stopped: false,
        }
    }

    #[test]
    fn a_character_is_shown_when_its_last_byte_is_there() {
        let mut stream = stream(&[]);
        let crab = "a🦀".as_bytes();
        assert_eq!(stream.push(&crab[..2]), shown("a"));
        assert_eq!(stream.push(&crab[2..4]), shown(""));
        assert_eq!(stream.push(&crab[4..]), shown("🦀"));
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced() {
        let mut stream = stream(&[]);
        assert_eq!(stream.push(b"a\xffb"), shown("a\u{fffd}b"));
        assert_eq!(stream.push(b"\xf0\x9f"), shown(""));
        assert_eq!(stream.push(b"c"), shown("\u{fffd}c"));
        assert_eq!(stream.push(b"\xc3"), shown(""));
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_sequence_across_tokens_is_never_shown() {
        let mut stream = stream(&["\n\nQ:"]);
        assert_eq!(stream.push(b"four\n"), shown("four"));
        assert_eq!(stream.push(b"\n"), shown(""));
        let last = stream.push(b"Q: next");
        assert_eq!(last.text, "");
        assert!(last.stopped);
    }

    #[test]
    fn text_that_only_began_a_stop_sequence_is_shown_later() {
        let mut stream = stream(&["END", "ENOUGH"]);
        assert_eq!(stream.push(b"the EN"), shown("the "));
        assert_eq!(stream.push(b"EN"), shown("EN"));
        assert_eq!(stream.push(b"T"), shown("ENT"));
        assert_eq!(stream.push(b"E"), shown(""));
        assert_eq!(stream.finish(), "E");
    }

    #[test]
    fn the_earliest_stop_sequence_wins_and_the_text_before_is_kept() {
        let mut stream = stream(&["c", "b"]);
        let last = stream.push(b"abc");
        assert_eq!(last.text, "a");
        assert!(last.stopped);
    }
}
