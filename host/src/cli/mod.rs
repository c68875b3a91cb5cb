//! The command line: everything but the story of `serve`, which is `main`'s.
//!
//! Client commands speak `conclave.v1` to a host. What a host tells is folded into a `story`, which
//! the live view, the event lines, the report and the timeline are drawn from.

mod args;
mod check;
mod client;
pub mod cluster;
mod commands;
mod completions;
mod costs;
mod demo;
mod failure;
mod help;
mod json;
mod lines;
mod list;
mod live;
mod new;
mod params;
mod plugin;
mod plugin_sign;
mod plugin_test;
mod plugins;
mod progress;
mod replay;
mod report;
mod scratch;
pub mod steer;
mod steps;
mod story;
mod terminal;
#[cfg(test)]
mod tests;
mod timeline;
mod token;
mod watching;

use std::io;
use std::process::ExitCode;

use crate::config::{self, Environment};
use crate::grpc::pb::conclave::v1 as pb;
use crate::wasm;

pub use args::{
    CancelArgs, Cli, Command, CompileComponentArgs, CompletionsArgs, Connection, DemoArgs, GetArgs,
    ListArgs, PluginCheckArgs, PluginCommand, PluginInspectArgs, PluginListArgs, PluginNewArgs,
    PluginSignArgs, PluginTestArgs, ReplayArgs, RunArgs, ServeArgs, TokenCommand, TokenHashArgs,
    TokenNewArgs, WatchArgs,
};
use terminal::Terminal;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Success,
    Failure,
    /// By Ctrl-C, as a shell tells it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// Runs any command but `serve`, prints what comes of it, and says how the process shall exit.
pub async fn run(command: Command, environment: &Environment) -> ExitCode {
    let mut terminal = Terminal::of_process(environment);
    let as_json = wants_json(&command);
    let done = match &command {
        Command::CompileComponent(args) => return wasm::compile_as_child(&args.bounds()),
        Command::Serve(args) if args.reference => print_reference(&mut terminal),
        Command::Serve(args) => Box::pin(check::check(args, environment, &mut terminal)).await,
        Command::Demo(args) => Box::pin(demo::demo(args, environment, &mut terminal)).await,
        Command::Run(args) => Box::pin(commands::run(args, &mut terminal)).await,
        Command::Get(args) => commands::get(args, &mut terminal).await,
        Command::List(args) => list::list(args, &mut terminal).await,
        Command::Watch(args) => Box::pin(commands::watch(args, &mut terminal)).await,
        Command::Cancel(args) => commands::cancel(args, &mut terminal).await,
        Command::Plugin(PluginCommand::New(args)) => new::new(args, &mut terminal),
        Command::Plugin(PluginCommand::Check(args)) => {
            plugin::check(args, environment, &mut terminal).await
        }
        Command::Plugin(PluginCommand::Sign(args)) => {
            plugin_sign::sign(args, environment, &mut terminal).await
        }
        Command::Plugin(PluginCommand::Test(args)) => {
            Box::pin(plugin_test::test(args, environment, &mut terminal)).await
        }
        Command::Replay(args) => Box::pin(replay::replay(args, &mut terminal)).await,
        Command::Completions(args) => completions::print(args, &mut terminal),
        Command::Plugin(PluginCommand::List(args)) => plugins::list(args, &mut terminal).await,
        Command::Plugin(PluginCommand::Inspect(args)) => {
            plugins::inspect(args, &mut terminal).await
        }
        Command::Plugin(PluginCommand::Steer(command)) => {
            Box::pin(steer::run(command, &mut terminal)).await
        }
        Command::Cluster(command) => Box::pin(cluster::run(command, &mut terminal)).await,
        Command::Token(TokenCommand::New(args)) => token::new(args, &mut terminal),
        Command::Token(TokenCommand::Hash(args)) => token::hash(args, &mut terminal),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => fail(&error, as_json, &mut terminal),
    }
}

/// Prints why `serve` failed, and says how the process shall exit.
pub fn failed(error: &anyhow::Error, environment: &Environment) -> ExitCode {
    fail(error, false, &mut Terminal::of_process(environment))
}

fn fail(error: &anyhow::Error, as_json: bool, terminal: &mut Terminal) -> ExitCode {
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever read stdout has read enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    terminal.note(&failure::describe(error, as_json));
    ExitCode::from(failure::exit_code(error))
}

fn print_reference(terminal: &mut Terminal) -> anyhow::Result<Exit> {
    terminal.print(&config::reference())?;
    Ok(Exit::Success)
}

fn wants_json(command: &Command) -> bool {
    match command {
        Command::Serve(args) => args.json,
        Command::Demo(args) => args.json,
        Command::Run(args) => args.connection.json,
        Command::Get(args) => args.connection.json,
        Command::Watch(args) => args.connection.json,
        Command::Cancel(args) => args.connection.json,
        Command::List(args) => args.connection.json,
        Command::Plugin(PluginCommand::New(args)) => args.json,
        Command::Plugin(PluginCommand::Check(args)) => args.json,
        Command::Completions(_) | Command::CompileComponent(_) => false,
        Command::Plugin(PluginCommand::Sign(args)) => args.json,
        Command::Plugin(PluginCommand::Test(args)) => args.json,
        Command::Replay(args) => args.connection.json,
        Command::Plugin(PluginCommand::List(args)) => args.connection.json,
        Command::Plugin(PluginCommand::Inspect(args)) => args.connection.json,
        Command::Plugin(PluginCommand::Steer(command)) => command.connection().json,
        Command::Cluster(command) => command.connection().json,
        Command::Token(TokenCommand::New(args)) => args.json,
        Command::Token(TokenCommand::Hash(args)) => args.json,
    }
}
