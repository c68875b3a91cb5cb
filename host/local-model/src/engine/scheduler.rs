//! Continuous batching: every step decodes one token of each running sequence.
//!
//! New sequences join between steps and read their prompts in pieces, those with least left to read
//! first; so neither a long prompt nor a long answer holds up a short one. Sequences with the same
//! beginning, such as the samples of one vote, read it once.

use std::sync::{Arc, PoisonError};

use rayon::prelude::*;

use super::{Sequence, Shared};
use crate::model::Model;
use crate::tokenizer::Tokenizer;

/// Most tokens of prompts in one step; more would read no faster, but hold up the others' next token.
const PROMPT_TOKENS: usize = 16;

pub(super) struct Scheduler {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    shared: Arc<Shared>,
    running: Vec<Sequence>,
    /// Tokens decoded since the start.
    tokens_total: u64,
}

/// Tells waiting clients when the engine ends, even if by a panic.
struct StopAtEnd(Arc<Shared>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Scheduler {
    pub(super) fn new(model: Model, tokenizer: Arc<Tokenizer>, shared: Arc<Shared>) -> Self {
        Self {
            model,
            tokenizer,
            shared,
            running: Vec::new(),
            tokens_total: 0,
        }
    }

    /// Runs until the engine is stopped.
    pub(super) fn run(mut self) {
        let _stop = StopAtEnd(Arc::clone(&self.shared));
        while self.admit() {
            self.step();
        }
    }

    /// Settles what ended, gives free slots to who waits, waits itself while there is nothing to do.
    ///
    /// False when the engine is to stop.
    fn admit(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let finished: Vec<_> = self
            .running
            .extract_if(.., |sequence| sequence.is_finished())
            .collect();
        let abandoned = self
            .running
            .extract_if(.., |sequence| sequence.is_abandoned())
            .count();
        state.running = self.running.len();
        state.completed_total += finished.len() as u64;
        state.aborted_total += abandoned as u64;
        state.generation_tokens_total = self.tokens_total;
        // Told under the lock: a client that asks for the health next finds its answer counted.
        finished.into_iter().for_each(Sequence::tell_end);
        loop {
            if state.stopping {
                return false;
            }
            let before = state.waiting.len();
            state.waiting.retain(|waiting| !waiting.events.is_closed());
            state.aborted_total += (before - state.waiting.len()) as u64;
            let free = shared.limits.slots - self.running.len();
            let admitted = free.min(state.waiting.len());
            for waiting in state.waiting.drain(..admitted) {
                let config = &self.model.config;
                let sequence = Sequence::new(waiting, config);
                self.running.push(sequence);
            }
            state.running = self.running.len();
            if state.running > 0 {
                return true;
            }
            state = shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Feeds the model once and tells of the tokens chosen.
    fn step(&mut self) {
        let rows = self.plan();
        let mut steps = Vec::new();
        let mut choosing = Vec::new();
        for (index, (sequence, rows)) in self.running.iter_mut().zip(rows).enumerate() {
            if rows > 0 {
                let step = sequence.step(rows);
                choosing.extend(step.wants_logits.then_some(index));
                steps.push(step);
            }
        }
        let logits = self.model.forward(&mut steps);
        self.tokens_total += choosing.len() as u64;
        let sequences: Vec<&mut Sequence> = (0..)
            .zip(&mut self.running)
            .filter_map(|(index, sequence)| choosing.contains(&index).then_some(sequence))
            .collect();
        sequences
            .into_par_iter()
            .zip(logits)
            .for_each(|(sequence, logits)| sequence.advance(&logits, &self.tokenizer));
    }

    /// How many tokens each running sequence feeds in the next step.
    fn plan(&mut self) -> Vec<usize> {
        let mut rows = vec![1; self.running.len()];
        let mut readers: Vec<usize> = (0..rows.len())
            .filter(|index| self.running[*index].unread() > 0)
            .collect();
        readers.sort_by_key(|index| self.running[*index].unread());
        let mut left = PROMPT_TOKENS;
        for reader in readers {
            if left > 0 {
                self.share_prefix(reader);
            }
            rows[reader] = left.min(self.running[reader].unread());
            left -= rows[reader];
        }
        rows
    }

    /// Lets a sequence take over what another has read of the same prompt.
    ///
    /// The numbers are those it would come to itself.
    fn share_prefix(&mut self, taker: usize) {
        let reader = &self.running[taker];
        let others = self
            .running
            .iter()
            .map(|other| (other.shares(reader), other));
        let Some((tokens, other)) = others.max_by_key(|(tokens, _)| *tokens) else {
            return;
        };
        if tokens > reader.fed() {
            let prefix = other.prefix(&self.model.config, tokens);
            self.running[taker].take_over(prefix, tokens);
        }
    }
}
