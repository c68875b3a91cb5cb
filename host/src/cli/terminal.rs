//! Where commands write: results to stdout, progress to stderr, each in the form that its reader can
//! take.

use std::io::{self, IsTerminal as _, Write};

use crate::config::Environment;

/// How text may look in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether ANSI colours are understood.
    pub(super) color: bool,
    /// Whether more than ASCII is understood.
    pub(super) unicode: bool,
    /// Columns.
    pub(super) width: usize,
}

impl Style {
    /// For files, pipes and logs.
    pub(super) const PLAIN: Self = Self {
        color: false,
        unicode: false,
        width: 100,
    };

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            return format!("\u{1b}[{code}m{text}\u{1b}[0m");
        }
        text.to_owned()
    }
}

/// The standard streams of a command.
pub(super) struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// How stdout looks.
    pub(super) style: Style,
    /// Whether stdout is a terminal.
    pub(super) out_is_terminal: bool,
    /// Whether stderr is one: a live view is drawn there.
    pub(super) err_is_terminal: bool,
}

impl Terminal {
    /// The process's own streams.
    pub(super) fn of_process(environment: &Environment) -> Self {
        let dumb = environment.get("TERM") == Some("dumb");
        let out_is_terminal = io::stdout().is_terminal() && !dumb;
        let style = Style {
            color: out_is_terminal && environment.get("NO_COLOR").is_none(),
            unicode: out_is_terminal && is_utf8(environment),
            width: width().unwrap_or(Style::PLAIN.width),
        };
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            style: if out_is_terminal { style } else { Style::PLAIN },
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal() && !dumb,
        }
    }

    /// Writes to stdout.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Writes a line to stderr. That nobody reads it is no reason to fail.
    pub(super) fn note(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }
}

/// The locale, in the order in which POSIX asks for it.
fn is_utf8(environment: &Environment) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| environment.get(name));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col >= 40).then_some(usize::from(size.ws_col))
}

/// Text of others without what a terminal would obey: control characters but line breaks go.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect()
}

/// Text of others on one line of at most `chars_max` characters.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let line = words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    let kept: String = line.chars().take(chars_max.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

#[cfg(test)]
pub(super) mod testkit {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Pipes, with what was written to stdout and stderr.
    pub(crate) fn piped() -> (Terminal, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        let terminal = Terminal {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            style: Style::PLAIN,
            out_is_terminal: false,
            err_is_terminal: false,
        };
        (terminal, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{7}"), "a[2Jb\nc");
        assert_eq!(one_line(" a\n\n\u{1b}b\tc ", 80), "a b c");
        assert_eq!(one_line("abcdefghij", 8), "abcde...");
    }

    #[test]
    fn the_locale_tells_whether_unicode_is_understood() {
        let of = |variables: &[(&str, &str)]| is_utf8(&variables.iter().copied().collect());
        assert!(of(&[("LANG", "en_US.UTF-8")]) && of(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(!of(&[]) && !of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
    }
}
