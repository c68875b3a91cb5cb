//! The audit log: who changed what, and who was refused. It holds no prompt, no answer and no token.

use conclave_core::chain::Chain;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::Caller;
use crate::telemetry;

/// Records that wait for the file. A call that changes something has a place before it is served: when
/// there is none it waits.
const QUEUED_MAX: usize = 4096;

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot append to `{}`, the value of `access.audit_file`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that writes it does not start.
    #[error("cannot start the thread of the audit log")]
    Thread(#[source] std::io::Error),
}

/// What a record is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Who called; absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Whose records the caller sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the caller may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Where the call came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What was called.
    pub method: String,
    /// What it was about, where there is such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How it was answered: a code of gRPC, or a status of HTTP.
    pub outcome: String,
    /// Why access was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Record {
    /// The record of a call by this caller.
    #[must_use]
    pub fn by(mut self, caller: &Caller) -> Self {
        self.caller = Some(caller.name.clone());
        self.tenant = Some(caller.tenant.to_string());
        self.role = Some(caller.role.as_str());
        self
    }
}

enum Item {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// Notes records: in the log, and in a file if there is one.
#[derive(Debug)]
pub struct Audit {
    queue: Option<mpsc::Sender<Item>>,
}

/// A place for one record.
#[derive(Debug)]
pub struct Place {
    permit: Option<mpsc::OwnedPermit<Item>>,
}

impl Audit {
    pub(super) fn start(file: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = file else {
            return Ok(Self { queue: None });
        };
        let failed = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(failed)?;
        let (queue, waiting) = mpsc::channel(QUEUED_MAX);
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(file, &path, waiting))
            .map_err(Error::Thread)?;
        Ok(Self { queue: Some(queue) })
    }

    /// Waits for a place.
    pub async fn place(&self) -> Place {
        let Some(queue) = &self.queue else {
            return Place { permit: None };
        };
        // An error means that the thread is gone, which it says in the log.
        let permit = queue.clone().reserve_owned().await.ok();
        Place { permit }
    }

    /// Waits until everything that was noted is in the file.
    pub async fn flush(&self) {
        if let Some(queue) = &self.queue {
            let (tell, told) = oneshot::channel();
            if queue.send(Item::Flush(tell)).await.is_ok() {
                // An error means that the thread is gone, which it says in the log.
                let _ = told.await;
            }
        }
    }
}

impl Place {
    /// Notes a record. It does not wait.
    pub fn note(self, record: &Record) {
        let Record {
            caller,
            tenant,
            role,
            peer,
            method,
            resource,
            outcome,
            reason,
        } = record;
        tracing::info!(
            target: telemetry::AUDIT,
            caller, tenant, role, peer, method, resource, outcome, reason,
            "audit"
        );
        if let Some(permit) = self.permit {
            permit.send(Item::Line(line(record)));
        }
    }
}

fn line(record: &Record) -> String {
    #[derive(Serialize)]
    struct Timed<'a> {
        time: String,
        #[serde(flatten)]
        record: &'a Record,
    }
    let time = prost_types::Timestamp::from(SystemTime::now()).to_string();
    let timed = Timed { time, record };
    let mut line = serde_json::to_string(&timed).expect("a record is JSON");
    line.push('\n');
    line
}

/// Opens the file for its owner alone.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The thread that writes: each record is handed to the system at once, whole.
fn write(mut file: File, path: &Path, mut waiting: mpsc::Receiver<Item>) {
    while let Some(item) = waiting.blocking_recv() {
        match item {
            Item::Line(line) => {
                if let Err(error) = file.write_all(line.as_bytes()) {
                    tracing::error!(
                        path = %path.display(),
                        error = %Chain(&error),
                        "a record of the audit log could not be written; it stands in this log"
                    );
                }
            }
            // An error means that nobody waits any more.
            Item::Flush(done) => drop(done.send(())),
        }
    }
}

/// What was called, cut where every method that there is has ended: callers who are not let in choose
/// the text.
#[must_use]
pub fn clipped(method: &str) -> String {
    const BYTES_MAX: usize = 128;
    let mut text = method.to_owned();
    if text.len() > BYTES_MAX {
        text.truncate(text.floor_char_boundary(BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn record(method: &str) -> Record {
        Record {
            method: method.to_owned(),
            outcome: "OK".to_owned(),
            ..Record::default()
        }
    }

    #[tokio::test]
    async fn records_are_appended_a_line_each_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let audit = Audit::start(Some(&path)).unwrap();
        let by = record("m").by(&Caller::anonymous(Role::Client));
        audit.place().await.note(&by);
        audit.place().await.note(&record("n\nx"));
        audit.flush().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1]["role"], "client");
        assert_eq!(lines[1]["tenant"], "default");
        assert!(lines[1]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[2]["method"], "n\nx");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_named() {
        let error = Audit::start(Some(Path::new("/proc/nowhere/audit"))).unwrap_err();
        assert!(error.to_string().contains("access.audit_file"), "{error}");
    }
}
