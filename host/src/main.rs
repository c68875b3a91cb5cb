//! The binary `conclave`: the story of how a host starts and stops.

use std::process::ExitCode;

use conclave::cli::{self, Cli, Command, ServeArgs};
use conclave::config::{self, Environment, Loaded};
use conclave::serve::{self, Host, Listeners, Serving, Signals};
use conclave::telemetry;

use anyhow::Context as _;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let environment = Environment::of_process();
    match Cli::parse().command {
        Command::Serve(args) if !args.check => match Box::pin(serve(&args, &environment)).await {
            Ok(code) => code,
            Err(error) => cli::failed(&error, &environment),
        },
        command => Box::pin(cli::run(command, &environment)).await,
    }
}

async fn serve(args: &ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&args.sources(environment.clone()))?;
    telemetry::start(&loaded.config.log)?;
    for notice in &loaded.notices {
        tracing::warn!("{notice}");
    }

    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let serving = tokio::select! {
        serving = start(loaded) => serving?,
        // Nothing was promised to anybody yet.
        signal = signals.next() => return Ok(signal.exit_code().into()),
    };

    let signal = signals.next().await;
    tracing::info!(%signal, "stopping; a second signal exits at once");
    tokio::select! {
        () = serving.shut_down() => Ok(ExitCode::SUCCESS),
        // What was accepted is in the journal, and goes on at the next start.
        signal = signals.next() => std::process::exit(signal.exit_code().into()),
    }
}

async fn start(loaded: Loaded) -> anyhow::Result<Serving> {
    let listeners = Listeners::bind(&loaded.config.server).await?;
    let journal = serve::open_journal(&loaded.config)?;
    let engine = serve::start_engine(&loaded.config)?;
    let plugins = serve::open_plugins(&loaded.config, &engine)?;
    let host = Host::compose(loaded, journal, engine, plugins)?;
    Ok(host.serve(listeners).await?)
}
