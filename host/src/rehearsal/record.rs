//! A recorded deliberation as a file: its journal, a record a line, as JSON.
//!
//! The first line is the acceptance, with the whole request; the last one of a deliberation that has
//! ended is its verdict. Whoever keeps such a file keeps the task and every answer in it.

use conclave_core::entry::{Entry, Record};
use conclave_core::ids::Seq;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// A line is no journal record.
    #[error("line {line} is no journal record")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// Lines are missing, or in another order.
    #[error("line {line} holds entry {found}, it must be entry {expected}")]
    Order {
        /// Which, from 1.
        line: usize,
        /// What it holds.
        found: Seq,
        /// What it must hold.
        expected: Seq,
    },
    /// The first line is something else.
    #[error("the first line is not the acceptance of a deliberation")]
    Start,
}

/// The file of these records.
#[must_use]
pub fn write(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let line = serde_json::to_vec(record);
        bytes.extend(line.expect("records have text keys and finite numbers"));
        bytes.push(b'\n');
    }
    bytes
}

/// The records of a file.
///
/// # Errors
/// Which line is wrong, and how.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, NoRecord> {
    let mut records: Vec<Record> = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice::<Record>(text);
        let record = record.map_err(|source| NoRecord::Line { line, source })?;
        let expected = records.last().map_or(Seq::START, |last| last.seq).next();
        if record.seq != expected {
            let found = record.seq;
            return Err(NoRecord::Order {
                line,
                found,
                expected,
            });
        }
        records.push(record);
    }
    match records.first().map(|record| &record.entry) {
        Some(Entry::Accepted(_)) => Ok(records),
        _ => Err(NoRecord::Start),
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::DeliberationId;
    use conclave_core::testkit::journal::every_entry;

    use super::*;

    #[test]
    fn what_is_written_reads_back_and_damage_is_named_by_its_line() {
        let id = DeliberationId::new("deliberation-1");
        let records: Vec<Record> = every_entry(&id)
            .iter()
            .map(|one| Record::clone(one))
            .collect();
        let bytes = write(&records);
        assert_eq!(read(&bytes).unwrap(), records);
        let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let without_second = [lines[0], lines[2]].concat();
        let error = read(&without_second).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2 holds entry 3, it must be entry 2"
        );
        let damaged = [lines[0], b"{}\n"].concat();
        assert_eq!(
            read(&damaged).unwrap_err().to_string(),
            "line 2 is no journal record"
        );
        assert!(matches!(read(b""), Err(NoRecord::Start)));
        assert!(matches!(read(lines[1]), Err(NoRecord::Order { .. })));
    }
}
