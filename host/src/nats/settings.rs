//! What an operator decides about NATS.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use conclave_core::events::Source;

/// How NATS is reached and used. Every wait has a bound.
#[derive(Clone)]
pub struct Settings {
    /// The servers; a user, password or token in one is for that one.
    pub servers: Vec<ServerAddr>,
    /// Who the host is to servers whose address does not say.
    pub credentials: Credentials,
    /// Certificates that servers are trusted by, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Whether missing streams are made.
    pub create_streams: bool,
    /// Whether progress is published, and needs a stream.
    pub progress: bool,
    /// How long a connection may take, and how long an event waits for one.
    pub connect_timeout: Duration,
    /// How long a server may take to answer.
    pub ack_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold a password.
        f.debug_struct("Settings")
            .field("servers", &self.servers.len())
            .finish_non_exhaustive()
    }
}

/// Who the host is.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// Whoever has the token.
    Token(Secret),
    /// What a `.creds` file holds: a JWT and the seed of its key.
    File(Secret),
}

/// A secret; `Debug` does not show it.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret as the operator wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret, for whom it is for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The longest wait between two attempts to connect: so soon after its return a server is used again.
const RECONNECT_CAP: Duration = Duration::from_secs(1);

impl Settings {
    /// The client's options.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub(super) fn options(&self) -> Result<ConnectOptions, Source> {
        let mut options = ConnectOptions::new()
            .name("conclave")
            .retry_on_initial_connect()
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(self.ack_timeout))
            .reconnect_delay_callback(reconnect_delay);
        options = match &self.credentials {
            Credentials::None => options,
            Credentials::User { name, password } => {
                options.user_and_password(name.clone(), password.0.clone())
            }
            Credentials::Token(token) => options.token(token.0.clone()),
            Credentials::File(text) => options.credentials(&text.0)?,
        };
        if let Some(path) = &self.tls_ca_file {
            options = options.add_root_certificates(path.clone());
        }
        Ok(options)
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        attempts => Duration::from_millis(25 << attempts.min(10)).min(RECONNECT_CAP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let credentials = Credentials::Token(Secret::new("s3cret"));
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }

    #[test]
    fn the_wait_before_a_reconnect_grows_to_its_bound() {
        let waits: Vec<_> = [0, 1, 2, 3, 4, 6, 1_000_000].map(reconnect_delay).to_vec();
        assert!(waits.is_sorted() && waits[1].is_zero() && waits[2] > Duration::ZERO);
        assert_eq!(waits[6], RECONNECT_CAP);
    }
}
