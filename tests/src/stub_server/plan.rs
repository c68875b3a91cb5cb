//! What is sent for one request, once every behaviour on the way to it is resolved.

use std::time::Duration;

use super::answer::{Answer, Piece, Writer};
use super::behaviour::{Behaviour, Endless};
use super::chat::ChatRequest;
use super::record::Open;

const DEFAULT_ANSWER: &str = "The answer is 42.";

/// What is sent, and when.
#[derive(Debug)]
pub(super) struct Plan {
    /// Before the first byte.
    pub(super) delay: Duration,
    /// Whether its first token waits for a release.
    pub(super) held: bool,
    /// Before each token.
    between: Duration,
    reasoning: String,
    tokens: Vec<String>,
    finish: &'static str,
    stream: bool,
    usage: bool,
    end: End,
}

#[derive(Debug)]
enum End {
    Complete,
    Half,
    SilenceAfter(usize),
    Error,
    Never(Endless),
    InvalidJson,
    Refusal(u16, Option<String>),
}

impl Plan {
    /// Resolves a behaviour; `count` says how often it was called with the same key before.
    pub(super) fn new(
        behaviour: Behaviour,
        chat: &ChatRequest,
        prompt_sha256: &str,
        count: impl Fn(String) -> u32,
    ) -> Self {
        let mut plan = Self {
            delay: Duration::ZERO,
            held: false,
            between: Duration::ZERO,
            reasoning: String::new(),
            tokens: Vec::new(),
            finish: "stop",
            stream: chat.stream,
            usage: chat.stream_options.include_usage || !chat.stream,
            end: End::Complete,
        };
        let mut next = behaviour;
        let text = loop {
            next = match plan.modified(next) {
                Behaviour::Flaky(times, then) => {
                    let (model, seed) = (&chat.model, chat.seed);
                    let before = count(format!("flaky {model} {prompt_sha256} {seed:?}"));
                    if before < times {
                        Behaviour::Status(503, None)
                    } else {
                        *then
                    }
                }
                Behaviour::Vote(items) => match chat.seed {
                    Some(seed) => break turn(&items, seed).to_owned(),
                    None => Behaviour::Cycle(items),
                },
                Behaviour::Cycle(items) => {
                    let before = count(format!("cycle {}", chat.model));
                    break turn(&items, before.into()).to_owned();
                }
                Behaviour::SlowTokens(tokens, wait) => {
                    plan.between = wait;
                    break "word ".repeat(tokens);
                }
                Behaviour::Status(code, after) => {
                    plan.end = End::Refusal(code, after);
                    break String::new();
                }
                Behaviour::InvalidJson => {
                    plan.end = End::InvalidJson;
                    break String::new();
                }
                Behaviour::Endless(endless) => {
                    plan.end = End::Never(endless);
                    break String::new();
                }
                Behaviour::Unknown => Behaviour::Status(404, None),
                Behaviour::Echo => break chat.last_user_message().to_owned(),
                Behaviour::Answer(text) => break text,
                _ => break DEFAULT_ANSWER.to_owned(),
            };
        };
        plan.tokens = text.split_inclusive(' ').map(ToOwned::to_owned).collect();
        let max = chat.max_tokens.map_or(usize::MAX, |max| max as usize);
        if plan.tokens.len() > max {
            plan.tokens.truncate(max);
            plan.finish = "length";
        }
        plan
    }

    /// Takes what only changes how an answer is sent, and gives the behaviour that says what.
    fn modified(&mut self, mut behaviour: Behaviour) -> Behaviour {
        loop {
            behaviour = match behaviour {
                Behaviour::Slow(delay, then) => {
                    self.delay += delay;
                    *then
                }
                Behaviour::Think(thought, then) => {
                    self.reasoning = thought;
                    *then
                }
                Behaviour::Plain(then) => {
                    self.stream = false;
                    self.usage = true;
                    *then
                }
                Behaviour::NoUsage(then) => {
                    self.usage = false;
                    *then
                }
                Behaviour::Held(then) => {
                    self.held = true;
                    *then
                }
                Behaviour::HalfStream(then) => {
                    self.end = End::Half;
                    *then
                }
                Behaviour::ErrorEvent(then) => {
                    self.end = End::Error;
                    *then
                }
                Behaviour::Hang(tokens, then) => {
                    self.end = End::SilenceAfter(tokens);
                    *then
                }
                other => return other,
            };
        }
    }

