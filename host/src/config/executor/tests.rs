use crate::config::{Error, Loaded, Sources, load};
use crate::nats::Credentials;

fn load_from(text: &str) -> Result<Loaded, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conclave.toml");
    std::fs::write(&file, text).unwrap();
    load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
}

#[test]
fn an_executor_gets_the_hosts_credentials_only_where_the_operator_shares_them() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "hush\n").unwrap();
    let secret = secret.display();
    let with = |events: &str, executor: &str| {
        load_from(&format!(
            "inference.execution = 'pool'\nevents = {{ nats_url = 'nats://n' {events} }}\n\
                 clusters = [{{ name = 'a', address = 'ray://h', executor = {{ {executor} }} }}]"
        ))
    };
    let given = |events: &str, executor: &str| {
        let loaded = with(events, executor).unwrap_or_else(|error| unreachable!("{error}"));
        let executor = &loaded.clusters[0].executor;
        assert!(!format!("{loaded:?}").contains("hush"));
        let url = executor.nats_url.as_ref().unwrap().reveal().to_owned();
        match &executor.nats_credentials {
            Credentials::None => (url, String::new()),
            Credentials::User { name, password } => (url, format!("{name} {}", password.reveal())),
            Credentials::Token(token) => (url, token.reveal().to_owned()),
            Credentials::File(_) => unreachable!("a file is not given away"),
        }
    };
    let told = |events: &str, executor: &str| with(events, executor).unwrap_err().to_string();
    let (user, token) = (
        format!(", user = 'host', password_file = '{secret}'"),
        format!(", token_file = '{secret}'"),
    );
    let file = format!(", credentials_file = '{secret}'");
    for events in [&user, &token, &file] {
        let unshared = told(events, "");
        assert!(
            unshared.contains("`clusters[0].executor.share_nats_credentials` is `false`")
                && unshared.contains("or give the executor `nats_user`"),
            "{unshared}"
        );
    }
    // Without actors, and without NATS' asking, nothing is needed.
    assert!(told(&user, "actors = 0").contains("`inference.execution`"));
    assert_eq!(given("", "").1, "");
    let own = format!("nats_user = 'executor', nats_password_file = '{secret}'");
    for events in ["", &user, &token, &file] {
        assert_eq!(given(events, &own).1, "executor hush", "{events}");
    }
    let own_token = format!("nats_token_file = '{secret}'");
    assert_eq!(given(&user, &own_token).1, "hush");
    let share = "share_nats_credentials = true";
    assert_eq!(given(&user, share).1, "host hush");
    assert_eq!(given(&token, share).1, "hush");
    let both = told(&user, &format!("{share}, {own}"));
    assert!(
        both.contains("must be `false` where the executor has"),
        "{both}"
    );
    let shared_file = told(&file, share);
    assert!(shared_file.contains("must be `false` with `events.credentials_file`"));
    let half = told("", "nats_user = 'executor'");
    assert!(
        half.contains("`clusters[0].executor.nats_user` is `executor`"),
        "{half}"
    );
    let gone = told("", "nats_token_file = '/nonexistent'");
    assert!(
        gone.contains("`clusters[0].executor.nats_token_file` is `/nonexistent`"),
        "{gone}"
    );
}

#[test]
fn a_user_in_the_address_is_a_credential_too() {
    let url = |events_url: &str, executor: &str| {
        let text = format!(
            "inference.execution = 'job'\nevents.nats_url = '{events_url}'\n\
             clusters = [{{ name = 'a', address = 'ray://h', executor = {{ {executor} }} }}]"
        );
        let loaded = load_from(&text).map_err(|error| error.to_string())?;
        let url = loaded.clusters[0].executor.nats_url.as_ref().unwrap();
        Ok::<_, String>(url.reveal().to_owned())
    };
    let hosts = "nats://me:hush@a:4222,token@b:4222,tls://c:4222";
    let error = url(hosts, "").unwrap_err();
    assert!(
        error.contains("share_nats_credentials") && !error.contains("hush"),
        "{error}"
    );
    assert_eq!(url(hosts, "share_nats_credentials = true").unwrap(), hosts);
    let own = "nats_user = 'x', nats_password_file = '/dev/null'";
    assert_eq!(
        url(hosts, own).unwrap(),
        "nats://a:4222,b:4222,tls://c:4222"
    );
    let own = "nats_url = 'nats://x:y@b:4222'";
    assert_eq!(url(hosts, own).unwrap(), "nats://x:y@b:4222");
}

#[test]
fn certificates_that_are_trusted_go_to_executors_unless_they_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let text = format!(
        "inference.execution = 'pool'\nevents = {{ nats_url = 'tls://n', tls_ca_file = '{}' }}\n\
         clusters = [{{ name = 'a', address = 'ray://h' }}]",
        file.display()
    );
    std::fs::write(&file, "PEM").unwrap();
    let loaded = load_from(&text).unwrap();
    let told = loaded.clusters[0].executor.nats_tls_ca.as_deref();
    assert_eq!(told, Some("PEM"));
    std::fs::write(&file, "x".repeat((64 << 10) + 1)).unwrap();
    let error = load_from(&text).unwrap_err().to_string();
    assert!(
        error.contains("must be at most 65536 bytes for `pool` and `job`"),
        "{error}"
    );
    load_from(&text.replace("'pool'", "'direct'")).unwrap();
}
