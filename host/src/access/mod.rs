//! Who calls, and what they may do.

use conclave_core::ids::Tenant;

/// What a caller may do. Each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read what is its tenant's.
    Viewer,
    /// Submit and cancel, too.
    Client,
    /// Change the host: its plugins and what it does with them.
    Operator,
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
        Self {
            name: "anonymous".to_owned(),
            tenant: Tenant::default(),
            role: Role::Operator,
        }
    }
}
