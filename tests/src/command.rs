//! Commands of the binary that end by themselves, as a script runs them: no terminal anywhere.

use std::process::Output;

use anyhow::Context as _;
use serde_json::Value;

use crate::binary;
use crate::host::{Host, bare_command};
use crate::patience::within;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it told beside that.
    pub err: String,
}

impl Ran {
    /// What it printed, as one JSON value.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?} is no JSON"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `conclave` with these arguments to its end.
///
/// # Errors
/// When it cannot be started, or does not end.
pub async fn conclave(args: &[&str]) -> anyhow::Result<Ran> {
    conclave_with(args, &[]).await
}

/// Runs `conclave` with these arguments and variables to its end.
///
/// # Errors
/// As [`conclave()`].
pub async fn conclave_with(args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Ran> {
    let mut command = bare_command(&binary::conclave()?);
    command.args(args).envs(variables.iter().copied());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = within(&format!("the end of `conclave {}`", args.join(" ")), ended).await???;
    Ok(output.into())
}

/// Runs a client command against a host.
///
/// # Errors
/// As [`conclave()`].
pub async fn client_of(host: &Host, args: &[&str]) -> anyhow::Result<Ran> {
    let addr = format!("http://{}", host.grpc_addr());
    conclave_with(args, &[("CONCLAVE_ADDR", &addr)]).await
}
