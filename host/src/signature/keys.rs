//! Keys of ed25519, as `openssl` writes them.

use std::fmt;
use std::str::FromStr;

use conclave_core::ids::Digest;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::{Signature, Statement};

/// Bytes of a public key.
const PUBLIC_BYTES: usize = 32;
/// What stands before a public key in its DER form (RFC 8410): an algorithm and no parameters.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Hexadecimal digits of an id.
const ID_CHARS: usize = 16;

/// A short name of a public key: the first 16 digits of the sha256 of its DER form, which
/// `openssl pkey -pubin -in public.pem -outform der | sha256sum` prints.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    fn of(bytes: &[u8; PUBLIC_BYTES]) -> Self {
        let der = [&SPKI_PREFIX[..], bytes].concat();
        let mut id = Digest::of(&der).to_string();
        id.truncate(ID_CHARS);
        Self(id)
    }
}

impl FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == ID_CHARS && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey::NotAnId)
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is no public key in PEM.
    #[error("is not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    NotPublic,
    /// It is no private key in PEM.
    #[error("is not a private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NotPrivate,
    /// It is a key of another algorithm.
    #[error("is not a key of ed25519: `openssl genpkey -algorithm ed25519` makes one")]
    OtherAlgorithm,
    /// It is no id of a key.
    #[error("is not the id of a key, {ID_CHARS} hexadecimal digits")]
    NotAnId,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    bytes: [u8; PUBLIC_BYTES],
}

impl PublicKey {
    /// Reads the PEM of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// When it is none, or one of another algorithm.
    pub fn of_pem(pem: &str) -> Result<Self, InvalidKey> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| InvalidKey::NotPublic)?;
        let bytes = der.strip_prefix(&SPKI_PREFIX[..]);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or(InvalidKey::OtherAlgorithm)?;
        Ok(Self {
            id: KeyId::of(&bytes),
            bytes,
        })
    }

    /// Its short name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The public keys that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<PublicKey>);

impl Keys {
    /// The key with this id.
    pub(super) fn get(&self, id: &KeyId) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id == *id)
    }
}

impl FromIterator<PublicKey> for Keys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// A key that signs.
pub struct PrivateKey {
    id: KeyId,
    pair: Ed25519KeyPair,
}

impl PrivateKey {
    /// Reads the PEM of a PKCS#8 document, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// When it is none, or one of another algorithm.
    pub fn of_pem(pem: &str) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| InvalidKey::NotPrivate)?;
        // openssl leaves the public half out, which `from_pkcs8` would compare.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| InvalidKey::OtherAlgorithm)?;
        let public = pair.public_key().as_ref().try_into();
        let id = KeyId::of(&public.map_err(|_| InvalidKey::OtherAlgorithm)?);
        Ok(Self { id, pair })
    }

    /// The short name of its public half.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Signs a statement.
    #[must_use]
    pub fn sign(&self, statement: &Statement) -> Signature {
        let signed = self.pair.sign(&statement.bytes());
        let bytes = signed.as_ref().try_into();
        Signature {
            key: self.id.clone(),
            bytes: bytes.expect("a signature of ed25519 has 64 bytes"),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
