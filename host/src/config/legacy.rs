//! Variables of other names: those that deployments of the service before set, and OpenTelemetry's.

use super::environment::Environment;
use super::keys;

/// What those variables say.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    pub(super) values: Vec<Translated>,
    pub(super) notices: Vec<String>,
    /// The one cluster, where no other one is configured.
    pub(super) cluster: Option<Translated>,
}

/// A variable of old as a key's value.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) variable: &'static str,
    pub(super) key: &'static str,
    pub(super) text: String,
}

/// The port that gRPC listened on, on all interfaces.
pub(super) const GRPC_PORT: &str = "GRPC_PORT";

/// Where the one cluster is; the dashboard goes first, since it is what the host calls.
const RAY: [&str; 2] = ["RAY_DASHBOARD_URL", "RAY_ADDRESS"];

const NATS_URL: &str = "NATS_URL";
const ENABLE_NATS: &str = "ENABLE_NATS";

impl Legacy {
    /// Where events go, unless they are turned off.
    fn add_nats(&mut self, environment: &Environment) {
        let enabled = environment.get(ENABLE_NATS).map(str::trim);
        let off = enabled.is_some_and(|text| {
            ["false", "0", "no", "off"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word))
        });
        let url = environment.get(NATS_URL);
        let (variable, text) = match (off, url) {
            // Over the file, which may name a server.
            (true, _) => (ENABLE_NATS, String::new()),
            (false, Some(url)) => (NATS_URL, url.to_owned()),
            (false, None) => {
                if enabled.is_some() {
                    self.notices.push(format!(
                        "ENABLE_NATS alone names no server: set {NATS_URL} or `events.nats_url`"
                    ));
                }
                return;
            }
        };
        self.values.push(Translated {
            variable,
            key: "events.nats_url",
            text,
        });
    }
}

/// The variables of OpenTelemetry that are settings here; those of a signal go first.
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
const OPEN_TELEMETRY: [(&str, &str); 3] = [
    (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "telemetry.otlp_endpoint",
    ),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
];

fn open_telemetry(environment: &Environment, outdone: impl Fn(&str) -> bool) -> Vec<Translated> {
    let mut values: Vec<Translated> = Vec::new();
    for (variable, key) in OPEN_TELEMETRY {
        let taken = values.iter().any(|value| value.key == key);
        if let Some(text) = environment.get(variable)
            && !taken
            && !outdone(key)
        {
            values.push(Translated {
                variable,
                key,
                text: text.to_owned(),
            });
        }
    }
    values
}

/// Reads the variables of old. One whose key has a variable of its own that is set says nothing.
pub(super) fn read(environment: &Environment) -> Legacy {
    let mut legacy = Legacy::default();
    let outdone = |key: &str| environment.get(&keys::variable(key)).is_some();
    if let Some(port) = environment.get(GRPC_PORT) {
        let (key, own) = ("server.grpc_addr", keys::variable("server.grpc_addr"));
        if outdone(key) {
            legacy
                .notices
                .push(format!("GRPC_PORT is not used: {own} is set too"));
        } else {
            legacy.values.push(Translated {
                variable: GRPC_PORT,
                key,
                text: format!("0.0.0.0:{port}"),
            });
        }
    }
    if let Some(level) = environment.get("LOG_LEVEL")
        && !outdone("log.level")
    {
        legacy.values.push(Translated {
            variable: "LOG_LEVEL",
            key: "log.level",
            text: level.to_owned(),
        });
    }
    if !outdone("events.nats_url") {
        legacy.add_nats(environment);
    }
    legacy.values.extend(open_telemetry(environment, outdone));
    legacy.cluster = cluster(environment);
    legacy
}

/// The cluster that deployments of old name by a variable, as a list of one.
fn cluster(environment: &Environment) -> Option<Translated> {
    let named = |variable| Some((variable, environment.get(variable)?));
    let (variable, address) = RAY.into_iter().find_map(named)?;
    let address = toml::Value::String(address.to_owned());
    Some(Translated {
        variable,
        key: "clusters",
        text: format!("[{{ name = \"ray\", address = {address} }}]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_telemetrys_variables_are_settings_and_those_of_the_signal_go_first() {
        let read = |variables: &[(&str, &str)]| {
            let environment: Environment = variables.iter().copied().collect();
            let values = read(&environment).values.into_iter();
            values
                .map(|value| (value.key, value.text))
                .collect::<Vec<_>>()
        };
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:4317");
        let own = ("CONCLAVE_TELEMETRY_OTLP_ENDPOINT", "http://c:4317");
        let endpoint = |text: &str| vec![("telemetry.otlp_endpoint", text.to_owned())];
        assert_eq!(read(&[general]), endpoint("http://a:4317"));
        assert_eq!(read(&[general, traces]), endpoint("http://b:4317"));
        assert!(read(&[general, traces, own]).is_empty());
        let name = ("OTEL_SERVICE_NAME", "deliberation");
        let named = [("telemetry.service_name", "deliberation".to_owned())];
        assert_eq!(read(&[name]), named);
    }
}
