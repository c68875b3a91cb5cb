use conclave_core::ids::Digest;

use super::super::{Environment, Flag, Loaded, Sources, load};
use super::*;
use crate::access::Role;

fn sources(file: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conclave.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        environment: variables.iter().copied().collect::<Environment>(),
        flags: Vec::<Flag>::new(),
    };
    (dir, sources)
}

fn loaded(file: &str, variables: &[(&str, &str)]) -> Loaded {
    let (_dir, sources) = sources(file, variables);
    load(&sources).unwrap()
}

fn error(file: &str) -> String {
    let (_dir, sources) = sources(file, &[]);
    let path = sources.file.clone().unwrap();
    let error = load(&sources).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "conclave.toml")
}

fn token(rest: &str) -> String {
    let digest = Digest::of(b"secret");
    format!("[[access.tokens]]\nname = 'ann'\nrole = 'client'\nsha256 = '{digest}'\n{rest}\n")
}

const ANYWHERE: &str = "server.grpc_addr = '0.0.0.0:50056'\n";

#[test]
fn callers_are_asked_where_others_can_reach_the_host() {
    let mode = |file: &str| loaded(file, &[]).access.mode;
    assert_eq!(mode(""), Mode::Off);
    assert_eq!(mode("server.grpc_addr = '[::1]:50056'"), Mode::Off);
    assert_eq!(mode(&format!("{ANYWHERE}{}", token(""))), Mode::Required);
    assert_eq!(
        mode(&format!("server.http_addr = '10.0.0.1:1'\n{}", token(""))),
        Mode::Required
    );
    assert_eq!(
        mode(&format!("access.mode = 'required'\n{}", token(""))),
        Mode::Required
    );
    let off = loaded(&format!("{ANYWHERE}access.mode = 'off'"), &[]);
    assert_eq!(off.access.mode, Mode::Off);
    assert!(
        off.notices
            .concat()
            .contains("whoever reaches 0.0.0.0:50056 may do everything")
    );
    let unasked = loaded(&token(""), &[]);
    assert_eq!(unasked.access.mode, Mode::Off);
    assert!(unasked.notices.concat().contains("nobody is asked"));
    let clear = loaded(&format!("{ANYWHERE}{}", token("")), &[]);
    assert!(clear.notices.concat().contains("in clear text"));
}

#[test]
fn an_address_that_others_reach_needs_callers_or_a_word_that_it_does_not() {
    insta::assert_snapshot!(error(ANYWHERE), @r#"the configuration is invalid: `server.grpc_addr` is `0.0.0.0:50056` (conclave.toml): it is an address that other machines can reach: configure `access.tokens` (`conclave token new NAME` makes one), `access.jwt`, or `tls.client_ca` with `access.certificates`; or say `access.mode = "off"` to serve everybody who reaches the host"#);
    assert!(error("server.http_addr = '[::]:1'").contains("`server.http_addr` is `[::]:1`"));
    assert!(error("access.mode = 'required'").contains("would let nobody in"));
}

#[test]
fn grpc_port_opens_the_packages_of_before_and_nothing_else() {
    let port = [("GRPC_PORT", "50056")];
    let legacy = loaded("", &port);
    assert_eq!(legacy.access.mode, Mode::Legacy);
    let notices = legacy.notices.concat();
    assert!(
        notices
            .contains("both RayExecutorService packages are open to whoever reaches 0.0.0.0:50056"),
        "{notices}"
    );
    assert_eq!(loaded(&token(""), &port).access.mode, Mode::Required);
    assert_eq!(loaded("access.mode = 'off'", &port).access.mode, Mode::Off);
    let both = loaded(&format!("access.mode = 'legacy'\n{}", token("")), &port);
    assert_eq!(both.access.mode, Mode::Legacy);
    assert_eq!(both.access.tokens.len(), 1);
}

#[test]
fn a_token_has_a_name_a_role_a_tenant_and_an_end() {
    let file = token("tenant = 'team-a'\nexpires = '2030-01-31T00:00:00Z'");
    let tokens = loaded(&file, &[]).access.tokens;
    assert_eq!(tokens[0].digest, Digest::of(b"secret"));
    assert_eq!(tokens[0].caller.role, Role::Client);
    assert_eq!(tokens[0].caller.tenant.as_str(), "team-a");
    let end = tokens[0]
        .expires
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH);
    assert_eq!(end.unwrap().as_secs(), 1_896_048_000);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("digest");
    std::fs::write(&path, format!("{}\n", Digest::of(b"other"))).unwrap();
    let file = format!(
        "[[access.tokens]]\nname = 'a'\nrole = 'viewer'\nsha256_file = '{}'",
        path.display()
    );
    let loaded = loaded(&file, &[]);
    assert_eq!(loaded.access.tokens[0].digest, Digest::of(b"other"));
    assert!(!loaded.to_toml().contains(&Digest::of(b"other").to_string()));
}

