//! Answers as server-sent events, one for each piece of text, in the order in which they are decoded.

use std::convert::Infallible;

use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;

use super::Error;
use super::answer::Answers;
use super::request::StreamUsage;
use super::response::{Chunk, Delta, Logprobs, Text, Usage};
use crate::engine::{Event, Reason};

/// The role of each answer first, then their texts, each with the reason of its end, then the usage
/// if wanted, and `[DONE]`.
pub(super) fn respond(answers: Answers, usage: StreamUsage) -> Response {
    let pieces = Pieces {
        tokens: vec![0; answers.choices],
        running: answers.choices,
        answers,
        usage,
    };
    let role = |index| {
        let delta = Text {
            role: Some("assistant"),
            content: Some(String::new()),
        };
        pieces.chunk(index, delta, None, None)
    };
    let first: Vec<_> = (0..pieces.running).map(role).collect();
    let events = stream::iter(first)
        .chain(pieces.rest())
        .map(Ok::<_, Infallible>);
    Sse::new(events).into_response()
}

struct Pieces {
    answers: Answers,
    usage: StreamUsage,
    /// How many each answer has so far.
    tokens: Vec<usize>,
    /// Answers that have not ended.
    running: usize,
}

impl Pieces {
    fn rest(self) -> impl Stream<Item = sse::Event> {
        let batches = stream::unfold(Some(self), |pieces| async {
            let mut pieces = pieces?;
            let event = pieces.answers.events.recv().await;
            Some(pieces.after(event))
        });
        batches.flat_map(stream::iter)
    }

    /// What to send for an event of the engine, and what remains to wait for.
    fn after(mut self, event: Option<(usize, Event)>) -> (Vec<sse::Event>, Option<Self>) {
        match event {
            Some((
                index,
                Event::Text {
                    text,
                    tokens,
                    logprobs,
                },
            )) => {
                self.tokens[index] = tokens;
                let delta = Text {
                    role: None,
                    content: Some(text),
                };
                let logprobs = self.answers.logprobs(&logprobs);
                let chunk = self.chunk(index, delta, logprobs, None);
                (vec![chunk], Some(self))
            }
            Some((index, Event::Finished { reason, tokens })) => {
                self.tokens[index] = tokens;
                self.running -= 1;
                let last = self.chunk(index, Text::default(), None, Some(reason));
                if self.running > 0 {
                    return (vec![last], Some(self));
                }
                let events = std::iter::once(last)
                    .chain(self.total())
                    .chain([sse::Event::default().data("[DONE]")]);
                (events.collect(), None)
            }
            None => (vec![data(&Error::Stopped.body())], None),
        }
    }

    /// A chunk of one answer.
    fn chunk(
        &self,
        index: usize,
        delta: Text,
        logprobs: Option<Logprobs>,
        finish_reason: Option<Reason>,
    ) -> sse::Event {
        let own = || Usage::new(self.answers.prompt_tokens, self.tokens[index]);
        data(&Chunk {
            head: &self.answers.head,
            choices: vec![Delta {
                index,
                delta,
                logprobs,
                finish_reason,
            }],
            usage: match self.usage {
                StreamUsage::Never => None,
                StreamUsage::AtEnd => Some(None),
                StreamUsage::Always => Some(Some(own())),
            },
        })
    }

    /// The chunk with the usage of all answers, if it is wanted.
    fn total(&self) -> Option<sse::Event> {
        let usage = Usage::new(self.answers.prompt_tokens, self.tokens.iter().sum());
        let chunk = Chunk {
            head: &self.answers.head,
            choices: Vec::new(),
            usage: Some(Some(usage)),
        };
        (self.usage != StreamUsage::Never).then(|| data(&chunk))
    }
}

fn data(value: &impl Serialize) -> sse::Event {
    // Maps with text keys and finite numbers serialize always; JSON has no raw line ends.
    let json = serde_json::to_string(value).unwrap_or_default();
    sse::Event::default().data(json)
}
