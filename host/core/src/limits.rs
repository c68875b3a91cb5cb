//! What one deliberation may use; pinned in its journal, so that a replay meets the same limits.

use serde::{Deserialize, Serialize};

/// The limits that the session itself enforces. Those of memory, CPU and logs belong to the runtime.
///
/// A limit that a journal of an older build does not hold has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Generations in all.
    pub generations_max: u32,
    /// Generations that a plugin may have open (asked for, and result not yet taken) at once.
    pub open_generations_max: u32,
    /// Journal entries in all: bounds polling, emitting and every other effect.
    pub entries_max: u32,
    /// Bytes of one emitted payload.
    pub emit_bytes_max: u32,
    /// Bytes that plugins may put into the journal in all: what they emit, and what they have graded.
    pub journal_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Self-consistency's largest published N is 40; a council of ten over ten rounds is 500.
            generations_max: 1_000,
            // Above what one model server batches well.
            open_generations_max: 64,
            // Five for each generation, and as many again for progress and scoring.
            entries_max: 10_000,
            emit_bytes_max: 64 << 10,
            // A council of ten over ten rounds, graded in each, with 100 KiB an answer, is 10 MiB.
            journal_bytes_max: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_an_older_build_wrote_are_read() {
        let older =
            r#"{"generations_max":7,"open_generations_max":8,"entries_max":9,"emit_bytes_max":10}"#;
        let limits: Limits = serde_json::from_str(older).unwrap();
        assert_eq!(limits.generations_max, 7);
        assert_eq!(
            limits.journal_bytes_max,
            Limits::default().journal_bytes_max
        );
    }
}
