//! What the settings of TLS and access control mean, and which rules they break.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use conclave_core::ids::{Digest, Tenant};
use url::Url;

use super::access::{AccessMode, AccessToken, Jwt};
use super::legacy;
use super::problem::{Origin, Problem};
use super::settings::Config;
use crate::access::{self, Caller, CertificateRule, JwtSettings, Keys, Mode, Token};
use crate::tls;

/// What is made of the settings.
pub(super) struct Callers {
    pub(super) access: access::Settings,
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<String>,
}

/// Reads whom the host shall know.
pub(super) fn read(config: &Config, origins: &BTreeMap<String, Origin>) -> Callers {
    let mut reading = Reading {
        config,
        origins,
        problems: Vec::new(),
    };
    reading.tls();
    let settings = access::Settings {
        mode: Mode::Off,
        tokens: reading.tokens(),
        jwt: reading.jwt(),
        certificates: reading.certificates(),
        audit_file: config.access.audit_file.clone(),
        metrics_open: config.access.metrics_open,
    };
    let (mode, notices) = reading.mode(&settings);
    Callers {
        access: access::Settings { mode, ..settings },
        problems: reading.problems,
        notices,
    }
}

impl Config {
    /// Where certificates are, if connections shall be encrypted.
    #[must_use]
    pub fn tls(&self) -> Option<tls::Settings> {
        Some(tls::Settings {
            certificate: self.tls.certificate.clone()?,
            key: self.tls.key.clone()?,
            client_ca: self.tls.client_ca.clone(),
        })
    }

    /// The addresses that other machines can reach, with their keys.
    fn reachable(&self) -> Vec<(&'static str, SocketAddr)> {
        let addresses = [
            ("server.grpc_addr", self.server.grpc_addr),
            ("server.http_addr", self.server.http_addr),
        ];
        let reachable = addresses
            .into_iter()
            .filter(|(_, addr)| !addr.ip().to_canonical().is_loopback());
        reachable.collect()
    }
}

