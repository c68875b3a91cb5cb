//! Calls of plugins: what they cost, and how they end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use conclave_core::plugin::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::buckets;
use super::names::Names;
use crate::wasm::PluginCall;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    plugin: String,
    kind: &'static str,
    result: &'static str,
}

type Seconds = Counter<f64, AtomicU64>;

/// Measures calls of plugins.
#[derive(Debug)]
pub struct PluginCalls {
    instantiation: Histogram,
    calls: Family<ResultLabels, Counter>,
    strategies: Names<Plugin>,
    scorers: Names<Plugin>,
}

/// The series of one plugin; those of its versions are not told apart.
#[derive(Debug)]
struct Plugin {
    name: String,
    answered: Counter,
    cpu_seconds: Seconds,
}

impl PluginCalls {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let calls = Family::<ResultLabels, Counter>::default();
        let cpu_seconds = Family::<PluginLabels, Seconds>::default();
        let instantiation = Histogram::new(buckets::INSTANTIATION);
        registry.register(
            "conclave_plugin_calls",
            "Calls of plugins that ended, by plugin, kind and result",
            calls.clone(),
        );
        registry.register(
            "conclave_plugin_cpu_seconds",
            "CPU time of plugins, by plugin and kind",
            cpu_seconds.clone(),
        );
        registry.register(
            "conclave_plugin_instantiation_seconds",
            "Time to make a fresh instance of a plugin",
            instantiation.clone(),
        );
        let names = |kind: &'static str| {
            let (calls, cpu_seconds) = (calls.clone(), cpu_seconds.clone());
            Names::new(move |name| {
                let plugin = name.to_owned();
                Plugin {
                    name: plugin.clone(),
                    cpu_seconds: cpu_seconds.get_or_create_owned(&PluginLabels {
                        plugin: plugin.clone(),
                        kind,
                    }),
                    answered: calls.get_or_create_owned(&ResultLabels {
                        plugin,
                        kind,
                        result: "answered",
                    }),
                }
            })
        };
        Arc::new(Self {
            instantiation,
            strategies: names("strategy"),
            scorers: names("scorer"),
            calls,
        })
    }

    /// Takes note of a call that ended.
    pub fn ended(&self, call: &PluginCall<'_>) {
        let (plugins, kind) = match call.kind {
            Kind::Strategy => (&self.strategies, "strategy"),
            Kind::Scorer => (&self.scorers, "scorer"),
        };
        let plugin = plugins.get(call.plugin);
        plugin.cpu_seconds.inc_by(call.cpu.as_secs_f64());
        if let Some(instantiation) = call.instantiation {
            self.instantiation.observe(instantiation.as_secs_f64());
        }
        if call.result == "answered" {
            plugin.answered.inc();
            return;
        }
        let labels = ResultLabels {
            plugin: plugin.name.clone(),
            kind,
            result: call.result,
        };
        self.calls.get_or_create(&labels).inc();
    }
}
