//! `plugin sign`: says whose a component is; and what `plugin check` says of such a signature.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::Exit;
use super::args::PluginSignArgs;
use super::failure::Usage;
use super::plugin::{self, Offline};
use super::progress::Progress;
use super::terminal::Terminal;
use crate::config::Environment;
use crate::signature::{self, Admitted, Policy, PrivateKey, Signature, Statement};
use crate::wasm::{Checked, Refusal};

/// Checks a component, and writes its signature beside it.
pub(super) async fn sign(
    args: &PluginSignArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let key = read_key(&args.key)?;
    let offline = Offline::open(&args.file, args.config.as_deref(), environment)?;
    let checked = match offline.check(&Progress::new(terminal, args.json)).await? {
        Ok(checked) => checked,
        Err(refusal) => {
            let path = args.file.display().to_string();
            bail!(
                "{}",
                plugin::as_text(&path, &Err(refusal), &Admitted::Unasked).trim_end()
            );
        }
    };
    let statement = Statement::of(&checked);
    let signature = key.sign(&statement);
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file));
    std::fs::write(&out, format!("{signature}\n"))
        .with_context(|| format!("cannot write `{}`", out.display()))?;
    let shown = match args.json {
        true => format!(
            "{}\n",
            json!({ "file": out, "signature": signature.to_string(), "key": key.id().to_string() })
        ),
        false => format!(
            "signed {statement} with the key {}: {}\n",
            key.id(),
            out.display()
        ),
    };
    terminal.print(&shown)?;
    Ok(Exit::Success)
}

/// What a host with this rule of signatures would say of a component. A signature that is named must be
/// a trusted key's, whatever the rule; one that lies beside the component is looked at as a host would.
pub(super) fn admitted(
    policy: &Policy,
    checked: &Checked,
    file: &Path,
    named: Option<&Path>,
) -> anyhow::Result<Result<Admitted, Refusal>> {
    let statement = Statement::of(checked);
    let given = signature_of(file, named)?;
    let admitted = match (named, &given) {
        (Some(_), Some(given)) => Signature::of_file(given)
            .and_then(|given| signature::verify(&policy.keys, &statement, Some(&given)))
            .map(Admitted::Signed),
        _ => policy.admit(&statement, given.as_deref()),
    };
    Ok(admitted.map_err(|error| Refusal {
        reasons: vec![error.to_string()],
    }))
}

/// The signature of a component's file: the one that is named, or the one that lies beside it, if any does.
pub(super) fn signature_of(file: &Path, named: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let path = named.map_or_else(|| beside(file), Path::to_owned);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => {
            let message = format!("cannot read the signature `{}`: {error}", path.display());
            Err(Usage(message).into())
        }
    }
}

fn read_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let key = PrivateKey::of_pem(&read(path)?);
    key.map_err(|error| Usage(format!("`{}` {error}", path.display())).into())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| Usage(format!("cannot read `{}`: {error}", path.display())).into())
}

/// The path with `.sig` behind it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::terminal::testkit::piped;
    use super::*;

    #[tokio::test]
    async fn what_is_no_key_or_no_plugin_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("module.wasm");
        std::fs::write(&file, wat::parse_str("(module)").unwrap()).unwrap();
        let key = dir.path().join("private.pem");
        std::fs::write(&key, "nonsense").unwrap();
        let args = PluginSignArgs {
            file: file.clone(),
            key: key.clone(),
            out: None,
            config: None,
            json: false,
        };
        let environment = Environment::default();
        let (mut terminal, ..) = piped();
        let error = sign(&args, &environment, &mut terminal).await.unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error:#}");
        assert!(
            error
                .to_string()
                .ends_with("is not a private key in PEM (`-----BEGIN PRIVATE KEY-----`)")
        );

        std::fs::write(
            &key,
            "-----BEGIN PRIVATE KEY-----\n\
             MC4CAQAwBQYDK2VwBCIEIPQWzRFtAQG60nqxcXEoOkWLNUcDamJxK2vVFSCjcKEk\n\
             -----END PRIVATE KEY-----\n",
        )
        .unwrap();
        let error = sign(&args, &environment, &mut terminal).await.unwrap_err();
        assert!(error.to_string().contains("cannot be a plugin"), "{error}");
        assert!(!beside(&file).exists());
    }

    #[test]
    fn a_signature_beside_the_file_comes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        assert_eq!(signature_of(&file, None).unwrap(), None);
        std::fs::write(dir.path().join("a.wasm.sig"), "beside").unwrap();
        assert_eq!(signature_of(&file, None).unwrap().unwrap(), b"beside");
        let named = dir.path().join("b.sig");
        std::fs::write(&named, "named").unwrap();
        let given = signature_of(&file, Some(&named)).unwrap();
        assert_eq!(given.unwrap(), b"named");
        let missing = signature_of(&file, Some(Path::new("/no/such"))).unwrap_err();
        assert!(missing.downcast_ref::<Usage>().is_some());
    }
}
