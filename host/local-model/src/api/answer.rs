//! The answers to one request while the engine decodes them.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Error;
use super::response::{Choice, Completion, Head, Logprobs, Text, Usage};
use crate::engine::{Event, Reason, TokenLogprob};
use crate::tokenizer::Tokenizer;

/// Answers that the engine is at.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) head: Head,
    /// Of the prompt that all of them share.
    pub(super) prompt_tokens: usize,
    /// How many answers there are; events name them from 0.
    pub(super) choices: usize,
    /// Dropping it aborts them all.
    pub(super) events: mpsc::Receiver<(usize, Event)>,
    pub(super) wants_logprobs: bool,
    pub(super) tokenizer: Arc<Tokenizer>,
}

/// What has come of an answer.
#[derive(Debug, Default)]
struct Part {
    text: String,
    logprobs: Vec<TokenLogprob>,
    end: Option<Reason>,
}

impl Answers {
    /// Waits for the end of all.
    pub(super) async fn whole(mut self) -> Result<Completion, Error> {
        let mut parts: Vec<_> = (0..self.choices).map(|_| Part::default()).collect();
        let mut completion_tokens = 0;
        while let Some((index, event)) = self.events.recv().await {
            let part = &mut parts[index];
            match event {
                Event::Text { text, logprobs, .. } => {
                    part.text.push_str(&text);
                    part.logprobs.extend(logprobs);
                }
                Event::Finished { reason, tokens } => {
                    part.end = Some(reason);
                    completion_tokens += tokens;
                }
            }
        }
        let choices = parts.into_iter().enumerate().map(|(index, part)| {
            Ok(Choice {
                index,
                message: Text {
                    role: Some("assistant"),
                    content: Some(part.text),
                },
                logprobs: self.logprobs(&part.logprobs),
                finish_reason: part.end.ok_or(Error::Stopped)?,
            })
        });
        Ok(Completion {
            choices: choices.collect::<Result<_, Error>>()?,
            usage: Usage::new(self.prompt_tokens, completion_tokens),
            head: self.head,
        })
    }

    pub(super) fn logprobs(&self, tokens: &[TokenLogprob]) -> Option<Logprobs> {
        self.wants_logprobs
            .then(|| Logprobs::new(tokens, &self.tokenizer))
    }
}
