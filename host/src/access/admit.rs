//! Lets callers in, or says why not.

use std::path::PathBuf;
use std::sync::Arc;

use conclave_core::ids::Tenant;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::header::AUTHORIZATION;

use super::audit::{self, Audit};
use super::jwt::{self, Jwt};
use super::policy::Rule;
use super::tokens::{Token, Tokens};
use super::{Bearer, Caller, Denied, Role, keys};
use crate::tls::Peer;

/// Whom the host asks who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody: whoever reaches it may do everything.
    #[default]
    Off,
    /// Everybody but the clients of both `RayExecutorService` packages, who may be anonymous as before.
    Legacy,
    /// Everybody.
    Required,
}

/// Whom the bearer of a client certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    /// A DNS name or URI of the certificate; `*` stands for every certificate.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Whose it is.
    pub tenant: Tenant,
}

/// Who is let in, and how that is noted.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whom the host asks.
    pub mode: Mode,
    /// Tokens by digest.
    pub tokens: Vec<Token>,
    /// Tokens of an issuer.
    pub jwt: Option<jwt::Settings>,
    /// Certificates, the first that fits counts.
    pub certificates: Vec<CertificateRule>,
    /// A file to which the audit log is appended.
    pub audit_file: Option<PathBuf>,
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
}

impl Settings {
    /// Whether anybody could show anything.
    #[must_use]
    pub fn knows_anybody(&self) -> bool {
        !self.tokens.is_empty() || self.jwt.is_some() || !self.certificates.is_empty()
    }
}

