//! An answer as server-sent events, one for each piece of text.

use std::convert::Infallible;

use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;

use super::response::{Chunk, Delta, Text, Usage};
use super::{Answer, Error};
use crate::engine::Event;

/// The role first, then the text, then the reason of the end, the usage if wanted, and `[DONE]`.
pub(super) fn respond(answer: Answer, include_usage: bool) -> Response {
    let pieces = Pieces {
        answer,
        include_usage,
    };
    let first = pieces.delta(Text {
        role: Some("assistant"),
        content: Some(String::new()),
    });
    let first = stream::iter([first]);
    let events = first.chain(pieces.rest()).map(Ok::<_, Infallible>);
    Sse::new(events).into_response()
}

struct Pieces {
    answer: Answer,
    include_usage: bool,
}

impl Pieces {
    fn rest(self) -> impl Stream<Item = sse::Event> {
        let batches = stream::unfold(Some(self), |pieces| async {
            let mut pieces = pieces?;
            let event = pieces.answer.events.recv().await;
            Some(pieces.after(event))
        });
        batches.flat_map(stream::iter)
    }

    /// What to send for an event of the engine, and what remains to wait for.
    fn after(self, event: Option<Event>) -> (Vec<sse::Event>, Option<Self>) {
        match event {
            Some(Event::Text { text, logprobs }) => {
                let chunk = self.chunk(Delta {
                    index: 0,
                    delta: Text {
                        role: None,
                        content: Some(text),
                    },
                    logprobs: self.answer.logprobs(&logprobs),
                    finish_reason: None,
                });
                (vec![chunk], Some(self))
            }
            Some(Event::Finished { reason, tokens }) => {
                let mut events = vec![self.chunk(Delta {
                    index: 0,
                    delta: Text::default(),
                    logprobs: None,
                    finish_reason: Some(reason),
                })];
                if self.include_usage {
                    let usage = Usage::new(self.answer.prompt_tokens, tokens);
                    events.push(data(&Chunk {
                        head: &self.answer.head,
                        choices: Vec::new(),
                        usage: Some(Some(usage)),
                    }));
                }
                events.push(sse::Event::default().data("[DONE]"));
                (events, None)
            }
            None => (vec![data(&Error::Stopped.body())], None),
        }
    }

    fn delta(&self, delta: Text) -> sse::Event {
        self.chunk(Delta {
            index: 0,
            delta,
            logprobs: None,
            finish_reason: None,
        })
    }

    fn chunk(&self, delta: Delta) -> sse::Event {
        data(&Chunk {
            head: &self.answer.head,
            choices: vec![delta],
            usage: self.include_usage.then_some(None),
        })
    }
}

fn data(value: &impl Serialize) -> sse::Event {
    // Maps with text keys and finite numbers serialize always; JSON has no raw line ends.
    let json = serde_json::to_string(value).unwrap_or_default();
    sse::Event::default().data(json)
}
