//! Whether a plugin was signed by somebody whom the operator trusts.
//!
//! A signature is ed25519 (RFC 8032) over a [`Statement`]: what the component's bytes are, and what they
//! call themselves. It travels beside the component as text, [`Signature`].

mod keys;
mod policy;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use conclave_core::ids::Digest;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::wasm::Checked;

pub use keys::{InvalidKey, KeyId, Keys, PrivateKey, PublicKey};
pub use policy::{Admitted, Mode, Policy};

/// Bytes of an ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// What the text of a signature starts with.
const SCHEME: &str = "ed25519";

/// What a signature says of a component.
///
/// It is signed in this form, in which each value stands behind its length in bytes, so that no value
/// can pass for another one. Another form would have another first line. Every line ends with a line
/// feed, the last one too.
///
/// ```text
/// conclave plugin signature v1
/// digest 64:6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa
/// name 11:sample-vote
/// version 5:1.2.0
/// world 34:conclave:deliberation/strategy@0.1
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The sha256 of the component.
    pub digest: Digest,
    /// The name by which it describes itself.
    pub name: String,
    /// The version by which it describes itself.
    pub version: String,
    /// Its world, see [`Checked::world`].
    pub world: String,
}

impl Statement {
    /// What there is to say of a component that was checked.
    #[must_use]
    pub fn of(checked: &Checked) -> Self {
        let reference = &checked.plugin.reference;
        Self {
            digest: reference.digest,
            name: reference.name.clone(),
            version: reference.version.clone(),
            world: checked.world(),
        }
    }

    /// What is signed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let digest = self.digest.to_string();
        let mut text = String::from("conclave plugin signature v1\n");
        for (name, value) in [
            ("digest", &digest),
            ("name", &self.name),
            ("version", &self.version),
            ("world", &self.world),
        ] {
            text.push_str(&format!("{name} {}:{value}\n", value.len()));
        }
        text.into_bytes()
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            digest,
            name,
            version,
            world,
        } = self;
        write!(f, "{name}@{version} (sha256:{}, {world})", digest.short())
    }
}

/// A signature as text: `ed25519:KEY:BASE64`, the id of the key ([`KeyId`]) and the 64 bytes.
///
/// The id is a hint that lets an error say which key is not trusted; nothing is believed of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    key: KeyId,
    bytes: [u8; SIGNATURE_BYTES],
}

impl Signature {
    /// Reads what `conclave plugin sign` wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of_file(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::NotASignature)?;
        text.parse()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}:{}", self.key, BASE64.encode(self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

impl FromStr for Signature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = || {
            let mut parts = text.trim().split(':');
            let (scheme, key, base64) = (parts.next()?, parts.next()?, parts.next()?);
            if scheme != SCHEME || parts.next().is_some() {
                return None;
            }
            Some(Self {
                key: key.parse().ok()?,
                bytes: BASE64.decode(base64).ok()?.try_into().ok()?,
            })
        };
        parsed().ok_or(Error::NotASignature)
    }
}

/// Why nothing proves that a component is signed by somebody who is trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no signature.
    #[error(
        "{0} is not signed: sign it with `conclave plugin sign` and a key whose public half is in \
         `plugins.trusted_keys`"
    )]
    Missing(Box<Statement>),
    /// The text is no signature.
    #[error(
        "the signature is not of the form `ed25519:KEY:BASE64`: take the text that `conclave plugin sign` \
         wrote"
    )]
    NotASignature,
    /// It is of a key that is not trusted.
    #[error(
        "{statement} is signed with the key {key}, which is not one of `plugins.trusted_keys`: have \
         somebody sign it whose key is, or add this one"
    )]
    UnknownKey {
        /// What was to be proven.
        statement: Box<Statement>,
        /// Whose signature it says it is.
        key: KeyId,
    },
    /// It is a trusted key's name on something else.
    #[error(
        "the signature with the key {key} is not one of {statement}: it was made for other bytes, or for \
         another name, version or world; sign this very file"
    )]
    OtherStatement {
        /// What was to be proven.
        statement: Box<Statement>,
        /// Whose signature it says it is.
        key: KeyId,
    },
}

/// Who signed this statement, if that is one of `keys`.
///
/// # Errors
/// When there is no signature, or it proves nothing.
pub fn verify(
    keys: &Keys,
    statement: &Statement,
    signature: Option<&Signature>,
) -> Result<KeyId, Error> {
    let signature = signature.ok_or_else(|| Error::Missing(Box::new(statement.clone())))?;
    let key = keys.get(&signature.key).ok_or_else(|| Error::UnknownKey {
        statement: Box::new(statement.clone()),
        key: signature.key.clone(),
    })?;
    let public = UnparsedPublicKey::new(&ED25519, key.bytes());
    match public.verify(&statement.bytes(), &signature.bytes) {
        Ok(()) => Ok(signature.key.clone()),
        Err(_) => Err(Error::OtherStatement {
            statement: Box::new(statement.clone()),
            key: signature.key.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
