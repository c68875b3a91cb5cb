//! `[events]`: what is told to others, and the NATS server that it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ServerAddr;
use conclave_core::events::Telling;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::{Origin, Problem, without_userinfo};
use crate::nats::{self, Credentials, Secret};

/// `[events]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The NATS server, or several with commas between them: `nats://` or `tls://`, a host and a port.
    /// Not set, or empty, nothing is published; the page `/events` shows events all the same.
    #[schemars(with = "Option<String>")]
    pub nats_url: Option<NatsUrl>,
    /// Whether the host makes the streams that its subjects lack. Without one, an event is lost to who
    /// does not listen.
    pub create_streams: bool,
    /// Whether what plugins emit is published too, to `conclave.progress.KIND`. Each is a message and a
    /// write, and few want them: watchers get them anyway.
    pub progress: bool,
    /// The user of servers whose address names none; with `password_file`.
    pub user: Option<String>,
    /// A file that holds the user's password.
    pub password_file: Option<PathBuf>,
    /// A file that holds a token, instead of a user.
    pub token_file: Option<PathBuf>,
    /// A `.creds` file (a JWT and the seed of its key), instead of a user.
    pub credentials_file: Option<PathBuf>,
    /// Certificates, as PEM, that servers are trusted by instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// How long a connection may take, and how long an event waits for one before it counts as failed.
    pub connect_timeout_seconds: u64,
    /// How long a server may take to acknowledge an event: a stream with replicas syncs disks.
    pub ack_timeout_seconds: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            nats_url: None,
            create_streams: true,
            progress: false,
            user: None,
            password_file: None,
            token_file: None,
            credentials_file: None,
            tls_ca_file: None,
            connect_timeout_seconds: 5,
            ack_timeout_seconds: 5,
        }
    }
}

impl Events {
    /// Which entries the journal owes events of.
    #[must_use]
    pub fn telling(&self) -> Telling {
        match (self.servers().is_empty(), self.progress) {
            (true, _) => Telling::Nothing,
            (false, false) => Telling::Lifecycle,
            (false, true) => Telling::Progress,
        }
    }

    fn servers(&self) -> Vec<ServerAddr> {
        let servers = self.nats_url.as_ref().map(NatsUrl::servers);
        servers.transpose().ok().flatten().unwrap_or_default()
    }

    /// How NATS is used, if it is; and what is wrong with the settings that say so.
    pub(super) fn nats(
        &self,
        origins: &BTreeMap<String, Origin>,
    ) -> (Option<nats::Settings>, Vec<Problem>) {
        let servers = self.servers();
        if servers.is_empty() {
            return (None, Vec::new());
        }
        let credentials = self
            .credentials()
            .map_err(|wrong| vec![wrong.told(origins)]);
        let (credentials, problems) = match credentials {
            Ok(credentials) => (credentials, Vec::new()),
            Err(problems) => (Credentials::None, problems),
        };
        let settings = nats::Settings {
            servers,
            credentials,
            tls_ca_file: self.tls_ca_file.clone(),
            create_streams: self.create_streams,
            progress: self.progress,
            connect_timeout: Duration::from_secs(self.connect_timeout_seconds),
            ack_timeout: Duration::from_secs(self.ack_timeout_seconds),
        };
        (Some(settings), problems)
    }

    /// Whether the host is somebody to NATS.
    pub(super) fn has_credentials(&self) -> bool {
        let in_url = self.nats_url.as_ref().is_some_and(NatsUrl::has_userinfo);
        let is_named = self.user.is_some() || self.token_file.is_some();
        in_url || is_named || self.credentials_file.is_some()
    }

    pub(super) fn credentials(&self) -> Result<Credentials, Wrong> {
        let given = (
            &self.user,
            &self.password_file,
            &self.token_file,
            &self.credentials_file,
        );
        if let Some(path) = &self.tls_ca_file {
            read("tls_ca_file", path)?;
        }
        match given {
            (None, None, None, None) => Ok(Credentials::None),
            (Some(name), Some(path), None, None) => Ok(Credentials::User {
                name: name.clone(),
                password: Secret::new(read("password_file", path)?.trim()),
            }),
            (None, None, Some(path), None) => {
                let token = read("token_file", path)?;
                Ok(Credentials::Token(Secret::new(token.trim())))
            }
            (None, None, None, Some(path)) => {
                let text = read("credentials_file", path)?;
                Ok(Credentials::File(Secret::new(text)))
            }
            (user, _, _, _) => Err(Wrong {
                key: "user",
                value: user
                    .as_ref()
                    .map_or("not set".to_owned(), |user| format!("`{user}`")),
                rule: "must come with `password_file`, and not with `token_file` or \
                       `credentials_file`: a host has one identity"
                    .to_owned(),
            }),
        }
    }
}

/// A setting that breaks a rule.
pub(super) struct Wrong {
    key: &'static str,
    value: String,
    rule: String,
}

impl Wrong {
    fn told(self, origins: &BTreeMap<String, Origin>) -> Problem {
        let key = format!("events.{}", self.key);
        let origin = origins.get(&key).cloned().unwrap_or(Origin::Default);
        Problem::BadValue {
            key,
            value: self.value,
            origin,
            rule: self.rule,
        }
    }
}

fn read(key: &'static str, path: &Path) -> Result<String, Wrong> {
    std::fs::read_to_string(path).map_err(|error| Wrong {
        key,
        value: format!("`{}`", path.display()),
        rule: format!("must be a readable file: {error}"),
    })
}

/// Addresses of NATS servers. One may hold a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl(String);

impl NatsUrl {
    /// The addresses as they were written, with what they hold of secrets.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a user, a password or a token stands in one.
    pub(super) fn has_userinfo(&self) -> bool {
        self.without_userinfo() != *self
    }

    /// The same servers, for others.
    pub(super) fn without_userinfo(&self) -> Self {
        let addresses = self.0.split(',').map(|address| {
            let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            match authority.rsplit_once('@') {
                Some((_, host)) if scheme.is_empty() => format!("{host}{path}"),
                Some((_, host)) => format!("{scheme}://{host}{path}"),
                None => address.to_owned(),
            }
        });
        Self(addresses.collect::<Vec<_>>().join(","))
    }

    fn servers(&self) -> std::io::Result<Vec<ServerAddr>> {
        let addresses = self.0.split(',').map(str::trim);
        let addresses = addresses.filter(|address| !address.is_empty());
        addresses.map(str::parse).collect()
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_userinfo(&self.0))
    }
}

impl Serialize for NatsUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&without_userinfo(&self.0))
    }
}

impl<'de> Deserialize<'de> for NatsUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = Self(String::deserialize(deserializer)?);
        match url.servers() {
            Ok(_) => Ok(url),
            Err(_) => Err(serde::de::Error::custom(
                "must be addresses of NATS servers, for example nats://127.0.0.1:4222",
            )),
        }
    }
}
