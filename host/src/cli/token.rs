//! `token`: makes bearer tokens, so that an operator needs no other tool.

use std::io::Read as _;

use anyhow::Context as _;
use conclave_core::ids::Digest;
use serde_json::json;

use super::Exit;
use super::args::{TokenHashArgs, TokenNewArgs};
use super::failure::Usage;
use super::terminal::Terminal;
use crate::access::Bearer;
use crate::config::AccessToken;

/// Prints a fresh token, and the entry by which a host knows it.
pub(super) fn new(args: &TokenNewArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    if args.name.trim().is_empty() {
        return Err(Usage("the name is blank".to_owned()).into());
    }
    let bearer = Bearer::generate();
    let bearer = bearer.map_err(|_| anyhow::anyhow!("this machine has no random numbers"))?;
    let entry = AccessToken {
        name: args.name.clone(),
        role: args.role,
        tenant: args.tenant.clone(),
        sha256: Some(digest(&bearer)),
        sha256_file: None,
        expires: args.expires.clone(),
    };
    if args.json {
        let shown = json!({ "token": bearer.reveal(), "entry": entry });
        terminal.print(&format!("{shown}\n"))?;
        return Ok(Exit::Success);
    }
    let entry = toml::to_string(&entry).context("the entry is no TOML")?;
    terminal.print(&format!(
        "{}\n\n# The token stands above, this once. Its entry in the configuration:\n[[access.tokens]]\n{entry}",
        bearer.reveal()
    ))?;
    Ok(Exit::Success)
}

/// Prints the digest of a token on stdin.
pub(super) fn hash(args: &TokenHashArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut text = String::new();
    let read = std::io::stdin().take(64 << 10).read_to_string(&mut text);
    read.context("cannot read the token from stdin")?;
    let bearer = Bearer::new(&text);
    if bearer.reveal().is_empty() {
        return Err(Usage("there is no token on stdin".to_owned()).into());
    }
    let digest = digest(&bearer);
    let shown = match args.json {
        true => json!({ "sha256": digest }).to_string(),
        false => digest,
    };
    terminal.print(&format!("{shown}\n"))?;
    Ok(Exit::Success)
}

fn digest(bearer: &Bearer) -> String {
    Digest::of(bearer.reveal().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::terminal::testkit::piped;
    use super::*;
    use crate::access::Role;
    use crate::config::{Config, Environment, Sources, load};

    #[test]
    fn what_is_printed_lets_the_token_in() {
        let args = TokenNewArgs {
            name: "planner \"x\"".to_owned(),
            role: Role::Client,
            tenant: "team-a".to_owned(),
            expires: Some("2030-01-31T00:00:00Z".to_owned()),
            json: false,
        };
        let (mut terminal, out, _) = piped();
        new(&args, &mut terminal).unwrap();
        let shown = out.text();
        let (token, entry) = shown.split_once('\n').unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conclave.toml");
        std::fs::write(&file, entry).unwrap();
        let sources = Sources {
            file: Some(file),
            environment: Environment::default(),
            flags: Vec::new(),
        };
        let loaded = load(&sources).unwrap();
        assert_ne!(loaded.config, Config::default());
        let known = &loaded.access.tokens[0];
        assert_eq!(known.digest, Digest::of(token.as_bytes()));
        assert_eq!(known.caller.name, "planner \"x\"");
        assert!(known.expires.is_some());
        assert!(!loaded.to_toml().contains(token));
    }
}
