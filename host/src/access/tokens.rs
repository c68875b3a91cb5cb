//! The tokens of the configuration, known by their digests alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use conclave_core::ids::Digest;

use super::{Bearer, Caller, Denied};

/// A token of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The sha256 of its text.
    pub digest: Digest,
    /// Who shows it.
    pub caller: Arc<Caller>,
    /// When it ends, if it does.
    pub expires: Option<SystemTime>,
}

/// All of them, by digest. What a look-up tells by its time is told of the digest, from which nothing
/// leads to the token: the tokens that this program makes have 256 random bits.
#[derive(Debug)]
pub(super) struct Tokens(HashMap<Digest, Token>);

impl Tokens {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        let by_digest = tokens.into_iter().map(|token| (token.digest, token));
        Self(by_digest.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is; nothing when it is none of these.
    pub(super) fn find(&self, bearer: &Bearer) -> Option<Result<Arc<Caller>, Denied>> {
        let token = self.0.get(&Digest::of(bearer.reveal().as_bytes()))?;
        let ended = |end: SystemTime| end <= SystemTime::now();
        Some(match token.expires {
            Some(end) if ended(end) => Err(Denied::Expired),
            _ => Ok(Arc::clone(&token.caller)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Role;

    #[test]
    fn a_token_is_found_by_its_text_until_it_expires() {
        let token = |text: &str, expires| Token {
            digest: Digest::of(text.as_bytes()),
            caller: Arc::new(Caller {
                name: text.to_owned(),
                ..Caller::anonymous(Role::Client)
            }),
            expires,
        };
        let now = SystemTime::now();
        let tokens = Tokens::new(vec![
            token("for-ever", None),
            token("later", Some(now + Duration::from_secs(60))),
            token("over", Some(now - Duration::from_secs(1))),
        ]);
        let found = |text| tokens.find(&Bearer::new(text));
        assert_eq!(found("for-ever").unwrap().unwrap().name, "for-ever");
        assert_eq!(found("later").unwrap().unwrap().name, "later");
        assert_eq!(found("over"), Some(Err(Denied::Expired)));
        assert_eq!(found("for-eve"), None);
        let digest = Digest::of(b"for-ever").to_string();
        assert_eq!(found(&digest), None, "the digest is no token");
    }
}
