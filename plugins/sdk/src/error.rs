//! Why a plugin, or one of its generations, did not succeed.

use std::fmt;

use crate::bindings::base::conclave::deliberation::types as wit;

/// The sentence with which a plugin fails, for the client to read.
///
/// Whatever can be displayed becomes one, so `?` works on every error, and
/// `return Err("no agent answered".into())` on a text. Like `anyhow::Error`, it is no
/// `std::error::Error` itself.
pub struct Error(String);

impl Error {
    /// An error that says this.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }

    /// What it says.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }

    /// The same error, after what was tried: `context: message`.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

impl<E: fmt::Display> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a generation, or a call to the host, did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This plugin cancelled the job.
    Cancelled,
    /// The generation's own deadline passed.
    DeadlineExceeded,
    /// A limit of the deliberation is used up; the text names it.
    BudgetExhausted(String),
    /// The request can never succeed; the text says why. Do not send it again.
    Rejected(String),
    /// No model server could answer, after the retries that the deliberation allows.
    Unavailable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the generation was cancelled"),
            Self::DeadlineExceeded => f.write_str("the generation's deadline passed"),
            Self::BudgetExhausted(limit) => write!(f, "a limit is used up: {limit}"),
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            Self::Unavailable(reason) => write!(f, "no model server could answer: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Cancelled => Self::Cancelled,
            wit::Failure::DeadlineExceeded => Self::DeadlineExceeded,
            wit::Failure::BudgetExhausted(limit) => Self::BudgetExhausted(limit),
            wit::Failure::Rejected(reason) => Self::Rejected(reason),
            wit::Failure::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_errors_become_the_sentence() {
        fn fails() -> Result<(), Error> {
            "x".parse::<u32>()?;
            Ok(())
        }
        assert_eq!(
            fails().unwrap_err().message(),
            "invalid digit found in string"
        );
        let error: Error = "nobody answered".into();
        assert_eq!(
            error.context("round 2").message(),
            "round 2: nobody answered"
        );
    }
}
