//! The last calls of the host that an instance made: what stands in the error when it ends badly.

use std::collections::VecDeque;
use std::fmt;

/// What stands before the calls.
pub(crate) const LAST_CALLS: &str = "; its last calls of the host: ";
/// Calls that are remembered.
const CALLS_MAX: usize = 8;
/// Characters of a word that a plugin or a client chose.
const WORD_CHARS_MAX: usize = 64;

/// One call. It holds no prompt, no answer, and no other text that is longer than a word.
#[derive(Clone, Debug)]
pub(super) struct HostCall {
    function: &'static str,
    detail: Detail,
}

/// What was asked, as far as it is short.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    Nothing,
    /// A number with its name: `job 3`.
    Number(&'static str, u32),
    /// A word with its name.
    Word(&'static str, String),
    /// A request, and the job that came of it.
    Submit {
        agent: String,
        phase: String,
        round: u32,
        job: Option<u32>,
    },
}

impl Detail {
    pub(super) fn word(name: &'static str, word: &str) -> Self {
        Self::Word(name, short(word))
    }

    pub(super) fn submit(agent: &str, phase: &str, round: u32, job: Option<u32>) -> Self {
        Self::Submit {
            agent: short(agent),
            phase: short(phase),
            round,
            job,
        }
    }
}

fn short(word: &str) -> String {
    word.chars().take(WORD_CHARS_MAX).collect()
}

impl fmt::Display for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function)?;
        match &self.detail {
            Detail::Nothing => Ok(()),
            Detail::Number(name, number) => write!(f, "({name} {number})"),
            Detail::Word(name, word) => write!(f, "({name} `{}`)", word.escape_debug()),
            Detail::Submit {
                agent,
                phase,
                round,
                job,
            } => {
                let (agent, phase) = (agent.escape_debug(), phase.escape_debug());
                write!(f, "(agent `{agent}`, phase `{phase}`, round {round})")?;
                match job {
                    Some(job) => write!(f, " = job {job}"),
                    None => f.write_str(" = refused"),
                }
            }
        }
    }
}

/// A ring of the last calls; one that was made several times in a row is counted.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: VecDeque<(HostCall, u32)>,
}

impl Calls {
    pub(super) fn note(&mut self, function: &'static str, detail: Detail) {
        if let (Detail::Nothing, Some((last, times))) = (&detail, self.last.back_mut())
            && last.function == function
        {
            *times = times.saturating_add(1);
            return;
        }
        if self.last.len() == CALLS_MAX {
            self.last.pop_front();
        }
        self.last.push_back((HostCall { function, detail }, 1));
    }
}

/// The calls in their order, the last one last, as the end of a sentence; nothing when there is none.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.last.is_empty() {
            return Ok(());
        }
        f.write_str(LAST_CALLS)?;
        for (place, (call, times)) in self.last.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{call}")?;
            if *times > 1 {
                write!(f, " {times} times")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_are_kept_and_none_has_much_text() {
        let mut calls = Calls::default();
        assert_eq!(calls.to_string(), "");
        for job in 1..=20 {
            calls.note("job.wait", Detail::Number("job", job));
        }
        calls.note("context.random-u32", Detail::Nothing);
        calls.note("context.random-u32", Detail::Nothing);
        let long = "x".repeat(9_000);
        let submit = Detail::submit("a", &long, 2, Some(21));
        calls.note("inference.submit", submit);
        calls.note("progress.emit", Detail::word("kind", "vo\nte"));
        let text = calls.to_string();
        assert!(
            !text.contains("job 15)") && text.contains("job.wait(job 16)"),
            "{text}"
        );
        assert!(text.contains("context.random-u32 2 times"), "{text}");
        assert!(text.contains("(agent `a`, phase `xxx"), "{text}");
        assert!(text.ends_with(r"progress.emit(kind `vo\nte`)"), "{text}");
        assert!(text.len() < 600, "{text}");
    }
}
