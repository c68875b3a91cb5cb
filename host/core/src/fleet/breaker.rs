//! A circuit breaker: leaves alone what fails, and tries it again with one call at a time.
//!
//! Closed, calls pass and are counted. It opens when too many of the recent ones failed, or too many in
//! a row; open, nothing passes for a time that grows with every opening. Then it is half-open: exactly
//! one call passes, whose end closes or opens it again (M. Nygard, *Release It!*, 2007; the rule over a
//! sliding window is resilience4j's).
//!
//! Crates were looked at: `failsafe` 1.3 and `recloser` 1.3 let every call pass while half-open, measure
//! by `std::time::Instant`, which tests cannot pause, and do not show their state; the one of
//! `tower-resilience` is a tower layer around a call, while a lease is taken here and reported
//! elsewhere. None knows a call that ended without a verdict, as one that was cancelled.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, jitter};

/// When a breaker opens, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// How far back calls count for the failure rate.
    pub window: Duration,
    /// The rate counts from so many calls in the window on.
    pub calls_min: u32,
    /// It opens at this part of failed calls, 0 to 1.
    pub failure_rate: f64,
    /// It opens at so many failures in a row.
    pub failures_in_a_row_max: u32,
    /// How long it is open.
    pub open: Backoff,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            calls_min: 20,
            failure_rate: 0.5,
            failures_in_a_row_max: 5,
            open: Backoff {
                base: Duration::from_secs(2),
                cap: Duration::from_secs(60),
            },
        }
    }
}

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All do.
    Closed,
    /// One does, and decides.
    HalfOpen,
    /// None does.
    Open,
}

impl BreakerState {
    /// The state's name, for metrics and people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// How a breaker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Its state.
    pub state: BreakerState,
    /// Why it opened last, unless it has closed since.
    pub cause: Option<String>,
    /// When it lets a call pass again, while it is open.
    pub retry_in: Option<Duration>,
    /// How often it has opened.
    pub opened: u64,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Succeeded,
    Failed(String),
    /// Its end says nothing: it was cancelled, or never sent.
    Nothing,
}

/// A call that passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// Of which stretch between two transitions: what passed earlier decides nothing later.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// A part of the window.
#[derive(Debug)]
struct Bucket {
    began: Instant,
    calls: u32,
    failures: u32,
}

/// The window is counted in so many parts.
const BUCKETS: u32 = 10;

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    /// What it protects, for logs.
    name: String,
    seed: u64,
    state: State,
    era: u64,
    window: VecDeque<Bucket>,
    failures_in_a_row: u32,
    opened_in_a_row: u32,
    opened: u64,
    cause: Option<String>,
}

impl Breaker {
    pub(super) fn new(name: String, settings: &BreakerSettings, seed: u64) -> Self {
        Self {
            settings: settings.clone(),
            name,
            seed,
            state: State::Closed,
            era: 0,
            window: VecDeque::new(),
            failures_in_a_row: 0,
            opened_in_a_row: 0,
            opened: 0,
            cause: None,
        }
    }

    /// Whether a call would pass now.
    pub(super) fn permits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => now >= until,
            State::HalfOpen { probing } => !probing,
        }
    }

    /// Lets a call pass; only after [`Breaker::permits`] said so at the same time.
    pub(super) fn pass(&mut self) -> Ticket {
        match &mut self.state {
            State::Closed => (),
            State::HalfOpen { probing } => *probing = true,
            State::Open { .. } => {
                tracing::info!(server = self.name, "circuit breaker half-open");
                self.become_(State::HalfOpen { probing: true });
            }
        }
        Ticket { era: self.era }
    }

    /// Takes the end of a call that passed.
    pub(super) fn report(&mut self, ticket: Ticket, verdict: &Verdict, now: Instant) {
        if ticket.era != self.era {
            return;
        }
        match (&mut self.state, verdict) {
            (State::HalfOpen { probing }, Verdict::Nothing) => *probing = false,
            (State::HalfOpen { .. }, Verdict::Succeeded) => self.close(),
            (State::HalfOpen { .. }, Verdict::Failed(cause)) => self.open(cause.clone(), now),
            (State::Closed, Verdict::Succeeded) => {
                self.failures_in_a_row = 0;
                self.count(now, 0);
            }
            (State::Closed, Verdict::Failed(cause)) => {
                self.failures_in_a_row += 1;
                self.count(now, 1);
                if self.has_failed_too_often() {
                    self.open(cause.clone(), now);
                }
            }
            (State::Closed, Verdict::Nothing) | (State::Open { .. }, _) => (),
        }
    }

    fn count(&mut self, now: Instant, failures: u32) {
        let part = self.settings.window / BUCKETS;
        while let Some(oldest) = self.window.front()
            && now.duration_since(oldest.began) >= self.settings.window
        {
            self.window.pop_front();
        }
        match self.window.back_mut() {
            Some(last) if now.duration_since(last.began) < part => {
                last.calls += 1;
                last.failures += failures;
            }
            _ => self.window.push_back(Bucket {
                began: now,
                calls: 1,
                failures,
            }),
        }
    }

    fn has_failed_too_often(&self) -> bool {
        if self.failures_in_a_row >= self.settings.failures_in_a_row_max {
            return true;
        }
        let calls: u32 = self.window.iter().map(|bucket| bucket.calls).sum();
        let failures: u32 = self.window.iter().map(|bucket| bucket.failures).sum();
        calls >= self.settings.calls_min
            && f64::from(failures) >= self.settings.failure_rate * f64::from(calls)
    }

    fn open(&mut self, cause: String, now: Instant) {
        let jitter = jitter(self.seed, &self.name, self.opened_in_a_row);
        let wait = self.settings.open.wait(self.opened_in_a_row, jitter);
        let open_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(server = self.name, cause, open_ms, "circuit breaker open");
        self.opened_in_a_row += 1;
        self.opened += 1;
        self.cause = Some(cause);
        self.become_(State::Open { until: now + wait });
    }

    fn close(&mut self) {
        tracing::info!(server = self.name, "circuit breaker closed");
        self.opened_in_a_row = 0;
        self.cause = None;
        self.become_(State::Closed);
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        self.window.clear();
        self.failures_in_a_row = 0;
    }

    /// Whether nothing is known against what it protects.
    pub(super) fn is_spotless(&self) -> bool {
        matches!(self.state, State::Closed) && self.failures_in_a_row == 0 && self.opened == 0
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long it stays open.
    pub(super) fn retry_in(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// Why it opened last, unless it has closed since.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(super) fn status(&self, now: Instant) -> BreakerStatus {
        BreakerStatus {
            state: self.state(now),
            cause: self.cause.clone(),
            retry_in: self.retry_in(now),
            opened: self.opened,
        }
    }
}
