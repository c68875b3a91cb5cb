//! The bytes of an answer, and when they are sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future as _;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::behaviour::Endless;
use super::gate::Held;
use super::record::Open;

/// A piece of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) wait: Duration,
    pub(super) bytes: Vec<u8>,
    pub(super) tokens: u32,
}

/// The body of an answer, which records how far it was sent.
#[derive(Debug)]
pub(super) struct Answer {
    pieces: VecDeque<Piece>,
    waiting: Option<Pin<Box<Sleep>>>,
    held: Option<Held>,
    length: Option<u64>,
    then_silence: bool,
    /// What is sent again and again behind the pieces, with its tokens.
    then_again: Option<(Bytes, u32)>,
    open: Option<Open>,
}

impl Answer {
    /// An answer in one piece.
    pub(super) fn whole(bytes: Vec<u8>, tokens: u32, open: Option<Open>) -> Self {
        let length = bytes.len() as u64;
        let piece = Piece {
            wait: Duration::ZERO,
            bytes,
            tokens,
        };
        Self {
            length: Some(length),
            ..Self::streamed(vec![piece], false, open)
        }
    }

    /// An answer in pieces, with silence instead of its end where that is asked for. Pieces without
    /// a wait are sent together.
    pub(super) fn streamed(pieces: Vec<Piece>, then_silence: bool, open: Option<Open>) -> Self {
        let mut joined: VecDeque<Piece> = VecDeque::with_capacity(1);
        for piece in pieces {
            match joined.back_mut() {
                Some(last) if piece.wait.is_zero() => {
                    last.bytes.extend_from_slice(&piece.bytes);
                    last.tokens += piece.tokens;
                }
                _ => joined.push_back(piece),
            }
        }
        Self {
            pieces: joined,
            waiting: None,
            held: None,
            length: None,
            then_silence,
            then_again: None,
            open,
        }
    }

    /// An answer that goes on for as long as it is read.
    pub(super) fn endless(start: Vec<u8>, again: (Bytes, u32), open: Open) -> Self {
        let start = Piece {
            wait: Duration::ZERO,
            bytes: start,
            tokens: 0,
        };
        Self {
            then_again: Some(again),
            ..Self::streamed(vec![start], true, Some(open))
        }
    }

    /// The same, behind what is held.
    pub(super) fn behind(self, held: Option<Held>) -> Self {
        Self { held, ..self }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(held) = &mut self.held {
            if ready!(held.poll_sign_of_life(cx)).is_some() {
                // A comment, which is no event.
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b": held\n\n")))));
            }
            self.held = None;
        }
        let Some(next) = self.pieces.front() else {
            if let Some((again, tokens)) = self.then_again.clone() {
                if let Some(open) = &mut self.open {
                    open.tokens_sent += tokens;
                }
                return Poll::Ready(Some(Ok(Frame::data(again))));
            }
            if self.then_silence {
                return Poll::Pending;
            }
            return Poll::Ready(None);
        };
        if !next.wait.is_zero() {
            let wait = next.wait;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(wait)));
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        let last = self.pieces.is_empty() && !self.then_silence;
        if let Some(open) = &mut self.open {
            open.tokens_sent += piece.tokens;
            if last {
                open.complete();
                self.open = None;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece.bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.then_silence
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Writes the JSON of one answer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) number: u64,
    pub(super) model: &'a str,
    pub(super) logprobs: bool,
}

impl Writer<'_> {
    /// One event with a delta: `field` is `content` or `reasoning_content`.
    pub(super) fn delta(&self, out: &mut Vec<u8>, field: &str, text: &str) {
        self.head(out, "chat.completion.chunk");
        write(
            out,
            format_args!(r#""delta":{{"{field}":{}}},"#, quoted(text)),
        );
        let is_token = field == "content" && !text.is_empty();
        let logprobs = if is_token {
            self.of_tokens(&[text])
        } else {
            "null".to_owned()
        };
        write(
            out,
            format_args!(r#""logprobs":{logprobs},"finish_reason":null}}]}}"#),
        );
        out.extend_from_slice(b"\n\n");
    }

    /// The event with the reason why it ended.
    pub(super) fn finish(&self, out: &mut Vec<u8>, reason: &str) {
        self.head(out, "chat.completion.chunk");
        write(
            out,
            format_args!(r#""delta":{{}},"finish_reason":"{reason}"}}]}}"#),
        );
        out.extend_from_slice(b"\n\n");
    }

    /// The event with the usage.
    pub(super) fn usage(&self, out: &mut Vec<u8>, prompt: u32, completion: u32) {
        let usage = usage(prompt, completion);
        write(
            out,
            format_args!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n"),
        );
    }

    /// A whole answer that is not streamed.
    pub(super) fn whole(
        &self,
        reasoning: &str,
        tokens: &[String],
        reason: &str,
        prompt: Option<u32>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.head(&mut out, "chat.completion");
        out.drain(.."data: ".len());
        let text = quoted(&tokens.concat());
        write(
            &mut out,
            format_args!(r#""message":{{"role":"assistant","content":{text}"#),
        );
        if !reasoning.is_empty() {
            write(
                &mut out,
                format_args!(r#","reasoning_content":{}"#, quoted(reasoning)),
            );
        }
        let logprobs = self.of_tokens(tokens);
        write(
            &mut out,
            format_args!(r#"}},"logprobs":{logprobs},"finish_reason":"{reason}"}}]"#),
        );
        if let Some(prompt) = prompt {
            let completion = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            write(
                &mut out,
                format_args!(r#","usage":{}"#, usage(prompt, completion)),
            );
        }
        out.push(b'}');
        out
    }

    /// The start of an answer that never ends, and what follows again and again, with its tokens.
    pub(super) fn endless(&self, endless: Endless, stream: bool) -> (Vec<u8>, (Bytes, u32)) {
        const TOKENS: u32 = 256;
        let (mut start, mut again) = (Vec::new(), Vec::new());
        if endless == Endless::Tokens && stream {
            (0..TOKENS).for_each(|_| self.delta(&mut again, "content", "word "));
        } else {
            let (data, field) = match stream {
                true => ("data: ", "delta"),
                false => ("", "message"),
            };
            write(
                &mut start,
                format_args!(r#"{data}{{"choices":[{{"index":0,"{field}":{{"content":""#),
            );
            again.resize(64 << 10, b'x');
        }
        (start, (again.into(), TOKENS))
    }

    fn head(&self, out: &mut Vec<u8>, object: &str) {
        let (number, model) = (self.number, quoted(self.model));
        write(
            out,
            format_args!(
                r#"data: {{"id":"chatcmpl-{number}","object":"{object}","created":0,"model":{model},"choices":[{{"index":0,"#
            ),
        );
    }

    /// Log-probabilities that differ and are always the same: those of a token are its length.
    fn of_tokens<T: AsRef<str>>(&self, tokens: &[T]) -> String {
        if !self.logprobs {
            return "null".to_owned();
        }
        let of_token = |token: &T| {
            let (text, logprob) = (quoted(token.as_ref()), token.as_ref().len() as f32 / -10.0);
            format!(r#"{{"token":{text},"logprob":{logprob},"bytes":null,"top_logprobs":[]}}"#)
        };
        let all: Vec<_> = tokens.iter().map(of_token).collect();
        format!(r#"{{"content":[{}]}}"#, all.join(","))
    }
}

fn usage(prompt: u32, completion: u32) -> String {
    let total = prompt.saturating_add(completion);
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0}}}}"#
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes everything");
}
