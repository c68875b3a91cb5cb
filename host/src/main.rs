//! The binary `conclave`: the story of how a host starts and stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use conclave::cli::{self, Cli, Command, ServeArgs};
use conclave::config::{self, Environment, Loaded};
use conclave::metrics::Metrics;
use conclave::serve::{self, Host, Listeners, Serving, Signals};
use conclave::{telemetry, wasm};

use anyhow::Context as _;
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that block (a compilation, a look-up of a name) may hold up the end.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let command = Cli::parse().command;
    if let Command::CompileComponent(args) = &command {
        // Before there are threads, and memory of theirs: it bounds its own.
        return wasm::compile_as_child(&args.bounds());
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = anyhow::Error::new(error).context("cannot start threads");
            return cli::failed(&error, &environment);
        }
    };
    let code = runtime.block_on(async {
        match command {
            Command::Serve(args) if args.serves() => {
                let served = Box::pin(serve(&args, &environment)).await;
                served.unwrap_or_else(|error| cli::failed(&error, &environment))
            }
            command => Box::pin(cli::run(command, &environment)).await,
        }
    });
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    code
}

async fn serve(args: &ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&args.sources(environment.clone()))?;
    let traces = telemetry::start(&loaded.config.log, &loaded.config.telemetry)?;
    let metrics = Metrics::new();
    if let Some(traces) = &traces {
        traces.measure(&metrics);
    }
    for notice in &loaded.notices {
        tracing::warn!("{notice}");
    }

    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let serving = tokio::select! {
        serving = start(loaded, metrics) => serving?,
        // Nothing was promised to anybody yet.
        signal = signals.next() => return Ok(signal.exit_code().into()),
    };

    let signal = signals.next().await;
    tracing::info!(%signal, "stopping; a second signal exits at once");
    let shut_down = async {
        serving.shut_down().await;
        if let Some(traces) = traces {
            traces.stop().await;
        }
    };
    tokio::select! {
        () = shut_down => Ok(ExitCode::SUCCESS),
        // What was accepted is in the journal, and goes on at the next start.
        signal = signals.next() => std::process::exit(signal.exit_code().into()),
    }
}

async fn start(loaded: Loaded, metrics: Arc<Metrics>) -> anyhow::Result<Serving> {
    let listeners = Listeners::bind(&loaded.config.server).await?;
    let journal = serve::open_journal(&loaded.config, &metrics)?;
    let nats = serve::start_nats(&loaded).await?;
    let engine = serve::start_engine(loaded.config.engine(), &metrics)?;
    let plugins = serve::open_plugins(&loaded, &engine)?;
    let host = Host::compose(loaded, journal, engine, plugins, nats, metrics);
    let host = Box::pin(host).await?;
    Ok(host.serve(listeners).await?)
}
