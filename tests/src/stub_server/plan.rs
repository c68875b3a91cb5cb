//! What is sent for one request, once every behaviour on the way to it is resolved; [`super::body`] makes
//! the bytes of it.

use std::time::Duration;

use super::behaviour::{Behaviour, Endless};
use super::chat::ChatRequest;

const DEFAULT_ANSWER: &str = "The answer is 42.";

/// What is sent, and when.
#[derive(Debug)]
pub(super) struct Plan {
    /// Before the first byte.
    pub(super) delay: Duration,
    /// Whether its first token waits for a release.
    pub(super) held: bool,
    /// Before each token.
    pub(super) between: Duration,
    /// Of each answer.
    pub(super) reasoning: String,
    /// One for each answer that is asked for.
    pub(super) texts: Vec<Text>,
    pub(super) stream: bool,
    pub(super) usage: bool,
    pub(super) end: End,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) tokens: Vec<String>,
    pub(super) finish: &'static str,
}

/// How the answers end.
#[derive(Debug)]
pub(super) enum End {
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
            texts: Vec::new(),
            stream: chat.stream,
            usage: chat.stream_options.include_usage || !chat.stream,
            end: End::Complete,
        };
        let mut next = behaviour;
        let choices = 0..u64::from(chat.choices());
        let same = |text: &str| vec![text.to_owned(); chat.choices() as usize];
        let texts = loop {
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
                    Some(seed) => {
                        let of = |choice| turn(&items, seed.wrapping_add(choice)).to_owned();
                        break choices.map(of).collect();
                    }
                    None => Behaviour::Cycle(items),
                },
                Behaviour::Cycle(items) => {
                    let before = || u64::from(count(format!("cycle {}", chat.model)));
                    break choices.map(|_| turn(&items, before()).to_owned()).collect();
                }
                Behaviour::SlowTokens(tokens, wait) => {
                    plan.between = wait;
                    break same(&"word ".repeat(tokens));
                }
                Behaviour::Status(code, after) => {
                    plan.end = End::Refusal(code, after);
                    break Vec::new();
                }
                Behaviour::InvalidJson => {
                    plan.end = End::InvalidJson;
                    break same("");
                }
                Behaviour::Endless(endless) => {
                    plan.end = End::Never(endless);
                    break Vec::new();
                }
                Behaviour::Single(_) if chat.choices() > 1 => Behaviour::Status(400, None),
                Behaviour::Single(then) => *then,
                Behaviour::Unknown => Behaviour::Status(404, None),
                Behaviour::Echo => break same(chat.last_user_message()),
                Behaviour::Answer(text) => break same(&text),
                _ => break same(DEFAULT_ANSWER),
            };
        };
        let tokens_max = chat.max_tokens.map_or(usize::MAX, |max| max as usize);
        let texts = texts.iter().map(|text| Text::of(text, tokens_max));
        plan.texts = texts.collect();
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
}

impl Text {
    fn of(text: &str, tokens_max: usize) -> Self {
        let mut tokens: Vec<_> = text.split_inclusive(' ').map(ToOwned::to_owned).collect();
        let finish = if tokens.len() > tokens_max {
            "length"
        } else {
            "stop"
        };
        tokens.truncate(tokens_max);
        Self { tokens, finish }
    }
}

/// The item whose turn it is.
fn turn(items: &[String], number: u64) -> &str {
    let place = number % items.len() as u64;
    usize::try_from(place)
        .ok()
        .and_then(|place| items.get(place))
        .map_or("", |item| item)
}
