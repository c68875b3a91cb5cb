//! What is known of each file, and which of them are to be read now.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_core::ids::Digest;
use tokio::time::Instant;

use super::events::{Heard, Seen};
use super::scan::{Entry, Scan};

/// How long a file must have been the same when nothing tells that it is complete: an event was lost,
/// or the filesystem has none.
pub(super) const QUIET: Duration = Duration::from_secs(30);

const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);

/// What a file holds: its digest, and that of the signature beside it.
pub(super) type Content = (Digest, Option<Digest>);

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is complete, and is read now.
    Due,
    /// It may still be written.
    Unsettled { since: Instant },
    /// It is written in place; only a rename tells that it is complete.
    InPlace,
    /// It was read: nothing is to do until it changes.
    Settled,
    /// The registry could not take it.
    Retry { at: Instant },
}

#[derive(Debug)]
struct Known {
    /// As it was when it was last looked at; with the reason, if it cannot be a component.
    entry: Result<Entry, String>,
    fate: Fate,
    /// What was read last and needs no second try.
    content: Option<Content>,
    attempts: u32,
    /// The plugin that it is, if it was taken.
    plugin: Option<String>,
}

/// What the operator should know of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// It is being written in place.
    InPlace(String),
    /// It cannot be a component.
    Unusable(String, String),
    /// It is gone; the plugin that it was stays.
    Gone(String, String),
}

/// The files of the folder since the host's start.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: BTreeMap<String, Known>,
    /// Whether the folder was looked at before: what lies there at the start counts as complete.
    looked: bool,
}

impl Ledger {
    /// Takes in what a scan found and what was heard since the one before.
    pub(super) fn look(&mut self, scan: Scan, mut heard: Heard, now: Instant) -> Vec<Note> {
        let mut notes = Vec::new();
        let first = !std::mem::replace(&mut self.looked, true);
        self.files.retain(|name, known| {
            let stays = scan.files.contains_key(name);
            if !stays && let Some(plugin) = known.plugin.take() {
                notes.push(Note::Gone(name.clone(), plugin));
            }
            stays
        });
        for (name, entry) in scan.files {
            let seen = heard.names.remove(&name);
            let known = self.files.get(&name);
            if known.is_some_and(|known| known.entry == entry) && seen.is_none() {
                continue;
            }
            let fate = match &entry {
                Err(reason) => {
                    notes.push(Note::Unusable(name.clone(), reason.clone()));
                    Fate::Settled
                }
                Ok(entry) => fate(known, entry, seen, first, now),
            };
            let was = known.map(|known| known.fate);
            if fate == Fate::InPlace && was != Some(Fate::InPlace) {
                notes.push(Note::InPlace(name.clone()));
            }
            let known = self.files.entry(name).or_insert_with(|| Known {
                entry: entry.clone(),
                fate,
                content: None,
                attempts: 0,
                plugin: None,
            });
            (known.entry, known.fate) = (entry, fate);
        }
        for known in self.files.values_mut() {
            match known.fate {
                Fate::Unsettled { since } if now - since >= QUIET => known.fate = Fate::Due,
                Fate::Retry { at } if now >= at => known.fate = Fate::Due,
                _ => {}
            }
        }
        notes
    }

    /// The files that are to be read, by name.
    pub(super) fn due(&self) -> Vec<(String, Entry)> {
        let due = self.files.iter().filter(|(_, it)| it.fate == Fate::Due);
        due.filter_map(|(name, known)| Some((name.clone(), *known.entry.as_ref().ok()?)))
            .collect()
    }

    /// When the next file is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let retries = self.files.values().filter_map(|known| match known.fate {
            Fate::Retry { at } => Some(at),
            _ => None,
        });
        retries.min()
    }

    /// Whether this very content was dealt with under this name; it is then again.
    pub(super) fn is_known(&mut self, name: &str, content: &Content) -> bool {
        let known = self.files.get_mut(name);
        let known = known.filter(|known| known.content.as_ref() == Some(content));
        known.map(|known| known.fate = Fate::Settled).is_some()
    }

    /// The content needs no second try; `plugin` if it was taken.
    pub(super) fn settle(&mut self, name: &str, content: Option<Content>, plugin: Option<String>) {
        if let Some(known) = self.files.get_mut(name) {
            known.fate = Fate::Settled;
            known.attempts = 0;
            known.content = content;
            if plugin.is_some() {
                known.plugin = plugin;
            }
        }
    }

    /// The file changed while it was read.
    pub(super) fn unsettle(&mut self, name: &str, now: Instant) {
        if let Some(known) = self.files.get_mut(name) {
            known.fate = Fate::Unsettled { since: now };
        }
    }

    /// The registry could not take it now. Returns how long it is left alone.
    pub(super) fn retry(&mut self, name: &str, now: Instant) -> Duration {
        let Some(known) = self.files.get_mut(name) else {
            return RETRY_CAP;
        };
        let doubled = RETRY_BASE.saturating_mul(1 << known.attempts.min(16));
        let wait = doubled.min(RETRY_CAP);
        known.attempts += 1;
        known.fate = Fate::Retry { at: now + wait };
        wait
    }
}

/// What becomes of a file that is new, or another than before.
fn fate(
    known: Option<&Known>,
    entry: &Entry,
    seen: Option<Seen>,
    first: bool,
    now: Instant,
) -> Fate {
    let before = known.and_then(|known| known.entry.as_ref().ok());
    let swapped = before.is_none_or(|before| before.stamp.identity != entry.stamp.identity);
    // The signature came beside a component that was there before.
    let signed = before.is_some_and(|before| before.stamp == entry.stamp) && before != Some(entry);
    let in_place = known.is_some_and(|known| known.fate == Fate::InPlace);
    match seen {
        _ if first => Fate::Due,
        Some(Seen::Renamed) => Fate::Due,
        // A link is made or swapped as a whole; its target was there before.
        _ if entry.is_link && swapped => Fate::Due,
        Some(Seen::Written) if !entry.is_link => Fate::InPlace,
        _ if in_place => Fate::InPlace,
        _ if signed => Fate::Due,
        _ => Fate::Unsettled { since: now },
    }
}

#[cfg(test)]
mod tests;
