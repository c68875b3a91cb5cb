use std::net::SocketAddr;
use std::path::PathBuf;

use conclave_core::events::Telling;

use super::*;

fn variables(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables.iter().copied().collect(),
        ..Sources::default()
    }
}

fn file(dir: &tempfile::TempDir, text: &str) -> Option<PathBuf> {
    let path = dir.path().join("conclave.toml");
    std::fs::write(&path, text).unwrap();
    Some(path)
}

/// What is wrong, without the file's directory.
fn error(sources: &Sources) -> String {
    let text = load(sources).unwrap_err().to_string();
    match &sources.file {
        Some(path) => text.replace(&path.display().to_string(), "conclave.toml"),
        None => text,
    }
}

fn error_in_file(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    error(&Sources {
        file: file(&dir, text),
        ..Sources::default()
    })
}

#[test]
fn without_sources_all_is_default() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.api_keys.is_empty());
    assert!(
        loaded
            .notices
            .concat()
            .starts_with("no model server is configured")
    );
}

#[test]
fn flags_outdo_variables_which_outdo_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[limits]\nretries_max = 11\ngenerations_max = 12\nentries_max = 13\n[plugins.limits]\ncpu_ms_max = 14";
    let sources = Sources {
        file: file(&dir, text),
        environment: [
            ("CONCLAVE_LIMITS_GENERATIONS_MAX", "22"),
            ("CONCLAVE_LIMITS_ENTRIES_MAX", "23"),
        ]
        .into_iter()
        .collect(),
        flags: vec![Flag {
            name: "--set",
            key: "limits.entries_max".into(),
            text: "33".into(),
        }],
    };
    let loaded = load(&sources).unwrap();
    let limits = &loaded.config.limits;
    assert_eq!(
        (
            limits.retries_max,
            limits.generations_max,
            limits.entries_max
        ),
        (11, 22, 33)
    );
    assert_eq!(limits.retries_default, 3);
    assert_eq!(loaded.config.plugins.limits.cpu_ms_max, 14);
    assert_eq!(loaded.config.plugins.limits.calls_max, 1_000_000);
}

#[test]
fn every_kind_of_value_can_stand_in_a_variable() {
    let sources = variables(&[
        ("CONCLAVE_SERVER_GRPC_ADDR", "127.0.0.1:0"),
        ("CONCLAVE_INFERENCE_ENDPOINT", "http://vllm:8000/v1"),
        (
            "CONCLAVE_INFERENCE_ALLOWED_ENDPOINTS",
            "http://a:1, http://b:2",
        ),
        ("CONCLAVE_PROMPT_METADATA_ALLOWED", "[\"language\"]"),
        (
            "CONCLAVE_INFERENCE_KEYS",
            "[{endpoint = \"http://a:1\", api_key_env = \"CONCLAVE_A_KEY\"}]",
        ),
        ("CONCLAVE_A_KEY", "sk-1"),
        ("CONCLAVE_LOG_FORMAT", "json"),
        ("CONCLAVE_LOG_PLUGINS", "true"),
        ("CONCLAVE_PLUGINS_DIR", ""),
        ("CONCLAVE_ADDR", "http://elsewhere"),
    ]);
    let loaded = load(&sources).unwrap();
    let config = &loaded.config;
    assert_eq!(
        config.server.grpc_addr,
        SocketAddr::from(([127, 0, 0, 1], 0))
    );
    assert_eq!(
        config.inference.endpoint,
        Some(Endpoint::parse("http://vllm:8000").unwrap())
    );
    assert_eq!(config.inference.allowed_endpoints.len(), 2);
    assert_eq!(config.prompt.metadata_allowed, ["language"]);
    assert_eq!(config.log.format, Format::Json);
    assert!(config.log.plugins);
    assert_eq!(config.plugins.dir, None);
    assert_eq!(
        loaded.api_keys,
        [(Endpoint::parse("http://a:1").unwrap(), ApiKey::new("sk-1"))]
    );
}

