//! A job that has a slot.

use tokio::sync::mpsc;

use super::{Event, Job, Reason, TokenLogprob, Waiting};
use crate::model::{Config, KvCache, Step};
use crate::sampler::{self, Sampler};
use crate::text::TextStream;
use crate::tokenizer::Tokenizer;

#[derive(Debug)]
pub(super) struct Sequence {
    job: Job,
    /// What its events come with.
    place: usize,
    events: mpsc::Sender<(usize, Event)>,
    cache: KvCache,
    /// Tokens of the prompt that went through the model.
    fed: usize,
    /// The token to feed once the prompt is through.
    last: Option<[u32; 1]>,
    sampler: Sampler,
    text: TextStream,
    /// Tokens whose text is not shown yet.
    logprobs: Vec<TokenLogprob>,
    tokens: usize,
    /// Why the answer ended, once it has.
    end: Option<Reason>,
}

impl Sequence {
    pub(super) fn new(waiting: Waiting, config: &Config) -> Self {
        let Waiting { job, place, events } = waiting;
        Self {
            sampler: Sampler::new(job.sampling),
            text: TextStream::new(job.stops.clone()),
            job,
            place,
            events,
            cache: KvCache::new(config),
            fed: 0,
            last: None,
            logprobs: Vec::new(),
            tokens: 0,
            end: None,
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// Tells that the answer is complete.
    pub(super) fn tell_end(self) {
        if let Some(reason) = self.end {
            let tokens = self.tokens;
            self.tell(Event::Finished { reason, tokens });
        }
    }

    /// Tokens of the prompt that went through the model.
    pub(super) fn fed(&self) -> usize {
        self.fed
    }

    /// Tokens of the prompt still to feed.
    pub(super) fn unread(&self) -> usize {
        self.job.prompt.len() - self.fed
    }

    /// How much of its prompt `other` could take over from this sequence's cache.
    pub(super) fn shares(&self, other: &Self) -> usize {
        let pairs = self.job.prompt[..self.fed].iter().zip(&other.job.prompt);
        let common = pairs.take_while(|(a, b)| a == b).count();
        // The last token must be fed: its logits choose the first of the answer.
        common.min(other.job.prompt.len() - 1)
    }

    /// The cache of the first `tokens` of the prompt.
    pub(super) fn prefix(&self, config: &Config, tokens: usize) -> KvCache {
        self.cache.prefix(config, tokens)
    }

    /// Starts from a cache of the first `tokens` of the prompt.
    pub(super) fn take_over(&mut self, cache: KvCache, tokens: usize) {
        self.cache = cache;
        self.fed = tokens;
    }

    /// The next step, of at most `rows` tokens; at least one.
    pub(super) fn step(&mut self, rows: usize) -> Step<'_> {
        let unread = self.unread();
        let tokens = match &self.last {
            Some(last) if unread == 0 => last.as_slice(),
            _ => &self.job.prompt[self.fed..self.fed + rows.clamp(1, unread)],
        };
        self.fed = (self.fed + tokens.len()).min(self.job.prompt.len());
        Step {
            cache: &mut self.cache,
            tokens,
            wants_logits: self.fed == self.job.prompt.len(),
        }
    }

    /// Chooses the next token and tells of it.
    pub(super) fn advance(&mut self, logits: &[f32], tokenizer: &Tokenizer) {
        let token = self.sampler.choose(logits);
        self.last = Some([token]);
        self.tokens += 1;
        if tokenizer.ends(token) {
            return self.finish(Reason::Stop);
        }
        if let Some(top) = self.job.top_logprobs {
            self.logprobs.push(logprob(token, top, logits));
        }
        let shown = self.text.push(tokenizer.bytes(token));
        self.show(shown.text);
        if shown.stopped {
            self.finish(Reason::Stop);
        } else if self.tokens == self.job.tokens_max {
            self.finish(Reason::Length);
        }
    }

    fn finish(&mut self, reason: Reason) {
        let rest = self.text.finish();
        if !rest.is_empty() || !self.logprobs.is_empty() {
            self.send(rest);
        }
        self.end = Some(reason);
    }

    fn show(&mut self, text: String) {
        if !text.is_empty() {
            self.send(text);
        }
    }

    fn send(&mut self, text: String) {
        let logprobs = std::mem::take(&mut self.logprobs);
        self.tell(Event::Text {
            text,
            tokens: self.tokens,
            logprobs,
        });
    }

    fn tell(&self, event: Event) {
        // Nobody to tell is no fault.
        self.events.try_send((self.place, event)).ok();
    }
}

fn logprob(token: u32, top: usize, logits: &[f32]) -> TokenLogprob {
    let scores = sampler::log_probabilities(logits);
    let scored = |token: u32| (token, scores[token as usize]);
    TokenLogprob {
        token,
        logprob: scores[token as usize],
        top: sampler::top(&scores, top).into_iter().map(scored).collect(),
    }
}
