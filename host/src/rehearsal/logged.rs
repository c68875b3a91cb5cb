//! What plugins log in a rehearsal: kept for whoever looks at a failure, and not mixed with others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Lines that are kept, the last ones; the log limit bounds each instance's bytes.
const LINES_MAX: usize = 200;

/// The lines of one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Logged(Arc<Mutex<VecDeque<String>>>);

impl Logged {
    /// Listens on this thread until the guard is dropped.
    pub(super) fn listen(&self) -> DefaultGuard {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::set_default(subscriber)
    }

    pub(super) fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines).into()
    }
}

/// Where plugins log to.
const TARGET: &str = "conclave::plugin";

impl<S: Subscriber> Layer<S> for Logged {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        metadata.target() == TARGET
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut message = Message(String::new());
        event.record(&mut message);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic stands at the end.
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{}: {}", metadata.level(), message.0));
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