#[test]
fn unknown_keys_are_answered_with_the_nearest() {
    insta::assert_snapshot!(error_in_file("grpc_addr = 1\n[inference]\nmodle = \"m\"\n[log.level]\nx = 1"), @r"
    the configuration is invalid:
      - there is no key `grpc_addr` (conclave.toml); did you mean `server.grpc_addr`?
      - there is no key `inference.modle` (conclave.toml); did you mean `inference.model`?
      - `log.level` is `{ x = 1 }` (conclave.toml): it must be a text
    ");
    insta::assert_snapshot!(error(&variables(&[("CONCLAVE_INFERENCE_ENDPIONT", "sk-secret")])), @"the configuration is invalid: there is no variable `CONCLAVE_INFERENCE_ENDPIONT`; did you mean `CONCLAVE_INFERENCE_ENDPOINT`?");
    let flags = vec![Flag {
        name: "--set",
        key: "limits.retry_max".into(),
        text: "1".into(),
    }];
    let sources = Sources {
        flags,
        ..Sources::default()
    };
    insta::assert_snapshot!(error(&sources), @"the configuration is invalid: there is no key `limits.retry_max` (flag --set); did you mean `limits.retries_max`?");
}

#[test]
fn variables_that_kubernetes_makes_for_services_are_no_settings() {
    let links = [
        ("CONCLAVE_SERVICE_HOST", "10.0.0.1"),
        ("CONCLAVE_SERVICE_PORT_GRPC", "50056"),
        ("CONCLAVE_PORT", "tcp://10.0.0.1:50056"),
        ("CONCLAVE_PORT_50056_TCP_ADDR", "10.0.0.1"),
        ("CONCLAVE_GRPC_PORT", "tcp://10.0.0.1:50056"),
        ("CONCLAVE_TEST_PYTHON", "python3"),
    ];
    assert_eq!(load(&variables(&links)).unwrap().config, Config::default());
    for misspelt in ["CONCLAVE_GRPC_PORT", "CONCLAVE_SERVER_PORT_"] {
        assert!(error(&variables(&[(misspelt, "50056")])).contains(misspelt));
    }
}

#[test]
fn bad_values_name_key_value_origin_and_rule() {
    let text = "
        server = { grpc_addr = 'localhost:1', shutdown_grace_seconds = -1 }
        inference = { endpoint = 'ftp://h', allowed_endpoints = 'http://h', in_flight_max = 'many', model = ' ' }
        limits = { retries_default = 11, timeout_default_seconds = 2000, generations_max = 99999999999 }
        log = { level = 'loud', format = 'xml' }
        compat = { fleet_response_shape = 'oldest' }
        plugins = 3";
    insta::assert_snapshot!(error_in_file(text), @r"
    the configuration is invalid:
      - `plugins` is `3` (conclave.toml): it must be a table
      - `compat.fleet_response_shape` is `oldest` (conclave.toml): it does not fit: unknown variant `oldest`, expected `newer` or `older`
      - `inference.allowed_endpoints` is `http://h` (conclave.toml): it must be a list: entries with commas between them, or a TOML array
      - `inference.endpoint` is `ftp://h` (conclave.toml): it does not fit: `ftp://h` must be an http or https URL with a host
      - `inference.in_flight_max` is `many` (conclave.toml): it must be a whole number, 0 or more
      - `limits.generations_max` is `99999999999` (conclave.toml): it is too large
      - `log.format` is `xml` (conclave.toml): it does not fit: unknown variant `xml`, expected one of `auto`, `pretty`, `json`
      - `log.level` is `loud` (conclave.toml): it must be trace, debug, info, warning, error, critical or off, or directives like `info,conclave::grpc=debug`
      - `server.grpc_addr` is `localhost:1` (conclave.toml): it must be an IP address and a port, for example 127.0.0.1:50056
      - `server.shutdown_grace_seconds` is `-1` (conclave.toml): it must be a whole number, 0 or more
      - `inference.model` is ` ` (conclave.toml): it must not be blank
      - `limits.timeout_default_seconds` is `2000` (conclave.toml): it must be 1 to 1800
      - `limits.retries_default` is `11` (conclave.toml): it must be 0 to 10
    ");
}

#[test]
fn every_number_has_a_bound() {
    for (key, default) in keys::all()
        .into_iter()
        .filter(|(_, default)| default.is_number())
    {
        let too_much = variables(&[(&keys::variable(&key), "99999999999999999")]);
        assert!(error(&too_much).contains(&format!("`{key}` is")), "{key}");
        let as_it_is = variables(&[(&keys::variable(&key), &default.to_string())]);
        assert_eq!(load(&as_it_is).unwrap().config, Config::default(), "{key}");
    }
}

#[test]
fn what_must_fit_together_is_checked() {
    let rule = |key: &str, value: &str| {
        let sources = variables(&[(key, value)]);
        error(&sources)
            .split(": it ")
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        rule("CONCLAVE_SERVER_HTTP_ADDR", "127.0.0.1:50056"),
        "must be another address than `server.grpc_addr`"
    );
    assert_eq!(
        rule("CONCLAVE_INFERENCE_RETRY_BASE_MS", "40000"),
        "must be at most `inference.retry_cap_ms`, which is 30000"
    );
    assert_eq!(
        rule("CONCLAVE_INFERENCE_ALLOWED_ENDPOINTS", "http://*.example"),
        "must be an exact origin, patterns are not supported"
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_without_showing_its_lines() {
    let shown = error_in_file("[inference]\nmodel = \"m\"\nkey = sk-secret\n");
    assert!(
        shown.starts_with("`conclave.toml` is not TOML: line 3: "),
        "{shown}"
    );
    assert!(!shown.contains("sk-secret"), "{shown}");
    let missing = Sources {
        file: Some("/no/such/file".into()),
        ..Sources::default()
    };
    assert_eq!(
        error(&missing),
        "cannot read the configuration file `conclave.toml`"
    );
}

#[test]
fn names_of_existing_deployments_keep_working() {
    let sources = variables(&[
        ("GRPC_PORT", "50070"),
        ("LOG_LEVEL", "WARNING"),
        ("NATS_URL", "nats://n"),
        ("RAY_ADDRESS", "ray://r:10001"),
        ("CONCLAVE_INFERENCE_ENDPOINT", "http://h"),
    ]);
    let loaded = load(&sources).unwrap();
    assert_eq!(
        loaded.config.server.grpc_addr,
        SocketAddr::from(([0, 0, 0, 0], 50070))
    );
    assert_eq!(String::from(loaded.config.log.level), "WARNING");
    assert_eq!(loaded.clusters.len(), 1);
    insta::assert_snapshot!(loaded.notices.join("\n"), @r"
    both RayExecutorService packages are open to whoever reaches 0.0.0.0:50070, as they were before; everything else but the health checks needs a token. Configure `access.tokens` or `access.jwt`, and set `access.mode` to `required` once all clients send tokens
    GRPC_PORT makes gRPC listen on all interfaces (0.0.0.0:50070), as it did before; set CONCLAVE_SERVER_GRPC_ADDR to choose the interface
    ");
    let mut outdone = sources;
    outdone.flags.push(Flag {
        name: "--grpc-addr",
        key: "server.grpc_addr".to_owned(),
        text: "127.0.0.1:1".to_owned(),
    });
    let loaded = load(&outdone).unwrap();
    assert!(!loaded.notices.join("").contains("GRPC_PORT"));
    let own = [
        ("GRPC_PORT", "50070"),
        ("CONCLAVE_SERVER_GRPC_ADDR", "127.0.0.1:1"),
        ("LOG_LEVEL", "ERROR"),
        ("CONCLAVE_LOG_LEVEL", "debug"),
    ];
    let loaded = load(&variables(&own)).unwrap();
    assert_eq!(loaded.config.server.grpc_addr.port(), 1);
    assert_eq!(String::from(loaded.config.log.level), "debug");
    insta::assert_snapshot!(error(&variables(&[("GRPC_PORT", "http")])), @"the configuration is invalid: `server.grpc_addr` is `0.0.0.0:http` (variable GRPC_PORT): it must be an IP address and a port, for example 127.0.0.1:50056");
}

#[test]
fn the_variables_of_old_say_where_events_go() {
    let telling = |given: &[(&str, &str)]| {
        let loaded = load(&variables(given)).unwrap();
        (loaded.nats.is_some(), loaded.config.events.telling())
    };
    let on = (true, Telling::Lifecycle);
    let off = (false, Telling::Nothing);
    assert_eq!(telling(&[]), off);
    assert_eq!(telling(&[("NATS_URL", "nats://n:4222")]), on);
    assert_eq!(
        telling(&[("NATS_URL", "nats://n"), ("ENABLE_NATS", "true")]),
        on
    );
    assert_eq!(
        telling(&[("NATS_URL", "nats://n"), ("ENABLE_NATS", "False")]),
        off
    );
    assert_eq!(telling(&[("ENABLE_NATS", "true")]), off);
    let own = ("CONCLAVE_EVENTS_NATS_URL", "nats://a,nats://b:1");
    assert_eq!(telling(&[own, ("ENABLE_NATS", "false")]), on);
    assert_eq!(
        telling(&[own, ("CONCLAVE_EVENTS_PROGRESS", "true")]),
        (true, Telling::Progress)
    );
    let dir = tempfile::tempdir().unwrap();
    let off_over_file = Sources {
        file: file(&dir, "[events]\nnats_url = 'nats://n'"),
        environment: [("ENABLE_NATS", "false")].into_iter().collect(),
        flags: Vec::new(),
    };
    assert!(load(&off_over_file).unwrap().nats.is_none());
    assert_eq!(
        error(&variables(&[("CONCLAVE_EVENTS_PROGRESS", "perhaps")])),
        "the configuration is invalid: `events.progress` is `perhaps` (variable \
         CONCLAVE_EVENTS_PROGRESS): it must be true or false"
    );
}

#[test]
fn the_secrets_of_nats_are_in_files_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let password = password.display().to_string();
    let loaded = load(&variables(&[
        ("CONCLAVE_EVENTS_NATS_URL", "nats://u:s3cret@n:4222"),
        ("CONCLAVE_EVENTS_USER", "conclave"),
        ("CONCLAVE_EVENTS_PASSWORD_FILE", &password),
    ]))
    .unwrap();
    let shown = format!("{loaded:?}{}", loaded.to_toml()).replace(&password, "");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("nats://(hidden)@n:4222"), "{shown}");
    insta::assert_snapshot!(error(&variables(&[
        ("CONCLAVE_EVENTS_NATS_URL", "nats://n"),
        ("CONCLAVE_EVENTS_USER", "conclave"),
    ])), @"the configuration is invalid: `events.user` is `conclave` (variable CONCLAVE_EVENTS_USER): it must come with `password_file`, and not with `token_file` or `credentials_file`: a host has one identity");
    insta::assert_snapshot!(error(&variables(&[
        ("CONCLAVE_EVENTS_NATS_URL", "http://u:s3cret@n"),
    ])), @"the configuration is invalid: `events.nats_url` is `http://(hidden)@n` (variable CONCLAVE_EVENTS_NATS_URL): it must be addresses of NATS servers, for example nats://127.0.0.1:4222");
}

#[test]
fn secrets_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, "sk-in-file\n").unwrap();
    let text = format!(
        "[inference]\nendpoint = \"http://h\"\n[[inference.keys]]\nendpoint = \"http://h\"\napi_key_file = \"{}\"",
        key_file.display()
    );
    let loaded = load(&Sources {
        file: file(&dir, &text),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(
        loaded.api_keys,
        [(
            Endpoint::parse("http://h").unwrap(),
            ApiKey::new("sk-in-file")
        )]
    );
    assert!(!format!("{loaded:?}{}", loaded.to_toml()).contains("sk-in-file"));
    for text in [
        "inference.keys = ['sk-secret']",
        "inference.keys = [{ endpoint = 'http://h', api_key = 'sk-secret' }]",
        "inference.keys = 'sk-secret'",
        "inference.endpoint = 'http://sk:sk-secret@h'",
        "inference.endpoint = 'http://sk:sk-secret@h h'",
        "inference.allowed_endpoints = ['http://sk:sk-secret@h']",
        "inference.api_key = 'sk-secret'",
    ] {
        let error = error_in_file(text);
        assert!(!error.contains("sk-secret"), "{error}");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_refused() {
    let text = "[inference]\nendpoint = 'http://h'\nkeys = [
        { endpoint = 'http://h', api_key_env = 'VLLM_KEY' }, { endpoint = 'http://other' }]";
    insta::assert_snapshot!(error_in_file(&text.replace("[\n", "[").replace(",\n", ",")), @r"
    the configuration is invalid:
      - `inference.keys[1].endpoint` is `http://other` (conclave.toml): it must be `inference.endpoint` or one of `inference.allowed_endpoints`
      - `inference.keys[0].api_key_env` is `VLLM_KEY` (conclave.toml): it must name a variable that is set
      - `inference.keys[1].endpoint` is `http://other` (conclave.toml): it must have exactly one of `api_key_file` and `api_key_env`
    ");
}

#[test]
fn the_effective_configuration_says_where_each_value_stands() {
    let sources = variables(&[
        ("CONCLAVE_INFERENCE_ENDPOINT", "http://vllm:8000"),
        (
            "CONCLAVE_INFERENCE_KEYS",
            "[{endpoint='http://vllm:8000', api_key_env='KEY'}]",
        ),
        ("KEY", "sk-secret"),
        ("CONCLAVE_PLUGINS_LIMITS_CPU_MS_MAX", "5000"),
    ]);
    insta::assert_snapshot!(load(&sources).unwrap().to_toml());
}

#[test]
fn what_is_shown_can_be_read_again() {
    let loaded = load(&variables(&[(
        "CONCLAVE_INFERENCE_ENDPOINT",
        "http://vllm:8000",
    )]))
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let again = load(&Sources {
        file: file(&dir, &loaded.to_toml()),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(again.config, loaded.config);
}
