//! The settings of registries that components come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::problem::{Origin, Problem};
use super::secrets::{Place, secret};
use super::settings::Config;
use crate::arrivals::oci::{Authority, Credentials, Password, Repositories, Settings};

/// `[plugins.oci]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// The OCI registries that components may be fetched from: `REGISTRY`, or `REGISTRY/PATH` for the
    /// repositories at and below a path; nothing listed, nothing allowed.
    #[schemars(with = "Vec<String>")]
    pub allowed: Vec<Repositories>,
    /// Registries that are spoken to over plain HTTP; only those of this machine can be.
    #[schemars(with = "Vec<String>")]
    pub insecure: Vec<Authority>,
    /// Other hosts that a registry may send to, for a token or for what it stores elsewhere.
    #[schemars(with = "Vec<String>")]
    pub hosts_also: Vec<Authority>,
    /// How long a connection to a registry may take.
    pub connect_timeout_seconds: u64,
    /// How long it may take to fetch a component.
    pub timeout_seconds: u64,
    /// Who the host is at a registry that wants to know.
    pub credentials: Vec<OciCredentials>,
}

impl Default for Oci {
    fn default() -> Self {
        let adapter = Settings::default();
        Self {
            allowed: Vec::new(),
            insecure: Vec::new(),
            hosts_also: Vec::new(),
            connect_timeout_seconds: adapter.connect_timeout.as_secs(),
            timeout_seconds: adapter.timeout.as_secs(),
            credentials: Vec::new(),
        }
    }
}

/// `[[plugins.oci.credentials]]`: the password itself never stands in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OciCredentials {
    /// The registry that wants them.
    #[schemars(with = "String")]
    pub registry: Authority,
    /// The user's name there.
    pub username: String,
    /// A file that holds the password or access token.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A variable that holds it.
    #[serde(default)]
    pub password_env: Option<String>,
}

/// How registries are used, and which secrets cannot be read.
pub(super) fn read(
    config: &Config,
    environment: &Environment,
    origins: &BTreeMap<String, Origin>,
) -> (Settings, Vec<Problem>) {
    let oci = &config.plugins.oci;
    let mut credentials = Vec::new();
    let mut problems = Vec::new();
    for (at, one) in oci.credentials.iter().enumerate() {
        let place = Place {
            file: ("password_file", one.password_file.as_deref()),
            variable: ("password_env", one.password_env.as_deref()),
            owner: ("registry", one.registry.to_string()),
        };
        let origin = origins.get("plugins.oci.credentials");
        match secret(&place, environment) {
            Ok(password) => credentials.push(Credentials {
                registry: one.registry.clone(),
                username: one.username.clone(),
                password: Password::new(password),
            }),
            Err((field, value, rule)) => problems.push(Problem::BadValue {
                key: format!("plugins.oci.credentials[{at}].{field}"),
                value,
                origin: origin.cloned().unwrap_or(Origin::Default),
                rule,
            }),
        }
    }
    let settings = Settings {
        allowed: oci.allowed.clone(),
        insecure: oci.insecure.clone(),
        hosts_also: oci.hosts_also.clone(),
        credentials,
        connect_timeout: Duration::from_secs(oci.connect_timeout_seconds),
        timeout: Duration::from_secs(oci.timeout_seconds),
        bytes_max: config.plugins.limits.component_bytes_max,
    };
    (settings, problems)
}

#[cfg(test)]
mod tests {
    use crate::config::{Error, Loaded, Sources, load};

    fn load_from(text: &str, password: &str) -> Result<Loaded, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conclave.toml");
        std::fs::write(&file, text).unwrap();
        let variable = ("CONCLAVE_REGISTRY_PASSWORD".to_owned(), password.to_owned());
        load(&Sources {
            file: Some(file),
            environment: [variable].into_iter().collect(),
            ..Sources::default()
        })
    }

    const SOUND: &str = r#"
        [plugins.oci]
        allowed = ["r.example/team", "127.0.0.1:5000"]
        insecure = ["127.0.0.1:5000"]
        [[plugins.oci.credentials]]
        registry = "r.example"
        username = "me"
        password_env = "CONCLAVE_REGISTRY_PASSWORD"
    "#;

    #[test]
    fn registries_are_read_with_their_secrets_which_are_never_shown() {
        let loaded = load_from(SOUND, "hush").unwrap();
        assert_eq!(loaded.oci.credentials[0].username, "me");
        assert_eq!(loaded.oci.allowed[0].to_string(), "r.example/team");
        assert_eq!(loaded.oci.bytes_max, 32 << 20);
        assert!(!format!("{loaded:?}").contains("hush"));
    }

    #[test]
    fn every_broken_rule_is_told() {
        let told = |from: &str, to: &str| {
            assert!(SOUND.contains(from));
            let error = load_from(&SOUND.replace(from, to), "hush").unwrap_err();
            error.to_string()
        };
        for (from, to, rule) in [
            (
                "insecure = [\"127.0.0.1:5000\"]",
                "insecure = [\"r.example\"]",
                "`plugins.oci.insecure` is `r.example`",
            ),
            (
                "registry = \"r.example\"",
                "registry = \"s.example\"",
                "must be a registry of `plugins.oci.allowed`",
            ),
            (
                "r.example/team",
                "r.example/*",
                "patterns are not supported",
            ),
            (
                "password_env = \"CONCLAVE_REGISTRY_PASSWORD\"",
                "",
                "exactly one of `password_file` and `password_env`",
            ),
            ("username = \"me\"", "username = \"\"", "must not be blank"),
        ] {
            let error = told(from, to);
            assert!(error.contains(rule), "{error}");
        }
        let error = load_from(SOUND, " ").unwrap_err().to_string();
        assert!(error.contains("must lead to visible ASCII"), "{error}");
    }
}
