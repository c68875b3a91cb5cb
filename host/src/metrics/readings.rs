//! Numbers that others keep, read at each scrape.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises; `_total` is appended to its name.
    Counter,
    /// It rises and falls.
    Gauge,
}

type Samples = Vec<(Cow<'static, str>, f64)>;

/// A number that is read at each scrape, or one for each value of a label.
pub struct Reading {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    label: Option<&'static str>,
    read: Box<dyn Fn() -> Samples + Send + Sync>,
}

impl Reading {
    /// One number; while it is `None`, the metric is described and has no sample.
    pub fn one(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        let read = move || {
            let sample = read().map(|value| (Cow::Borrowed(""), value));
            sample.into_iter().collect()
        };
        Self {
            name,
            help,
            kind,
            label: None,
            read: Box::new(read),
        }
    }

    /// A number for each value of a label.
    pub fn by<L: Into<Cow<'static, str>>>(
        label: &'static str,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(L, f64)> + Send + Sync + 'static,
    ) -> Self {
        let read = move || {
            let samples = read().into_iter();
            samples.map(|(of, value)| (of.into(), value)).collect()
        };
        Self {
            name,
            help,
            kind,
            label: Some(label),
            read: Box::new(read),
        }
    }
}

impl Reading {
    fn sample(&self, metric: MetricEncoder<'_>, value: f64) -> fmt::Result {
        match self.kind {
            Kind::Counter => ConstCounter::new(value).encode(metric),
            Kind::Gauge => ConstGauge::new(value).encode(metric),
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reading").field(&self.name).finish()
    }
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (value_of_label, value) in (self.read)() {
            match self.label {
                Some(label) => {
                    let labels = [(label, value_of_label)];
                    self.sample(metric.encode_family(&labels)?, value)?;
                }
                None => return self.sample(metric, value),
            }
        }
        Ok(())
    }
}
