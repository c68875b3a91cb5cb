//! The span that a session runs in, for whoever traces.

use std::fmt;
use std::sync::Arc;

use tracing::Span;

use crate::entry::{Accepted, Entry, Record};
use crate::outcome::Verdict;

/// Makes the span of a session, which outlives the call that submitted it and is made anew when the
/// session is resumed: its parent is the deliberation's `traceparent`. None by default.
#[derive(Clone)]
pub struct SessionSpans(Arc<dyn Fn(&Accepted) -> Span + Send + Sync>);

impl SessionSpans {
    /// Spans that this function makes; the fields `state`, `error.type` and
    /// `otel.status_code` are recorded at the end where the span has them.
    pub fn new(make: impl Fn(&Accepted) -> Span + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The span of the session of this deliberation.
    pub(crate) fn of(&self, first: &Record) -> Span {
        match &first.entry {
            Entry::Accepted(accepted) => (self.0)(accepted),
            _ => Span::none(),
        }
    }
}

impl Default for SessionSpans {
    fn default() -> Self {
        Self::new(|_| Span::none())
    }
}

impl fmt::Debug for SessionSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSpans").finish_non_exhaustive()
    }
}

/// Records how a session ended. The message of a failure is left out: plugins and model servers have
/// a say in it.
pub(crate) fn note_end(span: &Span, last: &Record) {
    let Entry::Finished { verdict, .. } = &last.entry else {
        return;
    };
    match verdict {
        Verdict::Completed(_) => span.record("state", "completed"),
        Verdict::Cancelled(_) => span.record("state", "cancelled"),
        Verdict::Failed(cause) => span
            .record("state", "failed")
            .record("error.type", cause.kind.reason())
            .record("otel.status_code", "ERROR"),
    };
}
