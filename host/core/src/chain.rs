//! An error in one line, with all that lies behind it.

use std::error::Error;
use std::fmt;

/// Shows an error and its sources, joined by colons. A source whose text the error before it already
/// ends with is left out.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let next = error.to_string();
            if !last.ends_with(&next) {
                write!(f, ": {next}")?;
            }
            last = next;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;

    #[test]
    fn every_source_is_told_once() {
        let full = std::io::Error::other("the disk is full");
        let error = journal::Error::Unavailable(full.into());
        let text = Chain(&error).to_string();
        assert_eq!(text, "the journal is unavailable: the disk is full");
    }
}
