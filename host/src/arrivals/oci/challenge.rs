//! How a registry wants to be told who asks.

use http_auth::{ChallengeRef, parse_challenges};
use reqwest::Url;
use serde::Deserialize;

/// What a registry asks for with status 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password.
    Basic,
    /// A token, which is to be had at this address for this service.
    Bearer { realm: Url, service: Option<String> },
}

impl Challenge {
    /// Reads the header `WWW-Authenticate`; `None` if it asks for nothing known.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let challenges = parse_challenges(header).ok()?;
        let is = |scheme: &'static str| {
            move |it: &&ChallengeRef<'_>| it.scheme.eq_ignore_ascii_case(scheme)
        };
        if let Some(bearer) = challenges.iter().find(is("Bearer")) {
            let param = |name: &str| {
                let found = bearer
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            let realm = Url::parse(&param("realm")?).ok()?;
            let service = param("service");
            return Some(Self::Bearer { realm, service });
        }
        challenges.iter().find(is("Basic")).map(|_| Self::Basic)
    }
}

/// What is answered at the realm of a [`Challenge::Bearer`]
/// (<https://distribution.github.io/distribution/spec/auth/token/>).
#[derive(Deserialize)]
pub(super) struct Token {
    token: Option<String>,
    /// The same by the name that OAuth 2 has for it; some registries give both.
    access_token: Option<String>,
}

impl Token {
    /// The token itself.
    pub(super) fn into_text(self) -> Option<String> {
        self.token.or(self.access_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_challenge_are_read() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull""#;
        assert_eq!(
            Challenge::parse(bearer),
            Some(Challenge::Bearer {
                realm: Url::parse("https://auth.example/token").unwrap(),
                service: Some("r.example".to_owned()),
            })
        );
        assert_eq!(
            Challenge::parse(r#"Basic realm="Registry""#),
            Some(Challenge::Basic)
        );
        for odd in [
            "",
            "Negotiate",
            "Bearer service=\"x\"",
            "Bearer realm=\"x\"",
            "Basic realm=\"",
        ] {
            assert_eq!(Challenge::parse(odd), None, "{odd}");
        }
    }
}
