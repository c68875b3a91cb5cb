//! The settings of TLS and of access control.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Role;

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate and those between it and a root, as PEM. With it both gRPC and HTTP are
    /// encrypted; without it neither is.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    pub key: Option<PathBuf>,
    /// The roots of client certificates, as PEM. With it gRPC clients must show one.
    pub client_ca: Option<PathBuf>,
}

/// `[access]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Whom the host asks who they are.
    pub mode: AccessMode,
    /// A file to which the audit log is appended, a JSON object a line; it is in the log in any case.
    pub audit_file: Option<PathBuf>,
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
    /// Bearer tokens, each known by its sha256: `conclave token new` makes one.
    pub tokens: Vec<AccessToken>,
    /// Whom the bearers of client certificates are; the first entry that fits counts.
    pub certificates: Vec<AccessCertificate>,
    /// Bearer tokens of an issuer.
    pub jwt: Jwt,
}

/// Whom the host asks who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// `off` where both addresses are loopback; else `required`, but `legacy` where `GRPC_PORT` is set
    /// and nothing of `access` is configured.
    #[default]
    Auto,
    /// Everybody.
    Required,
    /// Everybody but the clients of both `RayExecutorService` packages.
    Legacy,
    /// Nobody: whoever reaches the host may do everything.
    Off,
}

/// `[[access.tokens]]`: a token, which itself never stands in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessToken {
    /// Who shows it, for the audit log; unique.
    pub name: String,
    /// What its bearer may do: `viewer`, `client` or `operator`.
    pub role: Role,
    /// Whose records its bearer sees and makes.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// The sha256 of the token, 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// A file that holds that sha256.
    #[serde(default)]
    pub sha256_file: Option<PathBuf>,
    /// When it ends, as RFC 3339, for example `2030-01-31T00:00:00Z`; never when absent.
    #[serde(default)]
    pub expires: Option<String>,
}

/// `[[access.certificates]]`: whom the bearer of a client certificate is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessCertificate {
    /// A DNS name or URI of the certificate, exactly; `*` stands for every certificate.
    pub name: String,
    /// What its bearer may do: `viewer`, `client` or `operator`.
    pub role: Role,
    /// Whose records its bearer sees and makes.
    #[serde(default = "default_tenant")]
    pub tenant: String,
}

fn default_tenant() -> String {
    conclave_core::ids::Tenant::DEFAULT.to_owned()
}

/// `[access.jwt]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// What a token's `iss` must be.
    pub issuer: Option<String>,
    /// What a token's `aud` must be, or must hold.
    pub audience: Option<String>,
    /// The issuer's public keys, a JSON Web Key Set. It is read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Where the issuer publishes them: `https`, or `http` on loopback.
    pub jwks_url: Option<String>,
    /// The claim that has the role, or a list of roles; dots lead into objects.
    pub role_claim: String,
    /// The claim that has the tenant; dots lead into objects. Empty: all tokens are the default tenant's.
    pub tenant_claim: String,
    /// How far the clocks of issuer and host may be apart.
    pub leeway_seconds: u64,
    /// The least time between two fetches from `jwks_url`, whatever keys tokens name.
    pub refresh_seconds: u64,
    /// After how long the keys of `jwks_url` are fetched again. While that fails, the old ones serve.
    pub age_max_seconds: u64,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks_file: None,
            jwks_url: None,
            role_claim: "conclave_role".to_owned(),
            tenant_claim: "tenant".to_owned(),
            // What clocks that are set by NTP never reach.
            leeway_seconds: 30,
            // A new key serves after at most this time, and nobody makes the host ask more often.
            refresh_seconds: 60,
            // A key that is withdrawn serves at most this long.
            age_max_seconds: 900,
        }
    }
}
