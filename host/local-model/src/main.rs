//! Serves a small GGUF model on the CPU over the OpenAI chat API, for the demo and the tests.
//!
//! [`cli`] says what to serve, [`gguf`] and [`weights`] read it, [`engine`] decodes many requests at
//! once with [`model`] (its arithmetic is in [`kernel`]), and [`api`] speaks HTTP. `README.md` has
//! the measurements behind the choice of an engine of its own.

mod api;
mod chat;
mod cli;
mod engine;
mod gguf;
mod kernel;
mod model;
mod sampler;
mod text;
mod tokenizer;
mod weights;

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use api::Served;
use chat::Chat;
use cli::Cli;
use engine::{Engine, Limits};
use gguf::Gguf;
use model::Model;
use tokenizer::Tokenizer;

/// How long clients may take to read the end of their answers when the server stops.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let (served, thread) = load(&cli)?;
    let engine = served.engine.clone();
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")?
        .block_on(serve(&cli, served))?;
    engine.stop();
    thread.join().ok().context("the engine panicked")
}

fn load(cli: &Cli) -> anyhow::Result<(Served, std::thread::JoinHandle<()>)> {
    let start = Instant::now();
    let path = cli.model.display();
    let gguf = Gguf::open(&cli.model).with_context(|| format!("cannot load `{path}`"))?;
    let tokenizer = Arc::new(Tokenizer::load(&gguf)?);
    let chat = Chat::load(&gguf)?;
    let model = Model::load(&gguf, tokenizer.len())?;
    let trained = model.config.context;
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let limits = Limits {
        slots: cli.slots.get(),
        queue: cli.queue,
        threads: cli.threads.unwrap_or(processors).get(),
    };
    let layers = model.config.layers;
    let (engine, thread) = Engine::start(model, Arc::clone(&tokenizer), limits)?;
    tracing::info!(%path, layers, ?limits, elapsed = ?start.elapsed(), "model loaded");
    let served = Served {
        name: cli.name.clone(),
        context: cli.context.map_or(trained, |c| c.get().min(trained)),
        slots: limits.slots,
        tokenizer,
        chat,
        engine,
    };
    Ok((served, thread))
}

async fn serve(cli: &Cli, served: Served) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(cli.addr)
        .await
        .with_context(|| format!("cannot listen on {}", cli.addr))?;
    let listening = format!("http://{}", listener.local_addr()?);
    let ready = serde_json::json!({ "listening": listening, "model": served.name });
    // The one line on stdout: a parent process reads it.
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{ready}").context("cannot print the address")?;
    stdout.flush()?;
    drop(stdout);
    tracing::info!(%listening, model = served.name, "ready");
    let engine = served.engine.clone();
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests that run end with an error");
        engine.stop();
        stopping.send(()).ok();
    };
    let server = axum::serve(listener, api::router(served)).with_graceful_shutdown(stop);
    tokio::select! {
        served = server => served.context("the server failed"),
        () = overdue(stopped) => {
            tracing::warn!("some clients did not go away: their connections are cut");
            Ok(())
        }
    }
}

/// Ends some time after the stop; never, if there is none.
async fn overdue(stopped: oneshot::Receiver<()>) {
    match stopped.await {
        Ok(()) => tokio::time::sleep(GRACE).await,
        Err(_) => std::future::pending().await,
    }
}
