//! The body that a plan makes.

use std::time::Duration;

use super::answer::{Answer, Piece};
use super::chat::ChatRequest;
use super::plan::{End, Plan, Text};
use super::record::Open;
use super::writer::{Place, Writer};

const ERROR: &str = r#"{"error":{"message":"the stub's engine died","type":"InternalServerError","param":null,"code":500}}"#;

impl Plan {
    /// The body, and whether it is a stream of events.
    pub(super) fn into_answer(self, chat: &ChatRequest, open: Open) -> (Answer, bool) {
        let continuous = self.usage && chat.stream_options.continuous_usage_stats;
        let writer = Writer {
            number: open.number,
            model: &chat.model,
            logprobs: chat.logprobs,
            continuous: continuous.then(|| chat.prompt_tokens()),
        };
        if let End::Never(endless) = self.end {
            let (start, again) = writer.endless(endless, self.stream);
            (Answer::endless(start, again, open), self.stream)
        } else if self.stream {
            let then_silence = matches!(self.end, End::SilenceAfter(_));
            let pieces = self.pieces(&writer, chat);
            (Answer::streamed(pieces, then_silence, Some(open)), true)
        } else {
            let tokens = count(self.texts.iter().map(|text| text.tokens.len()).sum());
            let prompt = self.usage.then(|| chat.prompt_tokens());
            let mut body = writer.whole(&self.reasoning, &self.texts, prompt);
            match self.end {
                End::Half => body.truncate(body.len() / 2),
                End::InvalidJson => body.insert(0, b'{'),
                End::Error => body = ERROR.as_bytes().to_vec(),
                _ => (),
            }
            (Answer::whole(body, tokens, Some(open)), false)
        }
    }

    /// A token of each answer in turn, as an engine decodes them: a wait is before the first of a turn.
    fn pieces(&self, writer: &Writer<'_>, chat: &ChatRequest) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let reasoned = usize::from(!self.reasoning.is_empty());
        for choice in 0..self.texts.len() {
            pieces.push(piece(Duration::ZERO, 0, |out| {
                writer.delta(out, Place { choice, tokens: 0 }, "content", "");
            }));
        }
        let mut wait = self.between;
        for choice in (0..self.texts.len()).filter(|_| reasoned > 0) {
            pieces.push(piece(std::mem::take(&mut wait), 1, |out| {
                let place = Place { choice, tokens: 1 };
                writer.delta(out, place, "reasoning_content", &self.reasoning);
            }));
        }
        let turns = self.texts.iter().map(|text| self.sent(text)).max();
        for turn in 0..=turns.unwrap_or(0) {
            let mut wait = self.between;
            for (choice, text) in self.texts.iter().enumerate() {
                let tokens = count(reasoned + turn);
                let place = Place { choice, tokens };
                if turn > 0 && turn <= self.sent(text) {
                    pieces.push(piece(std::mem::take(&mut wait), 1, |out| {
                        writer.delta(out, place, "content", &text.tokens[turn - 1]);
                    }));
                }
                if turn == text.tokens.len() && self.finishes(text) {
                    pieces.push(piece(Duration::ZERO, 0, |out| {
                        writer.finish(out, place, text.finish);
                    }));
                }
            }
        }
        pieces.push(piece(Duration::ZERO, 0, |out| {
            self.write_end(out, writer, chat);
        }));
        pieces
    }

    /// How many tokens of an answer are sent.
    fn sent(&self, text: &Text) -> usize {
        match self.end {
            End::Half | End::Error => text.tokens.len() / 2,
            End::SilenceAfter(tokens) => tokens.min(text.tokens.len()),
            _ => text.tokens.len(),
        }
    }

    /// Whether the reason why an answer ended is sent.
    fn finishes(&self, text: &Text) -> bool {
        match self.end {
            End::Complete => true,
            End::SilenceAfter(_) => self.texts.len() > 1 && self.sent(text) == text.tokens.len(),
            _ => false,
        }
    }

    /// What follows when every answer was sent as far as it is.
    fn write_end(&self, out: &mut Vec<u8>, writer: &Writer<'_>, chat: &ChatRequest) {
        match self.end {
            End::Complete | End::Refusal(..) | End::Never(_) => {
                if self.usage {
                    let reasoned = usize::from(!self.reasoning.is_empty());
                    let took = |text: &Text| text.tokens.len() + reasoned;
                    let completion = count(self.texts.iter().map(took).sum());
                    writer.usage(out, chat.prompt_tokens(), completion);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            End::Error => {
                out.extend_from_slice(format!("data: {ERROR}\n\ndata: [DONE]\n\n").as_bytes());
            }
            End::InvalidJson => out.extend_from_slice(b"data: {\"choices\":oops\n\n"),
            End::Half | End::SilenceAfter(_) => (),
        }
    }
}

fn piece(wait: Duration, tokens: u32, write: impl FnOnce(&mut Vec<u8>)) -> Piece {
    let mut bytes = Vec::with_capacity(320);
    write(&mut bytes);
    Piece {
        wait,
        bytes,
        tokens,
    }
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
