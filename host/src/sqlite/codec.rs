//! The form in which records are stored: for each a line with format version, checksum and JSON.
//!
//! JSON has no raw line breaks, so a damaged record does not hide the next one, and the file can be
//! read with SQLite's own shell.

use std::io::Write as _;
use std::ops::{Range, RangeInclusive};

use conclave_core::entry::{Accepted, Entry, Record};
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::Error;
use conclave_core::outcome::Verdict;

/// The version of the line's form and of the JSON in it.
const VERSION: &[u8] = b"1";

/// What comes before the JSON; the checksum is filled in when the JSON is known.
const HEAD: &[u8] = b"1 00000000 ";

/// Where the checksum stands in [`HEAD`].
const CHECKSUM: Range<usize> = 2..10;

/// Records that are written together, encoded.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: DeliberationId,
    /// The place before the first record.
    pub(super) after: Seq,
    /// The place of the last record; `after` when there is none.
    pub(super) last: Seq,
    /// The lines.
    pub(super) body: Vec<u8>,
    /// How and when the deliberation ends with this batch.
    pub(super) end: Option<End>,
    /// The place of its first attempt at a generation.
    pub(super) attempt: Option<Seq>,
    /// The place of the last thing that a plugin told in it.
    pub(super) emitted: Option<Seq>,
}

/// How a deliberation ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) state: State,
    /// Since it was accepted.
    pub(super) at_ms: u64,
}

/// The states that a deliberation ends in, as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Completed = 1,
    Failed = 2,
    Cancelled = 3,
}

impl Batch {
    /// Encodes records that follow `after`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for records that no session writes: with gaps between their places, or
    /// behind the last entry.
    pub(super) fn encode<'a>(
        id: &DeliberationId,
        after: Seq,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, Error> {
        let mut batch = Self {
            id: id.clone(),
            after,
            last: after,
            body: Vec::with_capacity(1024),
            end: None,
            attempt: None,
            emitted: None,
        };
        for record in records {
            batch.push(record)?;
        }
        Ok(batch)
    }

    fn push(&mut self, record: &Record) -> Result<(), Error> {
        let place = self.last.next();
        if record.seq != place {
            return Err(corrupt(
                &self.id,
                record.seq,
                format!("its place is {place}"),
            ));
        }
        if self.end.is_some() {
            let reason = "it stands behind the last entry".to_owned();
            return Err(corrupt(&self.id, place, reason));
        }
        match &record.entry {
            Entry::Finished { verdict, .. } => {
                self.end = Some(End {
                    state: match verdict {
                        Verdict::Completed(_) => State::Completed,
                        Verdict::Failed(_) => State::Failed,
                        Verdict::Cancelled(_) => State::Cancelled,
                    },
                    at_ms: record.at_ms,
                });
            }
            Entry::Attempt { .. } => {
                self.attempt.get_or_insert(place);
            }
            Entry::Emitted { .. } => self.emitted = Some(place),
            _ => {}
        }
        let start = self.body.len();
        self.body.extend_from_slice(HEAD);
        serde_json::to_writer(&mut self.body, record)
            .expect("records have text keys and finite numbers");
        let checksum = checksum(VERSION, &self.id, place, &self.body[start + HEAD.len()..]);
        write!(&mut self.body[start..][CHECKSUM], "{checksum:08x}")
            .expect("eight digits have room for 32 bits");
        self.body.push(b'\n');
        self.last = place;
        Ok(())
    }
}

/// What was accepted, from a deliberation's first record.
///
/// # Errors
/// [`Error::Corrupt`] when the record is not `accepted`.
pub(super) fn accepted<'a>(id: &DeliberationId, record: &'a Record) -> Result<&'a Accepted, Error> {
    match &record.entry {
        Entry::Accepted(accepted) => Ok(accepted),
        _ => Err(corrupt(
            id,
            record.seq,
            "the first entry is not `accepted`".to_owned(),
        )),
    }
}

