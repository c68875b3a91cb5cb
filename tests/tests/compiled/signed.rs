//! Signatures from the command line, with keys as openssl writes them.

use conclave_tests::command::conclave;
use conclave_tests::components::component;

use super::write;

/// `openssl genpkey -algorithm ed25519`, and its public half.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIPQWzRFtAQG60nqxcXEoOkWLNUcDamJxK2vVFSCjcKEk
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA6h9JLMPccwAwC/wGuN5caWHJXHDPxxHxrv6oi4NDKPc=
-----END PUBLIC KEY-----
";

#[tokio::test]
async fn what_was_signed_is_believed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plugin = write(dir, "agreement.wasm", component("agreement").unwrap());
    let other = write(dir, "judge.wasm", component("judge").unwrap());
    let private = write(dir, "private.pem", PRIVATE.as_bytes());
    let public = write(dir, "public.pem", PUBLIC.as_bytes());
    let policy = format!("[plugins]\nsignatures = \"require\"\ntrusted_keys = [\"{public}\"]\n");
    let config = write(dir, "conclave.toml", policy.as_bytes());

    let signed = conclave(&["plugin", "sign", &plugin, "--key", &private])
        .await
        .unwrap();
    assert_eq!(signed.code, Some(0), "{signed:?}");
    assert!(
        signed.out.starts_with("signed agreement@") && signed.out.contains("9445e663edf8b33e"),
        "{signed:?}"
    );
    let signature = format!("{plugin}.sig");
    let text = std::fs::read_to_string(&signature).unwrap();
    assert!(text.starts_with("ed25519:9445e663edf8b33e:"), "{text}");

    let check = async |file: &str, more: &[&str]| {
        let args = [&["plugin", "check", file, "--config", &config][..], more].concat();
        let checked = conclave(&args).await.unwrap();
        (checked.code, checked.out)
    };
    let (code, out) = check(&plugin, &["--signature", &signature]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("signed with the trusted key 9445e663edf8b33e"),
        "{out}"
    );
    // It lies beside the component, as `plugin push` sends it.
    let (code, out) = check(&plugin, &[]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("signed with the trusted key"), "{out}");
    let (code, out) = check(&other, &[]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("is not signed"), "{out}");
    let (code, out) = check(&other, &["--signature", &signature]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("was made for other bytes"), "{out}");
    // Nobody is trusted.
    let checked = conclave(&["plugin", "check", &plugin, "--signature", &signature])
        .await
        .unwrap();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(
        checked
            .out
            .contains("signed with the key 9445e663edf8b33e, which is not one of"),
        "{checked:?}"
    );
}
