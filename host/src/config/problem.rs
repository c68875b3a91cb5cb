//! What can be wrong with a configuration, in words that name key, value, origin and rule.

use std::fmt;
use std::path::PathBuf;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the TOML file.
    File(PathBuf),
    /// In a variable.
    Variable(String),
    /// On the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such key.
    #[error("there is no key `{key}` ({origin}); did you mean `{nearest}`?")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest key that there is.
        nearest: String,
    },
    /// A variable with the prefix is no key's.
    #[error("there is no variable `{name}`; did you mean `{nearest}`?")]
    UnknownVariable {
        /// As it was written.
        name: String,
        /// The nearest variable that there is.
        nearest: String,
    },
    /// A value breaks a rule.
    #[error("`{key}` is {value} ({origin}): it {rule}")]
    BadValue {
        /// Whose.
        key: String,
        /// The value, without what may be secret.
        value: String,
        /// Where it stands.
        origin: Origin,
        /// What a value must be.
        rule: String,
    },
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("`{}` is not TOML: line {line}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Keys or values are wrong; every one is listed.
    #[error("the configuration is invalid{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    match problems {
        [one] => format!(": {one}"),
        many => {
            let lines = many.iter().map(|problem| format!("\n  - {problem}"));
            format!(":{}", lines.collect::<String>())
        }
    }
}

/// The text without the user and password of any URL in it.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | '`' | ',') || c.is_whitespace();
        let (authority, behind) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("(hidden)@");
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_userinfo_of_urls_is_hidden() {
        assert_eq!(without_userinfo("http://h:1/x"), "http://h:1/x");
        assert_eq!(
            without_userinfo("[\"http://u:p@h/\", \"nats://token@h\"] a@b"),
            "[\"http://(hidden)@h/\", \"nats://(hidden)@h\"] a@b"
        );
    }
}
