//! Hosts with their ports, as registries are named by.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// `HOST` or `HOST:PORT`; without a port, that of the scheme.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

/// A text that is no host with a port.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "must be a host in lower case, with its port if it has one of its own: `registry.example:5000`"
)]
pub struct InvalidAuthority;

impl Authority {
    /// Whether it is this machine for whoever resolves it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether a URL leads there.
    pub(super) fn is_of(&self, url: &Url) -> bool {
        let default = match url.scheme() {
            "http" => 80,
            _ => 443,
        };
        url.host_str() == Some(self.host.as_str())
            && url.port_or_known_default() == Some(self.port.unwrap_or(default))
    }
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, InvalidAuthority> {
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| InvalidAuthority)?;
        let host = url.host_str().ok_or(InvalidAuthority)?.to_owned();
        // The port of https is left out of what is parsed.
        let port = match text.strip_prefix(host.as_str()) {
            Some("") => None,
            Some(rest) => {
                let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
                Some(port.ok_or(InvalidAuthority)?)
            }
            // User names, capitals, odd spellings of addresses.
            None => return Err(InvalidAuthority),
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for Authority {
    type Error = InvalidAuthority;

    fn try_from(text: String) -> Result<Self, InvalidAuthority> {
        text.parse()
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> Self {
        authority.to_string()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_are_taken() {
        for text in [
            "ghcr.io",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "r.example:443",
        ] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "Ghcr.io",
            "u@h",
            "h/x",
            "h:x",
            "h:",
            "0x7f.1",
            "h?x",
            "h#x",
            "https://h",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_held_against_host_and_port() {
        let registry: Authority = "r.example".parse().unwrap();
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(registry.is_of(&url("https://r.example/v2/")));
        assert!(registry.is_of(&url("https://r.example:443/v2/")));
        assert!(!registry.is_of(&url("https://r.example:5000/v2/")));
        assert!(!registry.is_of(&url("https://r.example.evil/v2/")));
        assert!("127.0.0.1:5000".parse::<Authority>().unwrap().is_loopback());
        assert!("[::1]:5000".parse::<Authority>().unwrap().is_loopback());
        assert!(!registry.is_loopback());
    }
}
