//! The project's own model server, with a small real model.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::binary;
use crate::command::Ran;
use crate::patience::within;

/// Fetches the weights as the README does, unless they are there: their path.
///
/// # Errors
/// When they do not come.
pub async fn weights() -> anyhow::Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-model/fetch-model.sh");
    let mut command = Command::new("sh");
    command.arg(script);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let fetched = Ran::from(within("the weights", ended).await???);
    ensure!(fetched.code == Some(0), "{fetched:?}");
    Ok(fetched.out.trim().to_owned())
}

/// The shell command that serves the model `name` at `{port}`, as a replica of a model is started.
///
/// # Errors
/// When it was not built, or its weights do not come.
pub async fn entrypoint(name: &str) -> anyhow::Result<String> {
    let program = binary::built("conclave-local-model")?;
    let weights = weights().await?;
    Ok(format!(
        "'{}' --model '{weights}' --name {name} --addr 127.0.0.1:{{port}} --threads 1",
        program.display()
    ))
}

/// The first of so many free ports in a row.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: u16) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    for _ in 0..100 {
        let first = bind(0)?;
        let port = first.local_addr()?.port();
        let Some(end) = port.checked_add(count) else {
            continue;
        };
        if (port + 1..end).all(|next| bind(next).is_ok()) {
            return Ok(port);
        }
    }
    None.context("there are no free ports in a row")
}
