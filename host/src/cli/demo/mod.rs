//! `demo`: a model, a host and a client, all started here, and one real deliberation between them.

mod model;
mod question;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};

use self::model::LocalModel;
use super::Exit;
use super::args::{Connection, DemoArgs};
use super::client::Client;
use super::commands::{aside, conclude};
use super::pb;
use super::scratch::Scratch;
use super::terminal::Terminal;
use crate::config::{self, Environment, Flag, Loaded, Sources};
use crate::metrics::Metrics;
use crate::serve::{self, Host, Listeners, Serving, Signals};
use crate::wasm::EngineConfig;

/// What the demo runs on. Fields end in this order.
struct Stage {
    serving: Serving,
    _model: Option<LocalModel>,
    _scratch: Scratch,
    endpoint: String,
}

/// Starts everything, deliberates, and stops what it started: at the end, on an error and on a signal.
pub(super) async fn demo(
    args: &DemoArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stage = tokio::select! {
        stage = Box::pin(set(args, environment, terminal)) => stage?,
        _ = signals.next() => return Ok(Exit::Interrupted),
        _ = hangup.recv() => return Ok(Exit::Interrupted),
    };
    let addr = format!("http://{}", stage.serving.grpc_addr());
    // Ctrl-C cancels the deliberation, as in `run`.
    let done = tokio::select! {
        done = Box::pin(deliberate(&addr, args.json, terminal)) => done,
        _ = terminate.recv() => Ok(Exit::Interrupted),
        _ = hangup.recv() => Ok(Exit::Interrupted),
    };
    let Stage {
        serving, endpoint, ..
    } = &stage;
    if matches!(done, Ok(Exit::Success)) && !args.json {
        terminal.print(&how_to_go_on(args, endpoint, serving))?;
    }
    stage.serving.shut_down().await;
    done
}

/// Starts the model, if none was named, and a host that uses it.
async fn set(
    args: &DemoArgs,
    environment: &Environment,
    terminal: &mut Terminal,
) -> anyhow::Result<Stage> {
    let scratch = Scratch::new().context("cannot make a temporary directory")?;
    let mut steps = Steps::new(terminal, args.json);
    let (model, endpoint, name) = match (&args.endpoint, &args.model) {
        (Some(endpoint), Some(name)) => (None, endpoint.clone(), name.clone()),
        _ => {
            let program = model::program(args.local_model.as_deref(), environment)?;
            let weights = model::weights(args.weights.as_deref(), environment)?;
            steps.step("loading a small model");
            let log = scratch.path().join("local-model.log");
            let (model, ready) = LocalModel::start(&program, &weights, &log).await?;
            (
                Some(model),
                ready.listening,
                args.model.clone().unwrap_or(ready.model),
            )
        }
    };
    let loaded = configuration(environment, &scratch, &endpoint, &name)?;
    steps.step("starting a host and compiling its plugins");
    let serving = host(loaded, environment)
        .await
        .context("cannot start the host")?;
    steps.done();
    Ok(Stage {
        serving,
        _model: model,
        _scratch: scratch,
        endpoint,
    })
}

/// What the environment says, but with ports, data and model of the demo's own.
fn configuration(
    environment: &Environment,
    scratch: &Scratch,
    endpoint: &str,
    model: &str,
) -> Result<Loaded, config::Error> {
    let data_dir = scratch.path().join("data");
    let set = [
        ("server.data_dir", data_dir.to_string_lossy().into_owned()),
        ("server.grpc_addr", "127.0.0.1:0".to_owned()),
        ("server.http_addr", "127.0.0.1:0".to_owned()),
        // Nothing runs any more when the demo stops its host.
        ("server.shutdown_grace_seconds", "0".to_owned()),
        ("inference.endpoint", endpoint.to_owned()),
        ("inference.model", model.to_owned()),
    ];
    config::load(&Sources {
        file: None,
        environment: environment.clone(),
        flags: set
            .map(|(key, text)| Flag {
                name: "demo",
                key: key.to_owned(),
                text,
            })
            .to_vec(),
    })
}

