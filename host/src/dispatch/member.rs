//! What one of several generations that share a request is told, until its own future reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave_core::cluster::Placement;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Progress};
use tokio::sync::Notify;

/// Where it is told; at most as large as an answer may be.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    told: Notify,
    /// Told when nothing is waited for any more.
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    placement: Option<Placement>,
    tokens: u32,
    text: String,
    end: Option<Result<Generation, Error>>,
    is_over: bool,
    /// Whether nobody will read it any more.
    is_left: bool,
}

impl Mailbox {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn placed(&self, placement: &Placement) {
        self.lock().placement = Some(placement.clone());
        self.told.notify_one();
    }

    /// Takes tokens; whether anybody is there who will read them.
    pub(super) fn tokens(&self, count: u32, text: &str) -> bool {
        let mut state = self.lock();
        if state.is_left {
            return false;
        }
        state.tokens += count;
        state.text.push_str(text);
        drop(state);
        self.told.notify_one();
        true
    }

    /// The first end stands.
    pub(super) fn end(&self, end: Result<Generation, Error>) {
        let mut state = self.lock();
        if !state.is_over {
            state.is_over = true;
            state.end = Some(end);
        }
        drop(state);
        self.told.notify_one();
        self.done.notify_one();
    }

    /// Nobody will read it any more; how many tokens were not read.
    pub(super) fn leave(&self) -> u32 {
        let mut state = self.lock();
        state.is_left = true;
        state.text = String::new();
        let tokens = std::mem::take(&mut state.tokens);
        drop(state);
        self.done.notify_one();
        tokens
    }

    /// Waits until it has its end, or nobody will read it; for one caller at a time.
    pub(super) async fn done(&self) {
        loop {
            let done = self.done.notified();
            {
                let state = self.lock();
                if state.is_over || state.is_left {
                    return;
                }
            }
            done.await;
        }
    }

    /// Whether nobody will read it any more.
    pub(super) fn is_left(&self) -> bool {
        self.lock().is_left
    }

    /// Whether it has its end.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Passes on what is told until the end.
    pub(super) async fn read(&self, progress: &Progress) -> Result<Generation, Error> {
        loop {
            let told = self.told.notified();
            let (placement, tokens, text, end) = {
                let mut state = self.lock();
                (
                    state.placement.take(),
                    std::mem::take(&mut state.tokens),
                    std::mem::take(&mut state.text),
                    state.end.take(),
                )
            };
            if let Some(placement) = placement {
                progress.placed(placement);
            }
            if tokens > 0 {
                progress.tokens_came(tokens, &text);
            }
            if let Some(end) = end {
                return end;
            }
            told.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