/// Decodes the lines of the records in these places, and adds those behind `after` to `records`.
///
/// # Errors
/// [`Error::Corrupt`] for the first that is damaged.
pub(super) fn decode(
    id: &DeliberationId,
    places: RangeInclusive<Seq>,
    body: &[u8],
    after: Seq,
    records: &mut Vec<Record>,
) -> Result<(), Error> {
    let mut lines = body.split_inclusive(|byte| *byte == b'\n');
    let last = *places.end();
    for seq in (places.start().0..=last.0).map(Seq) {
        let line = lines.next();
        if seq > after {
            let line = line.ok_or_else(|| corrupt(id, seq, "it is missing".to_owned()))?;
            records.push(decode_line(id, seq, line)?);
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(_) => Err(corrupt(
            id,
            last,
            "more follows than was written".to_owned(),
        )),
    }
}

/// Decodes the record in the first place of a deliberation, from the lines of its first batch.
///
/// # Errors
/// [`Error::Corrupt`] when it is damaged.
pub(super) fn decode_first(id: &DeliberationId, body: &[u8]) -> Result<Record, Error> {
    let line = body.split_inclusive(|byte| *byte == b'\n').next();
    decode_line(id, Seq::START.next(), line.unwrap_or_default())
}

/// Decodes the record in this place, from the lines of the batch that it ends.
///
/// # Errors
/// [`Error::Corrupt`] when it is damaged.
pub(super) fn decode_last(id: &DeliberationId, seq: Seq, body: &[u8]) -> Result<Record, Error> {
    let lines = body.strip_suffix(b"\n").unwrap_or(body);
    let start = lines.iter().rposition(|byte| *byte == b'\n');
    decode_line(id, seq, &body[start.map_or(0, |at| at + 1)..])
}

fn decode_line(id: &DeliberationId, seq: Seq, line: &[u8]) -> Result<Record, Error> {
    let damaged = |reason: String| corrupt(id, seq, reason);
    let unsupported = |reason: String| Error::Unsupported {
        id: id.clone(),
        seq,
        reason,
    };
    let line = line.strip_suffix(b"\n");
    let line = line.ok_or_else(|| damaged("its end is missing".to_owned()))?;
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let (Some(version), Some(stored), Some(json)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(damaged("it has no head".to_owned()));
    };
    let computed = format!("{:08x}", checksum(version, id, seq, json));
    if stored != computed.as_bytes() {
        let stored = String::from_utf8_lossy(stored);
        return Err(damaged(format!(
            "its checksum is {computed}, it was written with {stored}"
        )));
    }
    // From here on it is as it was written.
    if version != VERSION {
        let version = String::from_utf8_lossy(version);
        let reason = format!("its format version is `{version}`, this build knows 1");
        return Err(unsupported(reason));
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| unsupported(format!("it does not parse: {error}")))?;
    if record.seq != seq {
        return Err(damaged(format!("it says that it is entry {}", record.seq)));
    }
    Ok(record)
}

/// The CRC-32 of a record's JSON and of where it belongs, so that a record in the wrong place shows.
fn checksum(version: &[u8], id: &DeliberationId, seq: Seq, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(version);
    hasher.update(id.as_str().as_bytes());
    hasher.update(&seq.0.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

pub(super) fn corrupt(id: &DeliberationId, seq: Seq, reason: String) -> Error {
    Error::Corrupt {
        id: id.clone(),
        seq,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::testkit::journal::every_entry;

    use super::*;

    fn decoded(id: &DeliberationId, body: &[u8], last: Seq) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        decode(id, Seq(1)..=last, body, Seq::START, &mut records).map(|()| records)
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let id = DeliberationId::generate();
        let records = &every_entry(&id)[..4];
        let mut batch = Batch::encode(&id, Seq::START, records.iter().map(AsRef::as_ref)).unwrap();
        assert_eq!(
            decoded(&id, &batch.body, batch.last).unwrap().len(),
            records.len()
        );
        for at in 0..batch.body.len() {
            for bit in [0, 3, 7] {
                batch.body[at] ^= 1 << bit;
                let answer = decoded(&id, &batch.body, batch.last);
                assert!(
                    matches!(answer, Err(Error::Corrupt { .. })),
                    "bit {bit} of byte {at}"
                );
                batch.body[at] ^= 1 << bit;
            }
        }
        for length in 0..batch.body.len() {
            let answer = decoded(&id, &batch.body[..length], batch.last);
            assert!(
                matches!(answer, Err(Error::Corrupt { .. })),
                "cut to {length} bytes"
            );
        }
    }

    #[test]
    fn a_record_of_another_place_or_deliberation_is_found() {
        let id = DeliberationId::generate();
        let record = &every_entry(&id)[0];
        let batch = Batch::encode(&id, Seq::START, [&**record]).unwrap();
        let other = DeliberationId::generate();
        assert!(decoded(&other, &batch.body, Seq(1)).is_err());
        let mut records = Vec::new();
        assert!(decode(&id, Seq(2)..=Seq(2), &batch.body, Seq::START, &mut records).is_err());
    }

    #[test]
    fn a_sound_record_of_another_build_is_not_damaged() {
        let id = DeliberationId::new("deliberation-1");
        let later = |version: &str, json: &str| {
            let checksum = checksum(version.as_bytes(), &id, Seq(1), json.as_bytes());
            let body = format!("{version} {checksum:08x} {json}\n");
            decoded(&id, body.as_bytes(), Seq(1)).unwrap_err()
        };
        for (version, json, reason) in [
            ("2", "{}", "its format version is `2`, this build knows 1"),
            (
                "1",
                r#"{"seq":1,"at_ms":0,"entry":"later"}"#,
                "it does not parse",
            ),
        ] {
            let error = later(version, json);
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            let start =
                format!("entry 1 of `deliberation-1` was written by another build: {reason}");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_record_is_told() {
        let id = DeliberationId::new("deliberation-1");
        let record = &every_entry(&id)[0];
        let batch = Batch::encode(&id, Seq::START, [&**record]).unwrap();
        let reason = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut body = batch.body.clone();
            change(&mut body);
            decoded(&id, &body, Seq(1)).unwrap_err().to_string()
        };
        assert_eq!(
            reason(&Vec::clear),
            "entry 1 of `deliberation-1` is damaged: it is missing"
        );
        assert_eq!(
            reason(&|body| body.extend_from_within(..)),
            "entry 1 of `deliberation-1` is damaged: more follows than was written"
        );
        assert!(reason(&|body| body[40] ^= 1).contains("it was written with"));
    }
}
