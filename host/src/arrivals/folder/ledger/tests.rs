use super::*;

const NAME: &str = "a.wasm";

/// A folder with one file, at a time that only the test moves.
struct Folder {
    ledger: Ledger,
    now: Instant,
}

impl Folder {
    /// One that was empty at the start.
    fn empty() -> Self {
        let mut folder = Self {
            ledger: Ledger::default(),
            now: Instant::now(),
        };
        folder.look(None, None);
        folder
    }

    fn look(&mut self, entry: Option<Entry>, seen: Option<Seen>) -> Vec<Note> {
        let entry = entry.map(|entry| (NAME.to_owned(), Ok(entry)));
        let scan = Scan {
            files: entry.into_iter().collect(),
            surplus: 0,
        };
        let seen = seen.map(|seen| (NAME.to_owned(), seen));
        let heard = Heard {
            names: seen.into_iter().collect(),
        };
        self.ledger.look(scan, heard, self.now)
    }

    fn is_due(&self) -> bool {
        !self.ledger.due().is_empty()
    }

    fn settle(&mut self, content: &[u8]) {
        let content = Some((Digest::of(content), None));
        let plugin = Some("a@1.0.0".to_owned());
        self.ledger.settle(NAME, content, plugin);
    }
}

fn linked(inode: u64) -> Option<Entry> {
    Some(Entry {
        is_link: true,
        ..Entry::fake(inode, 4)
    })
}

#[tokio::test]
async fn a_file_that_is_renamed_is_read_once() {
    let mut folder = Folder::empty();
    let file = Some(Entry::fake(7, 4));
    folder.look(file, Some(Seen::Renamed));
    assert!(folder.is_due());
    folder.settle(b"1");
    folder.look(file, None);
    assert!(!folder.is_due());
    folder.look(Some(Entry::fake(8, 4)), Some(Seen::Renamed));
    assert!(folder.is_due());
}

#[tokio::test]
async fn a_file_that_is_written_in_place_waits_for_its_rename() {
    let mut folder = Folder::empty();
    let notes = folder.look(Some(Entry::fake(7, 2)), Some(Seen::Written));
    assert_eq!(notes, [Note::InPlace(NAME.to_owned())]);
    folder.now += QUIET * 9;
    let notes = folder.look(Some(Entry::fake(7, 4)), None);
    assert!(!folder.is_due() && notes.is_empty(), "{notes:?}");
    let notes = folder.look(Some(Entry::fake(7, 5)), Some(Seen::Written));
    assert!(!folder.is_due() && notes.is_empty(), "{notes:?}");
    folder.look(Some(Entry::fake(7, 5)), Some(Seen::Renamed));
    assert!(folder.is_due());
}

#[tokio::test]
async fn what_lies_there_at_the_start_is_complete() {
    let mut folder = Folder {
        ledger: Ledger::default(),
        now: Instant::now(),
    };
    folder.look(Some(Entry::fake(7, 4)), None);
    assert!(folder.is_due());
}

#[tokio::test]
async fn without_events_a_file_must_rest_first() {
    let mut folder = Folder::empty();
    folder.look(Some(Entry::fake(7, 2)), None);
    folder.now += QUIET;
    folder.look(Some(Entry::fake(7, 4)), None);
    assert!(!folder.is_due(), "it grew");
    folder.now += QUIET;
    folder.look(Some(Entry::fake(7, 4)), None);
    assert!(folder.is_due());
}

#[tokio::test]
async fn a_link_is_read_when_it_leads_elsewhere() {
    let mut folder = Folder::empty();
    folder.look(linked(7), Some(Seen::Written));
    assert!(folder.is_due());
    folder.settle(b"1");
    folder.look(linked(8), None);
    assert!(folder.is_due());
    folder.settle(b"2");
    let mut written = linked(8);
    written
        .iter_mut()
        .for_each(|entry| entry.stamp = Entry::fake(8, 5).stamp);
    folder.look(written, None);
    assert!(!folder.is_due(), "what it leads to is being written");
}

#[tokio::test]
async fn a_signature_that_comes_later_is_read_with_its_component() {
    let mut folder = Folder::empty();
    let file = Entry::fake(7, 4);
    folder.look(Some(file), Some(Seen::Renamed));
    folder.settle(b"1");
    let signed = Entry {
        signature: Some(Entry::fake(9, 1).stamp),
        ..file
    };
    folder.look(Some(signed), None);
    assert!(folder.is_due());
}

#[tokio::test]
async fn the_same_content_is_not_tried_again() {
    let mut folder = Folder::empty();
    folder.look(Some(Entry::fake(7, 4)), Some(Seen::Renamed));
    folder.settle(b"1");
    folder.look(Some(Entry::fake(8, 4)), Some(Seen::Renamed));
    let of = |bytes: &[u8]| (Digest::of(bytes), None);
    assert!(!folder.ledger.is_known(NAME, &of(b"2")));
    assert!(folder.ledger.is_known(NAME, &of(b"1")));
    assert!(!folder.is_due());
}

#[tokio::test]
async fn what_the_registry_cannot_take_is_tried_again_ever_later() {
    let mut folder = Folder::empty();
    let file = Some(Entry::fake(7, 4));
    folder.look(file, Some(Seen::Renamed));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let wait = folder.ledger.retry(NAME, folder.now);
        folder.look(file, None);
        assert!(!folder.is_due());
        assert_eq!(folder.ledger.next_retry(), Some(folder.now + wait));
        folder.now += wait;
        folder.look(file, None);
        assert!(folder.is_due());
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test]
async fn a_removal_is_told_and_forgotten() {
    let mut folder = Folder::empty();
    let file = Some(Entry::fake(7, 4));
    folder.look(file, Some(Seen::Renamed));
    folder.settle(b"1");
    folder.look(file, None);
    let gone = Note::Gone(NAME.to_owned(), "a@1.0.0".to_owned());
    assert_eq!(folder.look(None, None), [gone]);
    assert!(folder.look(None, None).is_empty());
    folder.look(file, Some(Seen::Renamed));
    assert!(folder.is_due());
}
