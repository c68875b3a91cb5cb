//! Against what openssl 3.0 made and signed.

use super::*;

const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIPQWzRFtAQG60nqxcXEoOkWLNUcDamJxK2vVFSCjcKEk
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA6h9JLMPccwAwC/wGuN5caWHJXHDPxxHxrv6oi4NDKPc=
-----END PUBLIC KEY-----
";
/// `openssl pkey -pubin -in public.pem -outform der | sha256sum`
const ID: &str = "9445e663edf8b33e";
/// `openssl pkeyutl -sign -inkey private.pem -rawin -in statement | base64 -w0`, of [`statement`].
const SIGNED: &str =
    "f8mk25hpeXE6JyEOKCs3yKhLlwr4T4xI4+DkTFl3gIPsCpPD0muzDIhhSjUTk4ELU9Sz4SWTnMhhgQaAKmQAAA==";
/// Of the example in RFC 8410.
const OTHER_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
/// `openssl ecparam -name prime256v1 -genkey`, its public half.
const OTHER_ALGORITHM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESc6EKZatIqAAPDUvo8oHCDO02qRm
dlGEoTHFsBL/jG3APZ8GebcCGVukQ0fqmp8EkWcXXB1YaKh4dcekWmWX7w==
-----END PUBLIC KEY-----
";

fn statement() -> Statement {
    Statement {
        digest: Digest::of(b"component"),
        name: "sample-vote".to_owned(),
        version: "1.2.0".to_owned(),
        world: "conclave:deliberation/strategy@0.1".to_owned(),
    }
}

fn keys(pem: &str) -> Keys {
    [PublicKey::of_pem(pem).unwrap()].into_iter().collect()
}

fn signature() -> Signature {
    format!("ed25519:{ID}:{SIGNED}\n").parse().unwrap()
}

#[test]
fn a_statement_is_signed_in_this_form() {
    insta::assert_snapshot!(String::from_utf8(statement().bytes()).unwrap(), @"
    conclave plugin signature v1
    digest 64:6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa
    name 11:sample-vote
    version 5:1.2.0
    world 34:conclave:deliberation/strategy@0.1
    ");
    let moved = Statement {
        name: "sample-vote\nversion 5:1.2.0".to_owned(),
        version: "1.2.0".to_owned(),
        ..statement()
    };
    assert_ne!(moved.bytes(), statement().bytes());
}

#[test]
fn keys_and_signatures_are_those_of_openssl() {
    let private = PrivateKey::of_pem(PRIVATE).unwrap();
    assert_eq!(private.id().to_string(), ID);
    assert_eq!(PublicKey::of_pem(PUBLIC).unwrap().id(), private.id());
    assert_eq!(private.sign(&statement()), signature());
    assert_eq!(signature().to_string(), format!("ed25519:{ID}:{SIGNED}"));
    assert!(!format!("{private:?}").contains("9BbN"));
}

#[test]
fn what_is_wrong_is_told() {
    let keys_of = keys(PUBLIC);
    let told = |keys: &Keys, statement: &Statement, signature: Option<&Signature>| {
        let error = verify(keys, statement, signature).unwrap_err().to_string();
        error.split(": ").next().unwrap().to_owned()
    };
    let verified = verify(&keys_of, &statement(), Some(&signature()));
    assert_eq!(verified.unwrap().to_string(), ID);
    let mut missing = verify(&keys_of, &statement(), None)
        .unwrap_err()
        .to_string();
    missing.truncate(missing.find(" is not signed").unwrap() + 14);
    insta::assert_snapshot!(
        missing,
        @"sample-vote@1.2.0 (sha256:6985ca1f4daa, conclave:deliberation/strategy@0.1) is not signed"
    );
    let unknown = verify(&keys(OTHER_PUBLIC), &statement(), Some(&signature()));
    let unknown = unknown.unwrap_err().to_string();
    assert!(
        unknown.contains(&format!("signed with the key {ID}, which is not one of")),
        "{unknown}"
    );
    let digest = Digest::of(b"other component");
    for other in [
        Statement {
            digest,
            ..statement()
        },
        Statement {
            name: "other".to_owned(),
            ..statement()
        },
        Statement {
            version: "1.2.1".to_owned(),
            ..statement()
        },
        Statement {
            world: "conclave:deliberation/scorer@0.1".to_owned(),
            ..statement()
        },
    ] {
        let told = told(&keys_of, &other, Some(&signature()));
        assert!(told.contains("is not one of "), "{told}");
    }
    // Somebody else's signature under a trusted key's name.
    let mut forged = signature();
    forged.bytes[0] ^= 1;
    assert!(verify(&keys_of, &statement(), Some(&forged)).is_err());
}

#[test]
fn what_is_no_signature_is_refused() {
    for text in [
        "",
        SIGNED,
        "ed25519:9445e663edf8b33e:",
        "ed25519:9445e663edf8b33e:AAAA",
        "rsa:9445e663edf8b33e:AAAA",
        &format!("ed25519:9445:{SIGNED}"),
        &format!("ed25519:{ID}:{SIGNED}:x"),
    ] {
        assert_eq!(
            text.parse::<Signature>(),
            Err(Error::NotASignature),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_key_is_told_apart() {
    let public = |pem: &str| PublicKey::of_pem(pem).unwrap_err();
    assert_eq!(public(PRIVATE), InvalidKey::NotPublic);
    assert_eq!(public("nonsense"), InvalidKey::NotPublic);
    assert_eq!(public(OTHER_ALGORITHM), InvalidKey::OtherAlgorithm);
    let private = |pem: &str| PrivateKey::of_pem(pem).unwrap_err();
    assert_eq!(private(PUBLIC), InvalidKey::NotPrivate);
}

#[test]
fn the_policy_decides_what_a_signature_is_worth() {
    let policy = |mode| Policy {
        mode,
        keys: keys(PUBLIC),
    };
    let good = signature().to_string();
    let admitted = |mode, signature: Option<&str>| {
        policy(mode).admit(&statement(), signature.map(str::as_bytes))
    };
    let id: KeyId = ID.parse().unwrap();
    assert_eq!(admitted(Mode::Off, Some("nonsense")), Ok(Admitted::Unasked));
    let doubted = admitted(Mode::Warn, None);
    assert_eq!(
        doubted,
        Ok(Admitted::Doubted(Error::Missing(Box::new(statement()))))
    );
    assert_eq!(
        admitted(Mode::Warn, Some(&good)),
        Ok(Admitted::Signed(id.clone()))
    );
    assert_eq!(
        admitted(Mode::Require, Some(&good)),
        Ok(Admitted::Signed(id))
    );
    assert_eq!(
        admitted(Mode::Require, Some("nonsense")),
        Err(Error::NotASignature)
    );
    assert!(matches!(
        admitted(Mode::Require, None),
        Err(Error::Missing(_))
    ));
}