#[test]
fn wrong_callers_are_told_with_key_and_rule_and_without_secrets() {
    let digest = Digest::of(b"x");
    let wrong = format!(
        "
        [tls]
        key = 'k.pem'
        client_ca = 'ca.pem'
        [[access.tokens]]
        name = ' '
        role = 'client'
        sha256 = 'cncl_the-token-itself'
        [[access.tokens]]
        name = 'ann'
        role = 'client'
        tenant = 'a b'
        expires = 'tomorrow'
        sha256 = '{digest}'
        [[access.tokens]]
        name = 'ann'
        role = 'client'
        sha256 = '{digest}'
        [[access.tokens]]
        name = 'both'
        role = 'client'
        sha256 = '{digest}'
        sha256_file = 'f'
        [[access.tokens]]
        name = 'missing'
        role = 'client'
        sha256_file = '/no/such/file'"
    );
    insta::assert_snapshot!(error(&wrong), @r"
    the configuration is invalid:
      - `tls.key` is `k.pem` (conclave.toml): it needs `tls.certificate`, whose key it is
      - `tls.client_ca` is `ca.pem` (conclave.toml): it needs `tls.certificate` and `tls.key`: clients show certificates within TLS only
      - `access.tokens[0].name` is ` ` (conclave.toml): it must not be blank
      - `access.tokens[0].sha256` is hidden (conclave.toml): it must be the sha256 of the token, 64 hexadecimal digits; `conclave token hash` prints it
      - `access.tokens[1].tenant` is `a b` (conclave.toml): it must be 1 to 64 ASCII letters, digits, `-`, `_` and `.`
      - `access.tokens[1].expires` is `tomorrow` (conclave.toml): it must be a time like 2030-01-31T00:00:00Z
      - `access.tokens[2].name` is `ann` (conclave.toml): it must be unique
      - `access.tokens[2].sha256` is hidden (conclave.toml): it is that of another entry's token
      - `access.tokens[3].sha256` is hidden (conclave.toml): it must be set, or `sha256_file` instead
      - `access.tokens[4].sha256_file` is hidden (conclave.toml): it must be a readable file, `/no/such/file` is not: No such file or directory (os error 2)
    ");
    for text in [
        "access.tokens = [{ name = 'a', role = 'client', token = 'sk-secret' }]",
        "access.tokens = ['sk-secret']",
        "access.tokens = 'sk-secret'",
    ] {
        let error = error(text);
        assert!(
            !error.contains("sk-secret") && error.contains("access.tokens"),
            "{error}"
        );
    }
    assert!(error("access.certificates = [{ name = '*', role = 'boss' }]").contains("viewer"));
    let uncertified = error("access.certificates = [{ name = '*', role = 'viewer' }]");
    assert!(
        uncertified.contains("needs `tls.client_ca`"),
        "{uncertified}"
    );
}

#[test]
fn an_issuer_needs_a_name_an_audience_and_keys() {
    let whole = |rest: &str| format!("[access.jwt]\nissuer = 'i'\naudience = 'a'\n{rest}");
    let settings = loaded(&whole("jwks_file = 'keys.json'"), &[])
        .access
        .jwt
        .unwrap();
    assert_eq!(settings.keys, Keys::File("keys.json".into()));
    assert_eq!(settings.tenant_claim.as_deref(), Some("tenant"));
    for url in [
        "https://idp/keys",
        "http://127.0.0.1:1/keys",
        "http://localhost/k",
        "http://[::1]/",
    ] {
        let loaded = loaded(
            &whole(&format!("jwks_url = '{url}'\ntenant_claim = ''")),
            &[],
        );
        let settings = loaded.access.jwt.unwrap();
        assert!(matches!(settings.keys, Keys::Url { .. }), "{url}");
        assert_eq!(settings.tenant_claim, None);
    }
    for url in [
        "http://idp/keys",
        "https://u:p@idp/keys",
        "ftp://127.0.0.1/",
        "keys",
    ] {
        let error = error(&whole(&format!("jwks_url = '{url}'")));
        assert!(
            error.contains("must be an https URL") && !error.contains("u:p"),
            "{error}"
        );
    }
    let both = error(&whole("jwks_file = 'f'\njwks_url = 'https://idp'"));
    assert!(both.contains("must not be set besides"), "{both}");
    let lacking = error("access.jwt.issuer = 'i'");
    assert!(
        lacking.contains("needs `access.jwt.audience` and `access.jwt.jwks_file` or `access.jwt.jwks_url` besides"),
        "{lacking}"
    );
}
