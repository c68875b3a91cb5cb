//! The end of a job's log.

use conclave_core::cluster::Error;

use super::call::{Answer, Dashboard};

/// How many lines are asked for. They come in one piece, and are cut here.
const LINES_MAX: &str = "1000";

impl Dashboard {
    /// Reads the file on the driver's node: what the Jobs API has (`/api/jobs/{id}/logs`) is the whole log,
    /// which of a model server is large.
    pub(super) async fn log_tail(
        &self,
        submission_id: &str,
        bytes_max: usize,
    ) -> Result<String, Error> {
        let Some(node_id) = self.told(submission_id).await?.driver_node_id else {
            // It never ran; its message says why.
            return Ok(String::new());
        };
        let mut url = self.url(&["api", "v0", "logs", "file"]);
        url.query_pairs_mut()
            .append_pair("node_id", &node_id)
            .append_pair("filename", &format!("job-driver-{submission_id}.log"))
            .append_pair("lines", LINES_MAX);
        match self.tail(url, bytes_max.saturating_add(1)).await? {
            Answer::Done(bytes) => Ok(cut(&bytes, bytes_max)),
            // Log files go with their node, and with the session of a head that was started anew.
            Answer::Refused(_) => Ok(String::new()),
        }
    }
}

/// At most this many bytes of the end, from the beginning of a line where one begins within them.
fn cut(log: &[u8], bytes_max: usize) -> String {
    let excess = log.len().saturating_sub(bytes_max);
    if excess == 0 {
        return String::from_utf8_lossy(log).into_owned();
    }
    // A line may begin with the very first byte that is kept.
    let newline = log[excess - 1..].iter().position(|byte| *byte == b'\n');
    let start = match newline {
        Some(at) if excess + at < log.len() => excess + at,
        // The last line alone is too long: from a character's beginning.
        _ => {
            let within = |byte: &u8| byte & 0xC0 == 0x80;
            excess + log[excess..].iter().take_while(|byte| within(byte)).count()
        }
    };
    String::from_utf8_lossy(&log[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_at_a_line() {
        let log = "one\ntwo\nthree\n";
        for (bytes_max, expected) in [
            (14, log),
            (13, "two\nthree\n"),
            (10, "two\nthree\n"),
            (9, "three\n"),
            (6, "three\n"),
            (4, "ree\n"),
            (0, ""),
        ] {
            assert_eq!(cut(log.as_bytes(), bytes_max), expected, "{bytes_max}");
        }
        assert_eq!(cut("ééé".as_bytes(), 3), "é");
    }
}
