//! Server-sent events (WHATWG HTML, section 9.2.6), as far as model servers use them: only the data
//! of each event matters.

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts a stream of bytes into events, wherever the bytes were split.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
    /// Where the first line that was not yet taken starts in the buffer.
    line_start: usize,
    /// Up to where that line is known to have no end.
    scanned: usize,
    /// The data of the event that is being read.
    data: Vec<u8>,
    has_data: bool,
    /// The data was handed out: the next event starts afresh.
    dispatched: bool,
    /// The last line ended in a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    past_first_line: bool,
}

impl Events {
    /// Adds the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.line_start);
        self.scanned -= self.line_start;
        self.line_start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next complete event. An event that the stream never completes is none.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if std::mem::take(&mut self.dispatched) {
            self.data.clear();
            self.has_data = false;
        }
        loop {
            if self.after_return && self.scanned < self.buffer.len() {
                self.after_return = false;
                if self.buffer[self.scanned] == b'\n' {
                    self.scanned += 1;
                    self.line_start = self.scanned;
                }
            }
            let unseen = &self.buffer[self.scanned..];
            let Some(length) = unseen
                .iter()
                .position(|&byte| matches!(byte, b'\n' | b'\r'))
            else {
                self.scanned = self.buffer.len();
                return None;
            };
            let end = self.scanned + length;
            let mut line = &self.buffer[self.line_start..end];
            self.after_return = self.buffer[end] == b'\r';
            self.line_start = end + 1;
            self.scanned = end + 1;
            if !std::mem::replace(&mut self.past_first_line, true) {
                line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            }
            if line.is_empty() {
                if self.has_data {
                    self.dispatched = true;
                    return Some(&self.data);
                }
            } else if let Some(value) = data_of(line) {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
        }
    }
}

/// The value of a `data` field; every other field, and a comment, is `None`.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in pieces {
            events.push(piece);
            while let Some(data) = events.next() {
                all.push(String::from_utf8(data.to_vec()).unwrap());
            }
        }
        all
    }

    const STREAM: &str = "\u{feff}data: {\"a\":\"é🦀\"}\n\n: comment\r\n\r\nevent: x\r\ndata:one\r\n\
        data: two\r\ndata\r\nid: 3\r\n\r\ndata:  spaced\r\rdatabase: no\n\ndata: [DONE]\n\ndata: cut off\n";

    #[test]
    fn a_stream_gives_the_same_events_however_it_is_split() {
        let expected = ["{\"a\":\"é🦀\"}", "one\ntwo\n", " spaced", "[DONE]"];
        let bytes = STREAM.as_bytes();
        assert_eq!(read(&[bytes]), expected);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read(&pieces), expected, "split at {first} and {second}");
            }
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected);
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(read(&[b"\n\n\r\n: keep-alive\n\nevent: ping\n\n"]), [""; 0]);
        assert_eq!(read(&[b"data\n\ndata:\n\n"]), ["", ""]);
    }

    #[test]
    fn memory_is_given_back_after_each_event() {
        let mut events = Events::default();
        for _ in 0..1000 {
            events.push(b"data: 0123456789\n\nda");
            assert!(events.next().is_some());
            assert!(events.next().is_none());
            events.push(b"ta: x\n\n");
            assert!(events.next().is_some());
        }
        assert!(
            events.buffer.capacity() < 256,
            "{}",
            events.buffer.capacity()
        );
    }
}
