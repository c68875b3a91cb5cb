//! What the engine does with components, for those who measure.

use std::sync::Arc;
use std::time::Duration;

/// Something that the engine has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It compiled a component, or tried to.
    Compiled {
        /// `compiled`, `invalid`, `limit_exceeded` or `failed`.
        result: &'static str,
        /// How long it took, without the wait for its turn.
        took: Duration,
    },
    /// It looked for machine code on disk.
    Sought {
        /// [`Work::HIT`], [`Work::MISS`] or [`Work::REFUSED`].
        result: &'static str,
    },
    /// It checked a component.
    Checked {
        /// `accepted`, `remembered` (accepted before, by the same rules), `refused`, or `failed` (not
        /// found out).
        result: &'static str,
    },
}

impl Work {
    /// The machine code was there.
    pub const HIT: &'static str = "hit";
    /// It was not there.
    pub const MISS: &'static str = "miss";
    /// What was there did not prove itself, or did not fit.
    pub const REFUSED: &'static str = "refused";
}

/// Is told of everything that was done. It must not block.
pub type OnWork = Arc<dyn Fn(&Work) + Send + Sync>;
