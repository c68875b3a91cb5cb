//! What takes its time, as a spinner on a terminal.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar};

use super::terminal::Terminal;

/// A spinner on stderr, where that is a terminal; it is gone with the value.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn new(terminal: &Terminal, silent: bool) -> Self {
        let spinner = (terminal.err_is_terminal && !silent).then(ProgressBar::new_spinner);
        if let Some(spinner) = &spinner {
            spinner.enable_steady_tick(Duration::from_millis(120));
        }
        Self(spinner)
    }

    pub(super) fn step(&self, what: impl Into<Cow<'static, str>>) {
        if let Some(spinner) = &self.0 {
            spinner.set_message(what);
        }
    }

    /// A component of this size is compiled, which takes some 15 s for a language with an interpreter.
    pub(super) fn compiling(&self, bytes: usize) {
        let size = HumanBytes(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.step(format!("compiling {size}"));
    }

    pub(super) fn received(&self, bytes: usize) {
        self.step(format!("received {} KiB", bytes >> 10));
    }

    pub(super) fn done(&self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}
