//! What a scripted model server does with one call.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::generation::{FinishReason, Generation, Usage};
use crate::inference::{Error, Progress, Request};

/// What the model server does with one call: it waits, sends tokens, and comes to an end.
///
/// Waiting is `tokio::time::sleep`, so a test with paused time never really waits.
#[derive(Debug)]
pub struct Script {
    tokens: Vec<String>,
    first_after: Duration,
    between: Duration,
    reasoning: Option<String>,
    logprobs: Vec<f32>,
    usage: Option<Usage>,
    end: End,
}

#[derive(Debug)]
enum End {
    Finish(FinishReason),
    Fail(Error),
    Hang,
}

impl Script {
    /// Answers with this text at once, one token a word.
    #[must_use]
    pub fn answer(text: &str) -> Self {
        Self::tokens(text.split_inclusive(' '))
    }

    /// Answers with these tokens at once.
    pub fn tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self {
            tokens: tokens.into_iter().map(Into::into).collect(),
            first_after: Duration::ZERO,
            between: Duration::ZERO,
            reasoning: None,
            logprobs: Vec::new(),
            usage: None,
            end: End::Finish(FinishReason::Stop),
        }
    }

    /// Fails at once.
    #[must_use]
    pub fn fail(error: Error) -> Self {
        Self::answer("").then_fail(error)
    }

    /// Sends nothing, for ever.
    #[must_use]
    pub fn hang() -> Self {
        Self::answer("").then_hang()
    }

    /// Waits before the first token, or before the end where there is none.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.first_after = delay;
        self
    }

    /// Waits between two tokens.
    #[must_use]
    pub fn between(mut self, delay: Duration) -> Self {
        self.between = delay;
        self
    }

    /// Fails after its tokens.
    #[must_use]
    pub fn then_fail(mut self, error: Error) -> Self {
        self.end = End::Fail(error);
        self
    }

    /// Falls silent after its tokens.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }

    /// Ends for this reason instead of `Stop`.
    #[must_use]
    pub fn finish(mut self, reason: FinishReason) -> Self {
        self.end = End::Finish(reason);
        self
    }

    /// Has this reasoning.
    #[must_use]
    pub fn reasoning(mut self, text: &str) -> Self {
        self.reasoning = Some(text.to_owned());
        self
    }

    /// Has these log-probabilities.
    #[must_use]
    pub fn logprobs(mut self, logprobs: Vec<f32>) -> Self {
        self.logprobs = logprobs;
        self
    }

    /// Costs this, instead of a token for every word of the prompt and for every token sent.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    pub(super) async fn play(
        self,
        request: &Request,
        progress: &Progress,
    ) -> Result<Generation, Error> {
        let started = Instant::now();
        sleep(self.first_after).await;
        for (place, token) in self.tokens.iter().enumerate() {
            if place > 0 {
                sleep(self.between).await;
            }
            progress.token(token);
        }
        let finish = match self.end {
            End::Finish(reason) => reason,
            End::Fail(error) => return Err(error),
            End::Hang => std::future::pending().await,
        };
        let counted = Usage {
            prompt_tokens: words(request),
            cached_tokens: 0,
            completion_tokens: count(self.tokens.len()),
        };
        Ok(Generation {
            text: self.tokens.concat(),
            reasoning: self.reasoning,
            finish,
            usage: self.usage.unwrap_or(counted),
            logprobs: self.logprobs,
            latency_ms: u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX),
            placement: None,
        })
    }
}

fn words(request: &Request) -> u32 {
    let words = |text: &String| text.split_whitespace().count();
    count(
        request
            .messages
            .iter()
            .map(|message| words(&message.content))
            .sum(),
    )
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
