use crate::config::{Error, Loaded, Sources, load};

fn load_from(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conclave.toml");
    std::fs::write(&file, text).unwrap();
    load(&Sources {
        file: Some(file),
        environment: variables.iter().copied().collect(),
        ..Sources::default()
    })
}

fn error(text: &str, variables: &[(&str, &str)]) -> String {
    load_from(text, variables).unwrap_err().to_string()
}

const SOUND: &str = r#"
    [events]
    nats_url = "nats://me:hush@nats:4222"
    [[clusters]]
    name = "a100"
    address = "https://ray.example:8265"
    weight = 3
    token_env = "CONCLAVE_A100_TOKEN"
    timeout_seconds = 7
    labels = { gpu = "A100" }
    [clusters.executor]
    actors = 4
    actor_gpus = 0.5
    actor_resources = { fast = 1 }
    env = { HF_HOME = "/models" }
    [[clusters]]
    name = "spare"
    address = "ray://spare:10001"
    executor = { actors = 0, nats_url = "nats://other:4222" }
"#;

const TOKEN: (&str, &str) = ("CONCLAVE_A100_TOKEN", "s3cret");

#[test]
fn clusters_are_read_with_their_secrets_which_are_never_shown() {
    let loaded = load_from(SOUND, &[TOKEN]).unwrap();
    let [first, spare] = loaded.clusters.as_slice() else {
        unreachable!("{loaded:?}");
    };
    assert_eq!((first.name.as_str(), first.weight), ("a100", 3));
    assert_eq!(first.labels["gpu"], "A100");
    assert_eq!(first.ray.address.to_string(), "https://ray.example:8265");
    assert!(first.ray.token.is_some() && first.ray.timeout.as_secs() == 7);
    let executor = &first.executor;
    assert_eq!((executor.actors, executor.slots), (4, 64));
    assert!(executor.install_needs && executor.python == "python");
    assert_eq!((executor.actor_cpus, executor.actor_gpus), (1.0, 0.5));
    assert_eq!(executor.actor_resources["fast"], 1.0);
    assert_eq!(executor.ack_wait.as_secs(), 10);
    let nats = |at: usize| {
        let url = loaded.clusters[at].executor.nats_url.as_ref();
        url.unwrap().reveal().to_owned()
    };
    // The user in the host's own URL is not the executor's.
    assert_eq!(nats(0), "nats://nats:4222");
    assert_eq!(nats(1), "nats://other:4222");
    assert_eq!(spare.ray.address.to_string(), "http://spare:8265");
    assert!(spare.ray.token.is_none() && spare.executor.actors == 0);
    let shown = format!("{loaded:?}{}", loaded.to_toml());
    assert!(
        !shown.contains("s3cret") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let sound = SOUND.replace("me:hush@", "");
    let loaded = load_from(&sound, &[TOKEN]).unwrap();
    let mut again = load_from(&loaded.to_toml(), &[TOKEN]).unwrap();
    // What environments hold may be secret: only their names are shown.
    for (again, first) in again
        .config
        .clusters
        .iter_mut()
        .zip(&loaded.config.clusters)
    {
        let (again, first) = (&mut again.executor.env, &first.executor.env);
        assert!(again.keys().eq(first.keys()));
        assert!(again.values().all(|value| value == "(hidden)"));
        again.clone_from(first);
    }
    assert_eq!(again.config, loaded.config);
}

#[test]
fn every_broken_rule_names_the_cluster_and_the_member() {
    let told = |from: &str, to: &str| {
        assert!(SOUND.contains(from), "{from}");
        let text = error(&SOUND.replacen(from, to, 1), &[TOKEN]);
        // Without the file's path.
        let (start, end) = text.find(" (/").zip(text.find("): ")).unwrap();
        format!("{}{}", &text[..=start], &text[end + 3..])
    };
    for (from, to, expected) in [
        (
            "\"a100\"",
            "\"A100\"",
            "`clusters[0].name` is `A100` it must be 1 to 40 small letters, digits and `-`",
        ),
        (
            "\"spare\"",
            "\"a100\"",
            "`clusters[1].name` is `a100` it must be unique, and another cluster has it",
        ),
        (
            "https://ray.example:8265",
            "http://SPARE:8265/",
            "`clusters[1].address` is `ray://spare:10001` it must not be that of another entry: each would \
             stop what the other starts there",
        ),
        (
            "https://ray.example:8265",
            "ray.example:8265",
            "`clusters[0].address` is `ray.example:8265` it must be `http://HOST:8265`, \
             `https://HOST:8265` or `ray://HOST:10001`",
        ),
        (
            "https://ray.example:8265",
            "https://me:s3cret@ray.example",
            "`clusters[0].address` is `https://(hidden)@ray.example` it must not contain a user or \
             password: a token belongs into `token_file`",
        ),
        (
            "weight = 3",
            "weight = 0",
            "`clusters[0].weight` is `0` it must be 1 to 100",
        ),
        (
            "actors = 4",
            "actors = 4\nslots = 0",
            "`clusters[0].executor.slots` is `0` it must be 1 to 4096",
        ),
        (
            "actor_gpus = 0.5",
            "actor_gpus = nan",
            "`clusters[0].executor.actor_gpus` is `NaN` it must be 0 to 1024",
        ),
        (
            "fast = 1",
            "fast = -1",
            "`clusters[0].executor.actor_resources.fast` is `-1` it must be 0 to 1000000000",
        ),
        (
            "actors = 4",
            "actors = 4\npython = \"/opt/python\"",
            "`clusters[0].executor.python` is `/opt/python` it must have no `/` where `install_needs`",
        ),
        (
            "HF_HOME",
            "\"HF=HOME\"",
            "`clusters[0].executor.env` is `HF=HOME` it must be names of variables, without `=`",
        ),
        (
            "token_env = \"CONCLAVE_A100_TOKEN\"",
            "tls_ca_file = \"/dev/null\"",
            "`clusters[0].tls_ca_file` is `/dev/null` it must hold certificates, as PEM",
        ),
        (
            "token_env = ",
            "token_file = \"/dev/null\"\ntoken_env = ",
            "`clusters[0].address` is `https://ray.example:8265` it must have exactly one of \
             `token_file` and `token_env`",
        ),
        (
            "weight = 3",
            "wieght = 3",
            "`clusters` is hidden it must be a list of tables with `name`, `address`, and if need be \
             more; unknown field `wieght`, expected one of `name`, `address`, `weight`, `token_file`, \
             `token_env`, `tls_ca_file`, `connect_timeout_seconds`, `timeout_seconds`, `labels`, \
             `executor`",
        ),
        (
            "nats://other:4222",
            "http://me:s3cret@other",
            "`clusters` is hidden it must be a list of tables with `name`, `address`, and if need be \
             more; must be addresses of NATS servers, for example nats://127.0.0.1:4222",
        ),
    ] {
        let text = told(from, to);
        assert!(text.contains(expected), "{text}");
    }
    assert!(error(SOUND, &[]).contains("must name a variable that is set"));
}

#[test]
fn executions_on_clusters_need_clusters_and_nats() {
    let rule = |text: &str| {
        let error = error(text, &[]);
        error.split(": it ").last().unwrap_or_default().to_owned()
    };
    let pool = "must be `direct`, or there must be a cluster whose `executor.actors` are not 0, and \
                `events.nats_url`";
    assert_eq!(rule("inference.execution = 'pool'"), pool);
    assert_eq!(rule("routing = [{ role = 'QA', execution = 'job' }]"), pool);
    let with = |execution: &str, actors: u32| {
        format!(
            "inference.execution = '{execution}'\nevents.nats_url = 'nats://n'\n\
             clusters = [{{ name = 'a', address = 'ray://h', executor = {{ actors = {actors} }} }}]"
        )
    };
    assert_eq!(rule(&with("pool", 0)), pool);
    assert_eq!(rule(&with("job", 0)), pool);
    for sound in [with("pool", 1), with("job", 1), with("direct", 0)] {
        load_from(&sound, &[]).unwrap_or_else(|error| unreachable!("{error}\n{sound}"));
    }
}

#[test]
fn the_variables_of_old_name_a_cluster_unless_others_are_configured() {
    let clusters = |text: &str, variables: &[(&str, &str)]| {
        let loaded = load_from(text, variables).unwrap();
        let clusters = loaded.clusters.iter();
        let told = clusters.map(|one| format!("{} {}", one.name, one.ray.address));
        (told.collect::<Vec<_>>(), loaded.notices.join("\n"))
    };
    let address = ("RAY_ADDRESS", "ray://head:10001");
    let dashboard = ("RAY_DASHBOARD_URL", "https://ray.example");
    assert_eq!(clusters("", &[address]).0, ["ray http://head:8265"]);
    assert_eq!(
        clusters("", &[address, dashboard]).0,
        ["ray https://ray.example"]
    );
    assert_eq!(
        clusters("", &[("RAY_ADDRESS", "auto"), dashboard]).0,
        ["ray https://ray.example"]
    );
    let (own, notices) = clusters(
        "clusters = [{ name = 'a', address = 'http://h' }]",
        &[address],
    );
    assert_eq!(own, ["a http://h"]);
    assert!(notices.contains("RAY_ADDRESS is not used: `clusters` is set too"));
    assert!(clusters("clusters = []", &[address]).0.is_empty());
    let variable = ("CONCLAVE_CLUSTERS", "[{name = 'b', address = 'http://h'}]");
    assert_eq!(clusters("", &[address, variable]).0, ["b http://h"]);
    for (name, value) in [("RAY_ADDRESS", "auto"), ("RAY_DASHBOARD_URL", "h\"\\:8265")] {
        let error = error("", &[(name, value)]);
        assert!(
            error.contains(&format!(
                "`clusters[0].address` is `{value}` (variable {name}): it must be"
            )),
            "{error}"
        );
    }
}
