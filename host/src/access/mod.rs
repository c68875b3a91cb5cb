//! Who calls, and what they may do.
//!
//! A caller shows a bearer token, which is one of the configuration's or a JWT, or a client certificate;
//! [`Access::admit`] turns it into a [`Caller`] with a role and a tenant, or says why not. What each
//! method needs stands in [`policy`]; what changed, and what was refused, goes to the [`audit`] log.

mod admit;
pub mod audit;
pub mod denied;
mod jwt;
mod keys;
pub mod policy;
mod secret;
mod tokens;

use std::fmt;

use conclave_core::ids::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::admit::{Access, CertificateRule, Error, Mode, Settings};
pub use self::denied::Denied;
pub use self::jwt::{Keys, Settings as JwtSettings};
pub use self::secret::Bearer;
pub use self::tokens::Token;

/// What a caller may do. Each may do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read what is its tenant's.
    Viewer,
    /// Submit and cancel, too.
    Client,
    /// Change the host: its plugins and what it does with them.
    Operator,
}

impl Role {
    /// All of them, the one that may do most last.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Client, Self::Operator];

    /// The role of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Its name, as configurations and tokens have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody who calls the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who, for the audit log.
    pub name: String,
    /// Whose records it sees, and whose it makes.
    pub tenant: Tenant,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// Whoever reaches a host that asks nobody for a token.
    #[must_use]
    pub fn anyone() -> Self {
        Self::anonymous(Role::Operator)
    }

    /// Somebody of the default tenant who shows nothing, where that is enough for this role.
    pub(crate) fn anonymous(role: Role) -> Self {
        Self {
            name: "anonymous".to_owned(),
            tenant: Tenant::default(),
            role,
        }
    }
}
