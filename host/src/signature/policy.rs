//! What the operator wants of signatures.

use super::{Error, KeyId, Keys, Signature, Statement, verify};

/// What becomes of a plugin that nobody signed who is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is not looked at.
    #[default]
    Off,
    /// It is let in, and who brings it is told.
    Warn,
    /// It is refused.
    Require,
}

/// Whom the operator trusts, and what that is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of the others.
    pub mode: Mode,
    /// Whose signatures count.
    pub keys: Keys,
}

/// What is known of a plugin that may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Nobody asked.
    Unasked,
    /// Somebody signed it who is trusted.
    Signed(KeyId),
    /// It may come in although nobody did; why that is so.
    Doubted(Error),
}

impl Policy {
    /// Whether a plugin may come in with this signature, the file that `conclave plugin sign` wrote; and
    /// whose it is, if that is known. What is in the box needs none: do not ask.
    ///
    /// # Errors
    /// When a signature is required, and there is none that proves anything.
    pub fn admit(
        &self,
        statement: &Statement,
        signature: Option<&[u8]>,
    ) -> Result<Admitted, Error> {
        if self.mode == Mode::Off {
            return Ok(Admitted::Unasked);
        }
        let signature = signature.map(Signature::of_file).transpose();
        let signed =
            signature.and_then(|signature| verify(&self.keys, statement, signature.as_ref()));
        match (signed, self.mode) {
            (Ok(key), _) => Ok(Admitted::Signed(key)),
            (Err(error), Mode::Require) => Err(error),
            (Err(error), _) => Ok(Admitted::Doubted(error)),
        }
    }

    /// Whether a plugin that arrived earlier, with this signer if it had one, could come in now.
    #[must_use]
    pub fn still_admits(&self, signer: Option<&str>) -> bool {
        let key = signer.and_then(|signer| signer.parse().ok());
        self.mode != Mode::Require || key.is_some_and(|key| self.keys.get(&key).is_some())
    }
}
