//! What the settings of signatures mean, and which rules they break.

use std::collections::BTreeMap;

use super::problem::{Origin, Problem};
use super::settings::{Plugins, Signatures};
use crate::signature::{Mode, Policy, PublicKey};

/// The policy, and what is wrong with its settings.
pub(super) fn read(
    plugins: &Plugins,
    origins: &BTreeMap<String, Origin>,
) -> (Policy, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut broken = |key: &str, at: &str, value: String, rule: String| {
        let origin = origins.get(key).cloned();
        problems.push(Problem::BadValue {
            key: format!("{key}{at}"),
            value,
            origin: origin.unwrap_or(Origin::Default),
            rule,
        });
    };
    let mut keys = Vec::new();
    for (at, entry) in plugins.trusted_keys.iter().enumerate() {
        match key(entry) {
            Ok(key) => keys.push(key),
            Err((value, rule)) => {
                broken("plugins.trusted_keys", &format!("[{at}]"), value, rule);
            }
        }
    }
    let mode = match plugins.signatures {
        Signatures::Off => Mode::Off,
        Signatures::Warn => Mode::Warn,
        Signatures::Require => Mode::Require,
    };
    if mode == Mode::Require && plugins.trusted_keys.is_empty() {
        let rule = "would let no plugin in: list the public keys of those who sign in \
                    `plugins.trusted_keys`";
        broken(
            "plugins.signatures",
            "",
            "`require`".to_owned(),
            rule.to_owned(),
        );
    }
    let policy = Policy {
        mode,
        keys: keys.into_iter().collect(),
    };
    (policy, problems)
}

/// The key that an entry is or leads to; else what it is, and the rule.
fn key(entry: &str) -> Result<PublicKey, (String, String)> {
    let (shown, pem) = if entry.contains("-----BEGIN") {
        // Somebody may have put the private key there.
        ("hidden".to_owned(), entry.to_owned())
    } else {
        let shown = format!("`{entry}`");
        let read = std::fs::read_to_string(entry);
        let pem = read.map_err(|error| {
            let rule = format!("must be a public key in PEM, or a readable file with one: {error}");
            (shown.clone(), rule)
        })?;
        (shown, pem)
    };
    PublicKey::of_pem(&pem).map_err(|error| {
        (
            shown,
            format!("must be a public key of ed25519, it {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, load};

    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    fn loaded(signatures: &str, keys: &[&str]) -> Result<super::Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conclave.toml");
        let keys = serde_json::to_string(keys).unwrap();
        let text = format!("[plugins]\nsignatures = \"{signatures}\"\ntrusted_keys = {keys}\n");
        std::fs::write(&file, text).unwrap();
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        let loaded = load(&sources).map_err(|error| error.to_string())?;
        Ok(loaded.signatures)
    }

    #[test]
    fn a_key_is_text_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("public.pem");
        std::fs::write(&file, PUBLIC).unwrap();
        let of_file = loaded("require", &[file.to_str().unwrap()]).unwrap();
        assert_eq!(of_file, loaded("require", &[PUBLIC]).unwrap());
    }

    #[test]
    fn what_is_no_trusted_key_is_told_and_not_shown() {
        let secret = PUBLIC.replace("PUBLIC", "PRIVATE");
        let error = loaded("warn", &["/no/such.pem", &secret]).unwrap_err();
        for part in [
            "plugins.trusted_keys[0]",
            "`/no/such.pem`",
            "plugins.trusted_keys[1]",
            "hidden",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("MCow"), "{error}");
        let error = loaded("require", &[]).unwrap_err();
        assert!(error.contains("would let no plugin in"), "{error}");
    }
}
