//! The bytes of an answer, and when they are sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

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
