//! Dashboard, rules and their description know the metrics that a host exposes, and no others.

use std::collections::BTreeSet;
use std::path::Path;

use conclave_tests::draft::vote;
use conclave_tests::host::Setup;
use conclave_tests::stub_server::StubServer;

use crate::exposition::Scrape;

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| unreachable!("{path:?}: {error}"))
}

/// Every word of a text that is a metric of the host, by its prefix.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| {
        ["conclave_", "ray_executor_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
    });
    ours.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn what_dashboard_and_rules_read_is_exposed_and_what_is_exposed_is_described() {
    let stub = StubServer::start().await.unwrap();
    // A collector that is not there: its metrics are.
    let setup = Setup::asking(&stub)
        .unwrap()
        .set("telemetry.otlp_endpoint", "http://127.0.0.1:1");
    let host = setup.start().await.unwrap();
    // What has a label for each model or plugin is there when the first one is.
    let client = host.client().await.unwrap();
    client.run(vote(&["answer:yes"])).await.unwrap();
    let exposed = Scrape::of(&host).await.names();
    for file in [
        "grafana/conclave.json",
        "prometheus/rules.yml",
        "prometheus/alerts.yml",
        "prometheus/rules_test.yml",
    ] {
        let used = metrics_in(&deploy(file));
        assert!(!used.is_empty(), "{file}");
        let missing: Vec<_> = used.difference(&exposed).collect();
        assert!(missing.is_empty(), "{file} reads {missing:?}");
    }
    let description = deploy("observability.md");
    let described = metrics_in(&description);
    let undescribed: Vec<_> = exposed
        .iter()
        .filter(|name| {
            let of_histogram = ["_bucket", "_count", "_sum"];
            !of_histogram.iter().any(|suffix| name.ends_with(suffix))
        })
        .filter(|name| !described.contains(*name))
        .collect();
    assert!(
        undescribed.is_empty(),
        "observability.md lacks {undescribed:?}"
    );
    let unknown: Vec<_> = described.difference(&exposed).collect();
    assert!(unknown.is_empty(), "observability.md describes {unknown:?}");
}

#[test]
fn every_runbook_of_an_alert_is_a_section() {
    let description = deploy("observability.md");
    let sections: BTreeSet<_> = description
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let alerts = deploy("prometheus/alerts.yml");
    let runbooks = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: "));
    let mut count = 0;
    for runbook in runbooks {
        let section = runbook
            .trim_matches('"')
            .strip_prefix("deploy/observability.md#");
        let section = section.unwrap_or_else(|| unreachable!("{runbook}"));
        assert!(sections.contains(section), "{section} in {sections:?}");
        count += 1;
    }
    assert_eq!(count, alerts.matches("- alert:").count());
}