/// A host, whose compiled plugins are kept for the next demo: compiling them takes longest.
async fn host(loaded: Loaded, environment: &Environment) -> Result<Serving, serve::Error> {
    let listeners = Listeners::bind(&loaded.config.server).await?;
    let metrics = Metrics::new();
    let journal = serve::open_journal(&loaded.config, &metrics)?;
    let kept = cache_dir(environment).map(|cache| EngineConfig {
        cache_dir: Some(cache.join("conclave/compiled")),
        ..loaded.config.engine()
    });
    let engine = match kept.map(|kept| serve::start_engine(kept, &metrics)) {
        Some(Ok(engine)) => engine,
        _ => serve::start_engine(loaded.config.engine(), &metrics)?,
    };
    let plugins = serve::open_plugins(&loaded, &engine)?;
    Host::compose(loaded, journal, engine, plugins, None, metrics)
        .await?
        .serve(listeners)
        .await
}

/// Where programs of this user keep what can be made again.
fn cache_dir(environment: &Environment) -> Option<PathBuf> {
    let home = || Some(Path::new(environment.get("HOME")?).join(".cache"));
    environment
        .get("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// Submits the question as any client does.
async fn deliberate(addr: &str, as_json: bool, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut client = Client::connect(&Connection::to(addr)).await?;
    let accepted = client.create(request()).await?;
    let show = aside(terminal, as_json);
    conclude(client, accepted, show, terminal, as_json).await
}

fn request() -> pb::CreateDeliberationRequest {
    let agents = (1..=question::AGENTS).map(|at| pb::Agent {
        id: format!("agent-{at}"),
        ..pb::Agent::default()
    });
    let plugin = |name: &str, params: &str| pb::PluginSelection {
        name: name.to_owned(),
        params_json: params.to_owned(),
        ..pb::PluginSelection::default()
    };
    let deliberation = pb::Deliberation {
        task: Some(pb::Task {
            id: "demo".to_owned(),
            description: question::TASK.to_owned(),
            agents: agents.collect(),
            ..pb::Task::default()
        }),
        strategy: Some(plugin("sample-vote", question::STRATEGY_PARAMS)),
        scorer: Some(plugin("agreement", question::SCORER_PARAMS)),
        timeout: Some(prost_types::Duration {
            seconds: i64::from(question::TIMEOUT_SECONDS),
            nanos: 0,
        }),
        ..pb::Deliberation::default()
    };
    pb::CreateDeliberationRequest {
        deliberation: Some(deliberation),
        ..pb::CreateDeliberationRequest::default()
    }
}

fn how_to_go_on(args: &DemoArgs, endpoint: &str, serving: &Serving) -> String {
    let server = match (&args.endpoint, &args.model) {
        (Some(_), Some(model)) => {
            let quoted = format!("'{}'", model.replace('\'', r"'\''"));
            let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:".contains(char);
            let model = if model.chars().all(plain) {
                model
            } else {
                &quoted
            };
            format!("--endpoint {endpoint} --model {model}")
        }
        _ => "--endpoint http://127.0.0.1:8000 --model NAME".to_owned(),
    };
    format!(
        "
That was a real host (gRPC on {addr}, journal and plugins in a temporary directory); it stops now.
Go on with a host of your own:
  conclave serve {server}
  conclave run \"Is 91 prime? Answer yes or no.\" --agents 5
  grpcurl -plaintext 127.0.0.1:50056 list conclave.v1.Deliberations
README.md shows how to write a strategy, and how clients of the Ray executor service switch.
",
        addr = serving.grpc_addr(),
    )
}

/// What is being started, as a spinner on a terminal and as lines elsewhere.
struct Steps<'t> {
    terminal: &'t mut Terminal,
    spinner: Option<ProgressBar>,
    silent: bool,
}

impl<'t> Steps<'t> {
    fn new(terminal: &'t mut Terminal, silent: bool) -> Self {
        let spinner = (terminal.err_is_terminal && !silent).then(ProgressBar::new_spinner);
        if let Some(spinner) = &spinner {
            spinner.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            terminal,
            spinner,
            silent,
        }
    }

    fn step(&mut self, what: &'static str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(what),
            None if self.silent => {}
            None => self.terminal.note(what),
        }
    }

    fn done(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_host_is_its_own_whatever_the_environment_says() {
        let environment = [
            ("GRPC_PORT", "1"),
            ("CONCLAVE_SERVER_DATA_DIR", "/srv"),
            ("LOG_LEVEL", "ERROR"),
        ];
        let scratch = Scratch::new().unwrap();
        let loaded = configuration(
            &environment.into_iter().collect(),
            &scratch,
            "http://127.0.0.1:9",
            "m",
        )
        .unwrap();
        let server = loaded.config.server;
        assert_eq!((server.grpc_addr.port(), server.http_addr.port()), (0, 0));
        assert!(server.data_dir.starts_with(scratch.path()));
    }
}
