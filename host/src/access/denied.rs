//! Why a caller is not let in, and how that is answered.

use std::sync::Arc;

use super::{Caller, Role};

/// Why a caller is not let in. No variant holds any part of a token but what its claims say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was shown.
    #[error(
        "a bearer token is needed; send the header `authorization: Bearer TOKEN`{}",
        if *.certificates { ", or a client certificate that `access.certificates` names" } else { "" }
    )]
    Missing {
        /// Whether a certificate would do, too.
        certificates: bool,
    },
    /// What was shown is no token.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// It is none of the configuration's, and no JWT of the issuer's.
    #[error("the host does not know the token")]
    Unknown,
    /// A JWT is not signed by an algorithm of the list.
    #[error(
        "tokens must be signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA"
    )]
    Algorithm,
    /// No key of the issuer signed it.
    #[error("the token names a signing key that its issuer does not publish")]
    UnknownKey,
    /// The signature is not that of its key.
    #[error("the token's signature is wrong")]
    Forged,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Somebody else issued it.
    #[error("the token is not of the issuer that this host trusts")]
    WrongIssuer,
    /// It is for somebody else.
    #[error("the token is not for this host's audience")]
    WrongAudience,
    /// A claim that every token must have is missing, or is no text or number.
    #[error("the token's claim `{0}` is missing or malformed")]
    Claim(String),
    /// It gives no role.
    #[error("the token has no role: its claim `{0}` is missing")]
    NoRole(String),
    /// It gives no role that there is.
    #[error("the claim `{0}` names none of the roles viewer, client and operator")]
    UnknownRole(String),
    /// It gives no tenant.
    #[error(
        "the token has no tenant: its claim `{0}` is missing, or is no name of 1 to 64 plain characters"
    )]
    NoTenant(String),
    /// The certificate is nobody's.
    #[error(
        "no entry of `access.certificates` names the client certificate; send a bearer token besides"
    )]
    UnknownCertificate,
    /// The caller is known, and may not do this.
    #[error("this needs the role `{needed}`; `{}` has the role `{}`", .caller.name, .caller.role)]
    Forbidden {
        /// The least role that may.
        needed: Role,
        /// Who asked.
        caller: Arc<Caller>,
    },
    /// The issuer's keys cannot be had, so nothing can be said of the token.
    #[error("the keys of the token's issuer cannot be fetched now")]
    KeysUnavailable,
}

/// What kind of answer a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller is not known: `UNAUTHENTICATED`, 401.
    Unauthenticated,
    /// The caller is known: `PERMISSION_DENIED`, 403.
    Forbidden,
    /// It cannot be told: `UNAVAILABLE`, 503.
    Unavailable,
}

impl Denied {
    /// How it is answered.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Forbidden { .. } | Self::NoRole(_) | Self::UnknownRole(_) | Self::NoTenant(_) => {
                Kind::Forbidden
            }
            Self::KeysUnavailable => Kind::Unavailable,
            _ => Kind::Unauthenticated,
        }
    }

    /// Why, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "TOKEN_MISSING",
            Self::Malformed(_) => "TOKEN_MALFORMED",
            Self::Unknown => "TOKEN_UNKNOWN",
            Self::Algorithm => "TOKEN_ALGORITHM_NOT_ALLOWED",
            Self::UnknownKey => "TOKEN_KEY_UNKNOWN",
            Self::Forged => "TOKEN_FORGED",
            Self::Expired => "TOKEN_EXPIRED",
            Self::NotYetValid => "TOKEN_NOT_YET_VALID",
            Self::WrongIssuer => "TOKEN_WRONG_ISSUER",
            Self::WrongAudience => "TOKEN_WRONG_AUDIENCE",
            Self::Claim(_) => "TOKEN_CLAIM_MISSING",
            Self::NoRole(_) => "ROLE_MISSING",
            Self::UnknownRole(_) => "ROLE_UNKNOWN",
            Self::NoTenant(_) => "TENANT_MISSING",
            Self::UnknownCertificate => "CERTIFICATE_UNKNOWN",
            Self::Forbidden { .. } => "ROLE_INSUFFICIENT",
            Self::KeysUnavailable => "TOKEN_KEYS_UNAVAILABLE",
        }
    }

    /// The `www-authenticate` header of the answer (RFC 6750, section 3).
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        match (self, self.kind()) {
            (Self::Missing { .. } | Self::UnknownCertificate, _) => {
                Some("Bearer realm=\"conclave\"")
            }
            (Self::Malformed(_), _) => Some("Bearer realm=\"conclave\", error=\"invalid_request\""),
            (_, Kind::Unauthenticated) => {
                Some("Bearer realm=\"conclave\", error=\"invalid_token\"")
            }
            (_, Kind::Forbidden) => Some("Bearer realm=\"conclave\", error=\"insufficient_scope\""),
            (_, Kind::Unavailable) => None,
        }
    }

    /// Who was refused, where that is known.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Forbidden { caller, .. } => Some(caller),
            _ => None,
        }
    }
}
