//! How much is logged, in the words of Rust, of Python, or of `tracing`'s filters.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How much is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Level {
    text: String,
    directives: String,
}

/// A text that is no level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be trace, debug, info, warning, error, critical or off, or directives like `info,conclave::grpc=debug`"
)]
pub struct InvalidLevel;

impl Level {
    /// Parses a level's name, without regard to case, or `tracing` directives.
    ///
    /// A plain level is that of Conclave's own code. Libraries log warnings and errors only: at finer
    /// levels some of them would log what they send.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidLevel> {
        let directives = match text.trim().to_ascii_lowercase().as_str() {
            "trace" | "notset" => own("trace"),
            "debug" => own("debug"),
            "info" => own("info"),
            "warn" | "warning" => "warn".to_owned(),
            // Whatever is critical is an error here.
            "error" | "critical" | "fatal" => "error".to_owned(),
            "off" => "off".to_owned(),
            _ if text.contains('=') && EnvFilter::builder().parse(text).is_ok() => text.to_owned(),
            _ => return Err(InvalidLevel),
        };
        let text = text.trim().to_owned();
        Ok(Self { text, directives })
    }

    /// The filter that it stands for.
    ///
    /// # Panics
    /// Never: the directives were parsed before.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        let builder = EnvFilter::builder();
        builder
            .parse(&self.directives)
            .expect("they were parsed when they came in")
    }
}

fn own(level: &str) -> String {
    format!("warn,conclave={level},conclave_core={level}")
}

impl Default for Level {
    fn default() -> Self {
        Self::parse("info").expect("it is a level's name")
    }
}

impl TryFrom<String> for Level {
    type Error = InvalidLevel;

    fn try_from(text: String) -> Result<Self, InvalidLevel> {
        Self::parse(&text)
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_of_python_are_understood() {
        let directives = |text| Level::parse(text).unwrap().directives;
        assert_eq!(directives("INFO"), "warn,conclave=info,conclave_core=info");
        assert_eq!(directives("Warning"), directives("warn"));
        assert_eq!(directives("CRITICAL"), "error");
        assert_eq!(directives("NOTSET"), directives("trace"));
        assert_eq!(
            directives("info,conclave::grpc=debug"),
            "info,conclave::grpc=debug"
        );
        for text in ["", "loud", "20", "conclave=loud"] {
            assert_eq!(Level::parse(text), Err(InvalidLevel), "{text}");
        }
    }
}
