//! Where a cluster is.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The port that Ray's dashboard listens on unless it is told otherwise.
const DASHBOARD_PORT: u16 = 8265;

/// The address of a cluster's dashboard, an http or https URL without credentials.
///
/// It is read from such a URL, or from the address of Ray's client server (`ray://HOST:10001`), whose
/// dashboard is taken to be on the same host at port 8265, over plain HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text is no address of a cluster. It never shows the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// No URL, or one of another scheme.
    #[error("must be `http://HOST:8265`, `https://HOST:8265` or `ray://HOST:10001`")]
    NotAUrl,
    /// A word of Ray's own tools, which look for a cluster on their own machine.
    #[error(
        "must be the address of a cluster, for example `ray://HOST:10001`: `auto` and `local` mean \
         something to Ray's own tools only"
    )]
    NotAPlace,
    /// A user or a password within.
    #[error("must not contain a user or password: a token belongs into `token_file`")]
    HasUserinfo,
    /// Something behind the path.
    #[error("must not contain a query or fragment")]
    HasQuery,
}

impl Address {
    /// The URL of a path below the address; each segment is encoded.
    pub(super) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether it is spoken to over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        if ["auto", "local"].contains(&text) {
            return Err(InvalidAddress::NotAPlace);
        }
        let of_client = text.strip_prefix("ray://");
        let url = match of_client {
            // Read as http, so that the host is checked as one.
            Some(rest) => Url::parse(&format!("http://{rest}")),
            None => Url::parse(text),
        };
        let mut url = url.map_err(|_| InvalidAddress::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(InvalidAddress::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAddress::HasUserinfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidAddress::HasQuery);
        }
        if of_client.is_some() {
            if url.path() != "/" {
                return Err(InvalidAddress::NotAUrl);
            }
            url.set_port(Some(DASHBOARD_PORT))
                .map_err(|()| InvalidAddress::NotAUrl)?;
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashboards_and_client_servers_are_understood() {
        for (text, expected) in [
            ("http://head:8265", "http://head:8265"),
            ("https://ray.example/", "https://ray.example"),
            ("https://gateway/clusters/a/", "https://gateway/clusters/a"),
            ("ray://head:10001", "http://head:8265"),
            (" ray://10.0.0.7:10001/ ", "http://10.0.0.7:8265"),
            ("ray://head", "http://head:8265"),
            ("ray://[::1]:10001", "http://[::1]:8265"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_rule() {
        use InvalidAddress::{HasQuery, HasUserinfo, NotAPlace, NotAUrl};
        for (text, expected) in [
            ("", NotAUrl),
            ("auto", NotAPlace),
            ("local", NotAPlace),
            ("head:6379", NotAUrl),
            ("127.0.0.1:8265", NotAUrl),
            ("ftp://head:8265", NotAUrl),
            ("ray://", NotAUrl),
            ("ray://head:99999", NotAUrl),
            ("ray://head:10001/namespace", NotAUrl),
            ("http://me:s3cret@head:8265", HasUserinfo),
            ("ray://me@head:10001", HasUserinfo),
            ("http://head:8265/?x=1", HasQuery),
            ("http://head:8265/#jobs", HasQuery),
        ] {
            let refused = text.parse::<Address>().unwrap_err();
            assert_eq!(refused, expected, "{text}");
            assert!(!refused.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn paths_are_joined_and_encoded() {
        let join = |address: &str, segments: &[&str]| {
            let address: Address = address.parse().unwrap();
            address.join(segments).to_string()
        };
        assert_eq!(
            join("http://h:8265", &["api", "jobs", ""]),
            "http://h:8265/api/jobs/"
        );
        assert_eq!(
            join("https://g/ray/", &["api", "jobs", "a/b?c"]),
            "https://g/ray/api/jobs/a%2Fb%3Fc"
        );
    }
}
