//! Why a text is no filter.

/// The first thing in a text that is not of the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}, {}: {problem}", found(.token))]
pub struct Error {
    /// Where it stands, in characters from 1; behind the last at the end of the text.
    pub position: usize,
    /// What stands there; empty at the end of the text.
    pub token: String,
    /// What is wrong with it, and what may stand there.
    pub problem: String,
}

fn found(token: &str) -> String {
    match token {
        "" => "the end".to_owned(),
        token => format!("`{token}`"),
    }
}
