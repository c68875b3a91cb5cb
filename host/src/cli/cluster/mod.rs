//! `conclave cluster`: the Ray clusters of a host, and the models that it serves.

pub mod args;
pub(super) mod help;
mod json;
mod models;
mod status;
mod steer;

use super::client::Client;
use super::terminal::Terminal;
use super::{Exit, pb};
use args::ClusterCommand;

/// Runs one of the commands.
pub(super) async fn run(command: &ClusterCommand, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    match command {
        ClusterCommand::Status(args) => status::status(args, terminal).await,
        ClusterCommand::Models(args) => models::models(args, terminal).await,
        ClusterCommand::Up(args) => steer::up(args, terminal).await,
        ClusterCommand::Down(args) => steer::down(args, terminal).await,
        ClusterCommand::Drain(args) => steer::drain(args, terminal).await,
        ClusterCommand::Resume(args) => steer::resume(args, terminal).await,
    }
}

/// A connection, and whether to print JSON.
async fn connect(connection: &super::Connection) -> anyhow::Result<(Client, bool)> {
    Ok((Client::connect(connection).await?, connection.json))
}

/// `a100` of `clusters/a100`.
fn id(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}

fn breaker(breaker: pb::Breaker) -> &'static str {
    match breaker {
        pb::Breaker::Closed => "closed",
        pb::Breaker::Open => "open",
        pb::Breaker::HalfOpen => "half-open",
        pb::Breaker::Unspecified => "-",
    }
}

/// Rows below their header, each column as wide as its widest cell; the last is as long as it is.
fn columns(header: &[&str], rows: &[Vec<String>]) -> (String, Vec<String>) {
    let widths: Vec<_> = (0..header.len())
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or_default().max(header[at].len())
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let lines = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()))
        .collect();
    (line(header.to_vec()), lines)
}