struct Reading<'a> {
    config: &'a Config,
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// Notes that a value breaks a rule.
    fn broken(&mut self, key: &str, value: impl std::fmt::Display, rule: impl Into<String>) {
        let whole = key.split('[').next().unwrap_or(key);
        let origin = self.origins.get(whole).cloned();
        self.problems.push(Problem::BadValue {
            key: key.to_owned(),
            value: value.to_string(),
            origin: origin.unwrap_or(Origin::Default),
            rule: rule.into(),
        });
    }

    fn tls(&mut self) {
        let tls = &self.config.tls;
        let shown = |path: &std::path::Path| format!("`{}`", path.display());
        match (&tls.certificate, &tls.key) {
            (Some(certificate), None) => {
                let rule = "needs `tls.key`, its private key";
                self.broken("tls.certificate", shown(certificate), rule);
            }
            (None, Some(key)) => {
                self.broken(
                    "tls.key",
                    shown(key),
                    "needs `tls.certificate`, whose key it is",
                );
            }
            _ => {}
        }
        if let (Some(roots), None) = (&tls.client_ca, &tls.certificate) {
            let rule =
                "needs `tls.certificate` and `tls.key`: clients show certificates within TLS only";
            self.broken("tls.client_ca", shown(roots), rule);
        }
    }

    fn tokens(&mut self) -> Vec<Token> {
        let listed = &self.config.access.tokens;
        let mut tokens: Vec<Token> = Vec::new();
        for (at, entry) in listed.iter().enumerate() {
            let key = |field: &str| format!("access.tokens[{at}].{field}");
            let name = format!("`{}`", entry.name);
            if entry.name.trim().is_empty() {
                self.broken(&key("name"), &name, "must not be blank");
            }
            if listed[..at].iter().any(|other| other.name == entry.name) {
                self.broken(&key("name"), &name, "must be unique");
            }
            let tenant = self.tenant(&key("tenant"), &entry.tenant);
            let expires = match entry.expires.as_deref().map(time) {
                None => None,
                Some(Some(time)) => Some(time),
                Some(None) => {
                    let text = entry.expires.as_deref().unwrap_or_default();
                    let rule = "must be a time like 2030-01-31T00:00:00Z";
                    self.broken(&key("expires"), format!("`{text}`"), rule);
                    None
                }
            };
            let digest = match digest(entry) {
                Ok(digest) => digest,
                Err((field, rule)) => {
                    // Somebody may have put the token itself there.
                    self.broken(&key(field), "hidden", rule);
                    continue;
                }
            };
            if tokens.iter().any(|token| token.digest == digest) {
                self.broken(&key("sha256"), "hidden", "is that of another entry's token");
            }
            let caller = Arc::new(Caller {
                name: entry.name.clone(),
                tenant,
                role: entry.role,
            });
            tokens.push(Token {
                digest,
                caller,
                expires,
            });
        }
        tokens
    }

    fn certificates(&mut self) -> Vec<CertificateRule> {
        let listed = &self.config.access.certificates;
        let mut rules = Vec::new();
        for (at, entry) in listed.iter().enumerate() {
            let key = |field: &str| format!("access.certificates[{at}].{field}");
            let name = format!("`{}`", entry.name);
            if entry.name.trim().is_empty() {
                self.broken(
                    &key("name"),
                    &name,
                    "must be a DNS name or URI, or `*` for all",
                );
            }
            if listed[..at].iter().any(|other| other.name == entry.name) {
                self.broken(&key("name"), &name, "must be unique");
            }
            if self.config.tls.client_ca.is_none() {
                let rule = "needs `tls.client_ca`: nothing else verifies client certificates";
                self.broken(&key("name"), &name, rule);
            }
            rules.push(CertificateRule {
                name: entry.name.clone(),
                role: entry.role,
                tenant: self.tenant(&key("tenant"), &entry.tenant),
            });
        }
        rules
    }

    fn tenant(&mut self, key: &str, text: &str) -> Tenant {
        Tenant::parse(text).unwrap_or_else(|error| {
            self.broken(key, format!("`{text}`"), error.to_string());
            Tenant::default()
        })
    }

    fn jwt(&mut self) -> Option<JwtSettings> {
        let jwt = &self.config.access.jwt;
        for (key, value) in [
            ("access.jwt.issuer", &jwt.issuer),
            ("access.jwt.audience", &jwt.audience),
            ("access.jwt.role_claim", &Some(jwt.role_claim.clone())),
        ] {
            if value.as_ref().is_some_and(|text| text.trim().is_empty()) {
                self.broken(key, "``", "must not be blank");
            }
        }
        let keys = self.keys(jwt);
        let set = [
            ("access.jwt.issuer", jwt.issuer.is_some()),
            ("access.jwt.audience", jwt.audience.is_some()),
            ("access.jwt.jwks_file", jwt.jwks_file.is_some()),
            ("access.jwt.jwks_url", jwt.jwks_url.is_some()),
        ];
        let first = set.iter().find(|(_, is_set)| *is_set)?.0;
        match (&jwt.issuer, &jwt.audience, keys) {
            (Some(issuer), Some(audience), Some(keys)) => Some(JwtSettings {
                issuer: issuer.clone(),
                audience: audience.clone(),
                keys,
                role_claim: jwt.role_claim.clone(),
                tenant_claim: Some(jwt.tenant_claim.clone()).filter(|name| !name.is_empty()),
                leeway: Duration::from_secs(jwt.leeway_seconds),
            }),
            (issuer, audience, keys) => {
                let lacks = [
                    ("`access.jwt.issuer`", issuer.is_none()),
                    ("`access.jwt.audience`", audience.is_none()),
                    (
                        "`access.jwt.jwks_file` or `access.jwt.jwks_url`",
                        keys.is_none(),
                    ),
                ];
                let lacks: Vec<_> = lacks
                    .iter()
                    .filter(|(_, lacking)| *lacking)
                    .map(|(key, _)| *key)
                    .collect();
                if self.problems.is_empty() {
                    let rule = format!("needs {} besides", lacks.join(" and "));
                    self.broken(first, "set", rule);
                }
                None
            }
        }
    }

    fn keys(&mut self, jwt: &Jwt) -> Option<Keys> {
        match (&jwt.jwks_file, &jwt.jwks_url) {
            (Some(path), None) => Some(Keys::File(path.clone())),
            (None, Some(text)) => {
                let url = Url::parse(text).ok().filter(fetchable);
                if url.is_none() {
                    let shown = super::problem::without_userinfo(&format!("`{text}`"));
                    let rule = "must be an https URL without user and password, or an http one on loopback";
                    self.broken("access.jwt.jwks_url", shown, rule);
                }
                Some(Keys::Url {
                    url: url?,
                    refresh: Duration::from_secs(jwt.refresh_seconds),
                    age_max: Duration::from_secs(jwt.age_max_seconds),
                })
            }
            (Some(_), Some(_)) => {
                let rule = "must not be set besides `access.jwt.jwks_file`";
                self.broken("access.jwt.jwks_url", "set", rule);
                None
            }
            (None, None) => None,
        }
    }

    /// Whom the host asks, and what the operator should know of it.
    fn mode(&mut self, settings: &access::Settings) -> (Mode, Vec<String>) {
        let reachable = self.config.reachable();
        let configured = settings.knows_anybody();
        let is_legacy = matches!(
            self.origins.get("server.grpc_addr"),
            Some(Origin::Variable(name)) if name == legacy::GRPC_PORT
        );
        let mode = match self.config.access.mode {
            AccessMode::Off => Mode::Off,
            AccessMode::Required => Mode::Required,
            AccessMode::Legacy => Mode::Legacy,
            AccessMode::Auto if reachable.is_empty() => Mode::Off,
            AccessMode::Auto if is_legacy && !configured => Mode::Legacy,
            AccessMode::Auto => Mode::Required,
        };
        if mode == Mode::Required && !configured && self.problems.is_empty() {
            let remedy = "configure `access.tokens` (`conclave token new NAME` makes one), `access.jwt`, \
                          or `tls.client_ca` with `access.certificates`; or say `access.mode = \"off\"` to \
                          serve everybody who reaches the host";
            match (reachable.first(), self.config.access.mode) {
                (Some((key, addr)), AccessMode::Auto) => {
                    let rule = format!("is an address that other machines can reach: {remedy}");
                    // "it is an address": the rule's verb stands for what the value is.
                    self.broken(key, format!("`{addr}`"), rule);
                }
                _ => {
                    let rule = format!("would let nobody in: {remedy}");
                    self.broken("access.mode", "`required`", rule);
                }
            }
        }
        (mode, self.notices(mode, settings))
    }

    fn notices(&self, mode: Mode, settings: &access::Settings) -> Vec<String> {
        let reachable = self.config.reachable();
        let addresses: Vec<_> = reachable.iter().map(|(_, addr)| addr.to_string()).collect();
        let addresses = addresses.join(" and ");
        let mut notices = Vec::new();
        match mode {
            Mode::Off if !reachable.is_empty() => notices.push(format!(
                "access control is off (`access.mode`): whoever reaches {addresses} may do everything"
            )),
            Mode::Off if settings.knows_anybody() => notices.push(
                "callers are configured in `access`, and nobody is asked: access control is off on \
                 loopback; set `access.mode` to `required`"
                    .to_owned(),
            ),
            Mode::Legacy => notices.push(format!(
                "both RayExecutorService packages are open to whoever reaches {}, as they were before; \
                 everything else but the health checks needs a token. Configure `access.tokens` or \
                 `access.jwt`, and set `access.mode` to `required` once all clients send tokens",
                if addresses.is_empty() { "loopback" } else { &addresses },
            )),
            Mode::Off | Mode::Required => {}
        }
        let shows_tokens = !settings.tokens.is_empty() || settings.jwt.is_some();
        if mode != Mode::Off && shows_tokens && !reachable.is_empty() && self.config.tls().is_none()
        {
            notices.push(format!(
                "tokens travel to {addresses} in clear text: set `tls.certificate` and `tls.key`, unless \
                 a proxy before the host encrypts"
            ));
        }
        notices
    }
}

/// The digest of a token, or the field that does not lead to it, and the rule.
fn digest(entry: &AccessToken) -> Result<Digest, (&'static str, String)> {
    let rule =
        "must be the sha256 of the token, 64 hexadecimal digits; `conclave token hash` prints it";
    match (&entry.sha256, &entry.sha256_file) {
        (Some(text), None) => text.trim().parse().map_err(|_| ("sha256", rule.to_owned())),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                (
                    "sha256_file",
                    format!("must be a readable file, `{path}` is not: {error}"),
                )
            })?;
            let digest = read.trim().parse();
            digest.map_err(|_| ("sha256_file", rule.replace("be", "hold")))
        }
        _ => Err(("sha256", "must be set, or `sha256_file` instead".to_owned())),
    }
}

fn time(text: &str) -> Option<SystemTime> {
    let time: prost_types::Timestamp = text.trim().parse().ok()?;
    SystemTime::try_from(time).ok()
}

fn fetchable(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user && (url.scheme() == "https" || url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests;