    /// Whether not even a head is sent.
    pub(super) fn is_silent(&self) -> bool {
        match self.end {
            End::SilenceAfter(tokens) => tokens == 0 || !self.stream,
            _ => false,
        }
    }

    /// Whether a stream is begun before its first token is there.
    pub(super) fn is_streamed(&self) -> bool {
        self.stream && self.refusal().is_none()
    }

    /// The status and the `Retry-After` header of a refusal.
    pub(super) fn refusal(&self) -> Option<(u16, Option<&str>)> {
        match &self.end {
            End::Refusal(status, after) => Some((*status, after.as_deref())),
            _ => None,
        }
    }

    /// The body, and whether it is a stream of events.
    pub(super) fn into_answer(self, chat: &ChatRequest, open: Open) -> (Answer, bool) {
        let writer = Writer {
            number: open.number,
            model: &chat.model,
            logprobs: chat.logprobs,
        };
        if let End::Never(endless) = self.end {
            let (start, again) = writer.endless(endless, self.stream);
            (Answer::endless(start, again, open), self.stream)
        } else if self.stream {
            let then_silence = matches!(self.end, End::SilenceAfter(_));
            let pieces = self.into_pieces(&writer, chat);
            (Answer::streamed(pieces, then_silence, Some(open)), true)
        } else {
            let tokens = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
            let prompt = self.usage.then(|| chat.prompt_tokens());
            let mut body = writer.whole(&self.reasoning, &self.tokens, self.finish, prompt);
            match self.end {
                End::Half => body.truncate(body.len() / 2),
                End::InvalidJson => body.insert(0, b'{'),
                End::Error => body = ERROR.as_bytes().to_vec(),
                _ => (),
            }
            (Answer::whole(body, tokens, Some(open)), false)
        }
    }

    fn into_pieces(self, writer: &Writer<'_>, chat: &ChatRequest) -> Vec<Piece> {
        let sent = match self.end {
            End::Half | End::Error => self.tokens.len() / 2,
            End::SilenceAfter(tokens) => tokens.min(self.tokens.len()),
            _ => self.tokens.len(),
        };
        let piece = |wait, tokens, write: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::with_capacity(320);
            write(&mut bytes);
            Piece {
                wait,
                bytes,
                tokens,
            }
        };
        let mut pieces = vec![piece(Duration::ZERO, 0, &|out| {
            writer.delta(out, "content", "");
        })];
        if !self.reasoning.is_empty() {
            pieces.push(piece(self.between, 1, &|out| {
                writer.delta(out, "reasoning_content", &self.reasoning);
            }));
        }
        for token in &self.tokens[..sent] {
            pieces.push(piece(self.between, 1, &|out| {
                writer.delta(out, "content", token);
            }));
        }
        pieces.push(piece(Duration::ZERO, 0, &|out| match self.end {
            End::Complete | End::Refusal(..) | End::Never(_) => {
                writer.finish(out, self.finish);
                if self.usage {
                    let completion = self.tokens.len() + usize::from(!self.reasoning.is_empty());
                    let completion = u32::try_from(completion).unwrap_or(u32::MAX);
                    writer.usage(out, chat.prompt_tokens(), completion);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            End::Error => {
                out.extend_from_slice(format!("data: {ERROR}\n\ndata: [DONE]\n\n").as_bytes());
            }
            End::InvalidJson => out.extend_from_slice(b"data: {\"choices\":oops\n\n"),
            End::Half | End::SilenceAfter(_) => (),
        }));
        pieces
    }
}

const ERROR: &str = r#"{"error":{"message":"the stub's engine died","type":"InternalServerError","param":null,"code":500}}"#;

/// The item whose turn it is.
fn turn(items: &[String], number: u64) -> &str {
    let place = number % items.len() as u64;
    usize::try_from(place)
        .ok()
        .and_then(|place| items.get(place))
        .map_or("", |item| item)
}
