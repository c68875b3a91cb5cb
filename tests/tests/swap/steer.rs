//! A name from its first version to its second, and back.

use conclave_tests::client::pb;
use conclave_tests::host::Host;
use conclave_tests::steady::{NAME, steady, version};
use conclave_tests::stub_server::StubServer;

use super::support::{Files, asked, done, lines, plugins, ran_on, refused, serving};

#[tokio::test]
async fn the_command_line_takes_a_version_from_its_file_to_everybody_and_back() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let files = Files::new();
    let (one, two) = (version(1), version(2));
    let named = |version: &str| format!("{NAME}@{version}");

    let told = done(&host, &["plugin", "push", &files.steady(1)]).await;
    assert!(
        told.contains("is taken") && told.contains("it is stable"),
        "{told}"
    );
    assert_eq!(serving(&client).await, one);
    let told = done(&host, &["plugin", "push", &files.steady(2)]).await;
    let next = format!("conclave plugin canary {} --share 5%", named(&two));
    assert!(
        told.contains("it serves nobody yet") && told.contains(&next),
        "{told}"
    );
    assert_eq!(serving(&client).await, one);
    let told = done(&host, &["plugin", "push", &files.steady(2)]).await;
    assert!(told.contains("is there already"), "{told}");

    let rule = "label:team=core:100%";
    let canary = [
        "plugin",
        "canary",
        &named(&two),
        "--share",
        "0%",
        "--rule",
        rule,
    ];
    let told = done(&host, &canary).await;
    assert!(told.contains(&format!("Rule      {rule}")), "{told}");
    let mut core = asked("answer:yes");
    core.labels.insert("team".to_owned(), "core".to_owned());
    assert_eq!(ran_on(&client.run(core).await.unwrap()), two);
    assert_eq!(serving(&client).await, one);
    let listed = done(&host, &["plugin", "list"]).await;
    let row = listed.lines().find(|line| line.contains(&named(&two)));
    assert!(row.unwrap().contains("canary 0%"), "{listed}");

    let told = done(&host, &["plugin", "promote", NAME, "--reason", "better"]).await;
    assert!(
        told.contains(&format!("{} is stable", named(&two))),
        "{told}"
    );
    assert_eq!(serving(&client).await, two);
    let in_use = refused(&host, &["plugin", "remove", &named(&two)]).await;
    assert!(in_use.err.contains("PLUGIN_IN_USE"), "{in_use:?}");
    let told = done(&host, &["plugin", "rollback", NAME]).await;
    let undo = format!("undo it: `conclave plugin promote {}`", named(&two));
    assert!(told.contains(&undo), "{told}");
    assert_eq!(serving(&client).await, one);
    let told = done(&host, &["plugin", "remove", &named(&two)]).await;
    assert!(told.contains("is removed"), "{told}");
    let gone = refused(&host, &["plugin", "inspect", &named(&two)]).await;
    assert!(
        gone.err.contains(&format!("it has {}", named(&one))),
        "{gone:?}"
    );

    let history = lines(&host, &["plugin", "history", NAME, "--json"]).await;
    let actions: Vec<_> = history
        .iter()
        .map(|one| one["action"].as_str().unwrap())
        .collect();
    let expected = [
        "REMOVED",
        "ROLLED_BACK",
        "PROMOTED",
        "CANARY_CHANGED",
        "ADDED",
        "PROMOTED",
        "ADDED",
    ];
    assert_eq!(actions, expected);
    assert_eq!(history[2]["reason"], "better");
    let inspected = lines(&host, &["plugin", "inspect", NAME, "--json"]).await;
    assert_eq!(inspected[0]["version"], one.as_str());
    assert_eq!(inspected[0]["changes"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn every_step_survives_a_kill() {
    let stub = StubServer::start().await.unwrap();
    let mut host = Host::asking(&stub).await.unwrap();
    // The step, and what is stable and tried after it.
    for step in 0..6 {
        let plugins = plugins(&host).await;
        let push = |number: u32| {
            let (plugins, bytes) = (plugins.clone(), steady(number).unwrap());
            async move { plugins.push(&bytes, None).await.unwrap() }
        };
        let (two, digest) = (version(2), plugins.list(NAME).await.unwrap());
        let digest = digest.iter().find(|one| one.version == two);
        let digest = digest.map(|one| one.digest.clone()).unwrap_or_default();
        match step {
            0 => drop(push(1).await),
            1 => drop(push(2).await),
            2 => drop(plugins.canary(NAME, &two, 10_000).await.unwrap()),
            3 => drop(plugins.promote(NAME, "").await.unwrap()),
            4 => drop(plugins.rollback(NAME).await.unwrap()),
            _ => drop(plugins.remove(&digest).await.unwrap()),
        }
        let before = told(&plugins).await;
        host = host.kill().unwrap().start().await.unwrap();
        let plugins = super::support::plugins(&host).await;
        assert_eq!(told(&plugins).await, before, "step {step}");
        let client = host.client().await.unwrap();
        let expected = [1, 1, 2, 2, 1, 1][step];
        assert_eq!(serving(&client).await, version(expected), "step {step}");
    }
}

type Told = (pb::PluginChannels, Vec<pb::Plugin>, Vec<pb::PluginChange>);

/// All that is told of the name.
async fn told(plugins: &conclave_tests::plugins::Plugins) -> Told {
    let channels = plugins.channels(NAME).await.unwrap();
    let mut listed = plugins.list(NAME).await.unwrap();
    for one in &mut listed {
        // Who runs just now is not what is kept.
        one.held_by_count = 0;
    }
    (channels, listed, plugins.changes(NAME).await.unwrap())
}
