//! A scrape of a host's metrics.

use std::collections::{BTreeMap, BTreeSet};

use conclave_tests::host::Host;

/// The samples of one scrape, by series.
#[derive(Debug)]
pub(crate) struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Scrapes as people and old scrapers do.
    pub(crate) async fn of(host: &Host) -> Self {
        let (content_type, text) = host.page("/metrics", "*/*").await.unwrap();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        let samples = samples.collect();
        Self { text, samples }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The value of a series, written as it is exposed.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| unreachable!("no `{series}` in\n{}", self.text))
    }

    /// The value of a series, 0 before there is one.
    pub(crate) fn value_or_zero(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    /// Every metric that is described, with the names of a histogram's samples.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in self.text.lines() {
            let Some(described) = line.strip_prefix("# TYPE ") else {
                continue;
            };
            let (name, kind) = described.split_once(' ').unwrap();
            names.insert(name.to_owned());
            if kind == "histogram" {
                names.extend(["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")));
            }
        }
        names
    }
}
