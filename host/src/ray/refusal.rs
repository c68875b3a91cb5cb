//! What a dashboard means by an answer that is no success. Ray answers much of what it will never do with
//! status 500 and the traceback of its own code, 2.49 and 2.60 alike.

/// How much of a dashboard's text goes into an error.
const MESSAGE_CHARS_MAX: usize = 500;

/// What stands in a traceback that a request caused and a retry would cause again: the head tells so what
/// its agent answered, and what the agent's own errors say.
const FOR_GOOD: [&str; 3] = [
    "Request failed with status code 4",
    "it is in a non-terminal state",
    "A file is not found at",
];

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The credentials are wrong.
    Denied,
    /// It is no dashboard that answers.
    Elsewhere,
    /// It will never do what it was asked.
    Refused,
    /// It failed, and may not the next time.
    Failed,
}

/// What an answer of this status, which is no success, means.
pub(super) fn verdict(status: u16, text: &str) -> Verdict {
    match status {
        401 | 403 => Verdict::Denied,
        408 | 425 | 429 => Verdict::Failed,
        // A dashboard says itself what it has not; a path that it does not know is another server's.
        404 if !text.contains("does not exist") => Verdict::Elsewhere,
        400..500 => Verdict::Refused,
        500 if FOR_GOOD.iter().any(|mark| text.contains(mark)) => Verdict::Refused,
        500..600 => Verdict::Failed,
        _ => Verdict::Elsewhere,
    }
}

/// What a text says, in a line: of a traceback the last error, of anything else the first line.
pub(super) fn reason(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.clone().next().unwrap_or("no text");
    let line = match first.starts_with("Traceback") {
        true => lines.rfind(|line| is_error(line)).unwrap_or(first),
        false => first,
    };
    line.trim().chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Whether the line is that of an exception: its name, a colon, and what it says.
fn is_error(line: &str) -> bool {
    let name = line.split(": ").next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    name.len() < line.len()
        && name.chars().all(plain)
        && (name.ends_with("Error") || name.ends_with("Exception"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples;
    use super::*;

    #[test]
    fn a_traceback_says_what_happened_in_its_last_error() {
        assert_eq!(
            reason(samples::ALREADY_EXISTS),
            "ValueError: Job with submission_id probe already exists. Please use a different \
             submission_id."
        );
        assert_eq!(reason("Job nope does not exist"), "Job nope does not exist");
        assert_eq!(
            reason("500 Internal Server Error\n\nServer got itself in trouble"),
            "500 Internal Server Error"
        );
        assert_eq!(reason(""), "no text");
        assert_eq!(reason(&"x".repeat(10_000)).len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn what_would_fail_again_is_known_by_status_and_text() {
        for (status, text, expected) in [
            (
                401,
                "Unauthorized: Missing authentication token",
                Verdict::Denied,
            ),
            (
                403,
                "Forbidden: Invalid authentication token",
                Verdict::Denied,
            ),
            (404, "Job nope does not exist", Verdict::Refused),
            (404, "404: Not Found", Verdict::Elsewhere),
            (
                400,
                "TypeError: entrypoint must be a string",
                Verdict::Refused,
            ),
            (
                413,
                "Maximum request body size 104857600 exceeded",
                Verdict::Refused,
            ),
            (302, "", Verdict::Elsewhere),
            (429, "Max number of in-progress requests", Verdict::Failed),
            (500, samples::ALREADY_EXISTS, Verdict::Refused),
            (500, samples::NOT_ENDED, Verdict::Refused),
            (
                500,
                "No available agent to submit job, please try again later.",
                Verdict::Failed,
            ),
            (503, "", Verdict::Failed),
        ] {
            assert_eq!(verdict(status, text), expected, "{status} {text}");
        }
    }
}
