//! Room for connections: each takes a file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises how many files the process may have open to what the system allows it. Shells start
/// processes with 1,024 for the sake of `select`, which is not used here.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, files = limit.current, "the limit of open files stays as it is");
    }
}