/// Why callers cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keys of tokens cannot be had.
    #[error("cannot check tokens by `access.jwt`")]
    Keys(#[from] keys::Error),
    /// The audit log has no file.
    #[error(transparent)]
    Audit(#[from] audit::Error),
}

/// Lets callers in.
#[derive(Debug)]
pub struct Access {
    mode: Mode,
    tokens: Tokens,
    jwt: Option<Jwt>,
    certificates: Vec<CertificateRule>,
    metrics_open: bool,
    anyone: Arc<Caller>,
    nobody: Arc<Caller>,
    audit: Option<Audit>,
}

impl Access {
    /// Reads what is needed to check callers, and opens the audit log: that is kept where callers are
    /// known, and where a file for it is named.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let audited = settings.mode != Mode::Off || settings.audit_file.is_some();
        let audit = match audited {
            true => Some(Audit::start(settings.audit_file.as_deref())?),
            false => None,
        };
        Ok(Self {
            jwt: settings.jwt.map(Jwt::new).transpose()?,
            tokens: Tokens::new(settings.tokens),
            audit,
            ..Self::of(settings.mode, settings.certificates, settings.metrics_open)
        })
    }

    /// Checks what [`Access::new`] would, and opens nothing.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn check(settings: &Settings) -> Result<(), Error> {
        settings.jwt.clone().map(Jwt::new).transpose()?;
        Ok(())
    }

    /// Lets everybody in.
    #[must_use]
    pub fn off() -> Self {
        Self::of(Mode::Off, Vec::new(), false)
    }

    fn of(mode: Mode, certificates: Vec<CertificateRule>, metrics_open: bool) -> Self {
        Self {
            mode,
            tokens: Tokens::new(Vec::new()),
            jwt: None,
            certificates,
            metrics_open,
            anyone: Arc::new(Caller::anyone()),
            nobody: Arc::new(Caller::anonymous(Role::Client)),
            audit: None,
        }
    }

    /// Whether `/metrics` needs no token.
    #[must_use]
    pub fn metrics_open(&self) -> bool {
        self.metrics_open
    }

    /// Where changes and refusals are noted, if they are.
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }

    /// Whether the caller may see what is counted over all tenants: operators may, and everybody where
    /// there is but one tenant.
    #[must_use]
    pub fn shows_totals_to(&self, caller: &Caller) -> bool {
        let one_tenant = self.mode == Mode::Legacy && !self.knows_anybody();
        caller.role >= Role::Operator || one_tenant
    }

    /// The caller, when it may do what the rule is of.
    ///
    /// # Errors
    /// Why it may not. A fetch of an issuer's keys may be waited for, some seconds at most.
    pub async fn admit(
        &self,
        rule: &Rule,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Arc<Caller>, Denied> {
        if self.mode == Mode::Off {
            return Ok(Arc::clone(&self.anyone));
        }
        let Some(needed) = rule.role else {
            return Ok(Arc::clone(&self.nobody));
        };
        let anonymous = self.mode == Mode::Legacy && rule.legacy;
        let caller = match self.identify(headers, peer).await {
            Err(_) if anonymous && !self.knows_anybody() => Arc::clone(&self.nobody),
            Err(Denied::Missing { .. } | Denied::UnknownCertificate) if anonymous => {
                Arc::clone(&self.nobody)
            }
            identified => identified?,
        };
        if caller.role < needed {
            return Err(Denied::Forbidden { needed, caller });
        }
        Ok(caller)
    }

    fn knows_anybody(&self) -> bool {
        !self.tokens.is_empty() || self.jwt.is_some() || !self.certificates.is_empty()
    }

    /// Who calls: a token outdoes a certificate.
    async fn identify(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Arc<Caller>, Denied> {
        let Some(bearer) = bearer(headers)? else {
            return self.certified(peer);
        };
        if let Some(found) = self.tokens.find(&bearer) {
            return found;
        }
        match &self.jwt {
            // What has no dots is no JWT: it would be one of the configuration's.
            Some(jwt) if self.tokens.is_empty() || bearer.reveal().contains('.') => {
                jwt.check(&bearer).await
            }
            _ => Err(Denied::Unknown),
        }
    }

    fn certified(&self, peer: Option<&Peer>) -> Result<Arc<Caller>, Denied> {
        let certificate = peer.and_then(|peer| peer.certificate.as_ref());
        let Some(certificate) = certificate else {
            let certificates = !self.certificates.is_empty();
            return Err(Denied::Missing { certificates });
        };
        let names =
            |rule: &&CertificateRule| rule.name == "*" || certificate.names.contains(&rule.name);
        let rule = self.certificates.iter().find(names);
        let rule = rule.ok_or(Denied::UnknownCertificate)?;
        let name = certificate.names.iter().find(|name| **name == rule.name);
        let name = name.or(certificate.names.first());
        Ok(Arc::new(Caller {
            name: name
                .map_or("a certificate without names", String::as_str)
                .to_owned(),
            tenant: rule.tenant.clone(),
            role: rule.role,
        }))
    }
}

/// The token of the header `authorization` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<Bearer>, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Denied::Malformed("there are two headers `authorization`"));
    }
    let text = value.to_str();
    let text = text.map_err(|_| Denied::Malformed("it has other characters than ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(Some(Bearer::new(token)))
        }
        _ => Err(Denied::Malformed(
            "the header must be `authorization: Bearer TOKEN`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::ids::Digest;

    use super::*;
    use crate::access::policy;
    use crate::tls::Certificate;

    const CREATE: &str = "/conclave.v1.Deliberations/CreateDeliberation";
    const GET: &str = "/conclave.v1.Deliberations/GetDeliberation";
    const EXECUTE: &str = "/ray_executor.v1.RayExecutorService/ExecuteDeliberation";
    const HEALTH: &str = "/grpc.health.v1.Health/Check";

    fn token(name: &str, role: Role) -> Token {
        Token {
            digest: Digest::of(format!("{name}-token").as_bytes()),
            caller: Arc::new(Caller {
                name: name.to_owned(),
                tenant: Tenant::new("a"),
                role,
            }),
            expires: None,
        }
    }

    fn access(mode: Mode, tokens: Vec<Token>) -> Access {
        Access {
            tokens: Tokens::new(tokens),
            ..Access::of(mode, Vec::new(), false)
        }
    }

    fn headers(authorization: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    async fn admit(access: &Access, path: &str, authorization: &[&str]) -> Result<String, Denied> {
        let headers = headers(authorization);
        let admitted = access.admit(&policy::of_method(path), &headers, None).await;
        admitted.map(|caller| format!("{} {} {}", caller.name, caller.tenant, caller.role))
    }

    #[tokio::test]
    async fn a_role_may_do_what_the_ones_before_it_may() {
        let tokens = Role::ALL.map(|role| token(role.as_str(), role));
        let access = access(Mode::Required, tokens.to_vec());
        let drop_all = "/conclave.v1.Deliberations/DropAll";
        for (name, path, allowed) in [
            ("viewer", GET, true),
            ("viewer", CREATE, false),
            ("viewer", drop_all, false),
            ("client", GET, true),
            ("client", CREATE, true),
            ("client", EXECUTE, true),
            ("client", drop_all, false),
            ("operator", GET, true),
            ("operator", CREATE, true),
            ("operator", drop_all, true),
        ] {
            let header = format!("Bearer {name}-token");
            match admit(&access, path, &[&header]).await {
                Ok(caller) => assert!(allowed && caller == format!("{name} a {name}"), "{path}"),
                Err(Denied::Forbidden { caller, .. }) => assert!(!allowed && caller.name == name),
                Err(other) => unreachable!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn whoever_shows_nothing_or_nonsense_is_refused_but_for_probes() {
        let access = access(Mode::Required, vec![token("ann", Role::Operator)]);
        let missing = Err(Denied::Missing {
            certificates: false,
        });
        for path in [GET, CREATE, EXECUTE, "/nothing"] {
            assert_eq!(admit(&access, path, &[]).await, missing, "{path}");
        }
        assert_eq!(
            admit(&access, GET, &["bearer ann-token"]).await.unwrap(),
            "ann a operator"
        );
        assert_eq!(
            admit(&access, GET, &["Bearer bob-token"]).await,
            Err(Denied::Unknown)
        );
        for nonsense in [
            &["ann-token"][..],
            &["Basic YTpi"],
            &["Bearer "],
            &["Bearer ann-token"; 2],
        ] {
            let told = admit(&access, GET, nonsense).await;
            assert!(
                matches!(told, Err(Denied::Malformed(_))),
                "{nonsense:?}: {told:?}"
            );
        }
        assert!(admit(&access, HEALTH, &["Bearer x"]).await.is_ok());
    }

    #[tokio::test]
    async fn the_packages_of_before_stay_open_where_the_operator_leaves_it_so() {
        let anonymous = Ok("anonymous default client".to_owned());
        let open = access(Mode::Legacy, Vec::new());
        assert_eq!(admit(&open, EXECUTE, &[]).await, anonymous);
        assert_eq!(
            admit(&open, EXECUTE, &["Basic of a proxy"]).await,
            anonymous
        );
        assert!(admit(&open, GET, &[]).await.is_err());
        assert!(
            admit(&open, "/ray_executor.v1.RayExecutorService/Drop", &[])
                .await
                .is_err()
        );
        assert!(open.shows_totals_to(&open.nobody));

        let both = access(Mode::Legacy, vec![token("ann", Role::Viewer)]);
        assert_eq!(admit(&both, EXECUTE, &[]).await, anonymous);
        assert_eq!(
            admit(&both, GET, &["Bearer ann-token"]).await.unwrap(),
            "ann a viewer"
        );
        assert_eq!(
            admit(&both, EXECUTE, &["Bearer bob-token"]).await,
            Err(Denied::Unknown)
        );
        assert!(matches!(
            admit(&both, EXECUTE, &["Bearer ann-token"]).await,
            Err(Denied::Forbidden { .. })
        ));
        assert!(!both.shows_totals_to(&both.nobody));
    }

    #[tokio::test]
    async fn a_certificate_stands_for_the_first_rule_that_names_it() {
        let rule = |name: &str, role| CertificateRule {
            name: name.to_owned(),
            role,
            tenant: Tenant::new("a"),
        };
        let peer = |names: &[&str]| Peer {
            addr: ([127, 0, 0, 1], 1).into(),
            certificate: Some(Arc::new(Certificate {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            })),
        };
        let named = vec![rule("spiffe://x/ann", Role::Operator)];
        let strict = Access::of(Mode::Required, named.clone(), false);
        let everybody = [named, vec![rule("*", Role::Viewer)]].concat();
        let lax = Access::of(Mode::Required, everybody, false);
        let rule = policy::of_method(GET);
        let (none, ann, bob) = (
            headers(&[]),
            peer(&["ann", "spiffe://x/ann"]),
            peer(&["bob"]),
        );
        let told = strict.admit(&rule, &none, Some(&ann)).await.unwrap();
        assert_eq!(
            (told.name.as_str(), told.role),
            ("spiffe://x/ann", Role::Operator)
        );
        let told = strict.admit(&rule, &none, Some(&bob)).await;
        assert_eq!(told, Err(Denied::UnknownCertificate));
        let told = lax.admit(&rule, &none, Some(&bob)).await.unwrap();
        assert_eq!((told.name.as_str(), told.role), ("bob", Role::Viewer));
        let told = lax.admit(&rule, &headers(&["Bearer x"]), Some(&ann)).await;
        assert_eq!(told, Err(Denied::Unknown), "a token outdoes a certificate");
    }

    #[tokio::test]
    async fn without_access_control_everybody_may_do_everything() {
        let off = Access::off();
        for path in [GET, CREATE, "/anything"] {
            let told = admit(&off, path, &["Bearer x"]).await.unwrap();
            assert_eq!(told, "anonymous default operator");
        }
        assert!(off.shows_totals_to(&Caller::anyone()));
    }
}
