//! The host's side: starts the child, feeds it, waits for it within bounds, and says why it failed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{CODE_BYTES_MAX, Failure};
use crate::wasm::code::MachineCode;
use crate::wasm::limits::{PluginLimits, key};

/// Bytes that are kept of what the child tells.
const TOLD_BYTES_MAX: u64 = 2_000;

/// How many times the CPU time that it may take the child is waited for, but for a minute at least: it
/// gives way to others.
const PATIENCE: u32 = 5;
const WAIT_MIN: Duration = Duration::from_secs(60);

pub(super) async fn compile(
    program: &Path,
    component: &[u8],
    limits: &PluginLimits,
) -> Result<MachineCode, Failure> {
    let cpu_seconds = limits.compile_ms_max.div_ceil(1_000).max(1);
    let mut command = Command::new(program);
    command
        .arg0("conclave")
        .arg("compile-component")
        .args(["--component-bytes", &component.len().to_string()])
        .args([
            "--memory-bytes",
            &limits.compile_memory_bytes_max.to_string(),
        ])
        .args(["--cpu-seconds", &cpu_seconds.to_string()])
        .env_clear()
        // Else the allocator counts a whole gigabyte as used before `main`.
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let time = Duration::from_secs(cpu_seconds).saturating_mul(PATIENCE);
    let time = time.max(WAIT_MIN);
    // When the time is over, the child is dropped, and killed by that.
    match tokio::time::timeout(time, run(&mut command, component)).await {
        Ok(Ok(ended)) => ended.into_code(limits),
        Ok(Err(error)) => {
            let program = program.display();
            Err(Failure::Broken(format!(
                "the compiler `{program}` cannot be run: {error}"
            )))
        }
        // Its own CPU time is not over: others took it.
        Err(_) => Err(Failure::Broken(format!(
            "the compiler was not given {cpu_seconds} s of CPU time (`{}`) within {} s",
            key::COMPILE_MS,
            time.as_secs(),
        ))),
    }
}

/// What a child left.
struct Ended {
    status: ExitStatus,
    code: Vec<u8>,
    told: String,
}

async fn run(command: &mut Command, component: &[u8]) -> std::io::Result<Ended> {
    let mut child = command.spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let (fed, code, told) = tokio::join!(
        stdin.write_all(component),
        read(stdout, CODE_BYTES_MAX + 1),
        read(stderr, TOLD_BYTES_MAX),
    );
    // A child that ended before it read everything has told why.
    drop(fed);
    let status = child.wait().await?;
    // Not earlier: the end of its input tells the child that the host is gone.
    drop(stdin);
    Ok(Ended {
        status,
        code: code?,
        told: String::from_utf8_lossy(&told?).trim().to_owned(),
    })
}

/// Reads to the end, and keeps so many bytes.
async fn read(mut from: impl AsyncRead + Unpin, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut from).take(bytes_max).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// Whether a signal comes from others and not from a fault: a terminal and a service manager send theirs
/// to the host and its child alike.
fn is_of_others(signal: i32) -> bool {
    let others = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    others.iter().any(|other| other.as_raw() == signal)
}

impl Ended {
    fn into_code(self, limits: &PluginLimits) -> Result<MachineCode, Failure> {
        if self.status.success() {
            if self.code.len() as u64 > CODE_BYTES_MAX {
                return Err(Failure::too_much_code());
            }
            return Ok(MachineCode::of_compiler(self.code));
        }
        let told = self.told;
        // How Rust's allocator ends a process, how the system refuses a mapping, how wasmtime says it.
        let out_of_memory = ["memory allocation of", "os error 12", "out of memory"];
        if out_of_memory.iter().any(|text| told.contains(text)) {
            return Err(Failure::too_large(limits));
        }
        match self.status.signal() {
            None if told.starts_with("the compiler cannot") => Err(Failure::Broken(told)),
            None => Err(Failure::Invalid(told)),
            Some(signal) if signal == Signal::XCPU.as_raw() => Err(Failure::too_slow(limits)),
            Some(signal) if signal == Signal::KILL.as_raw() => Err(Failure::Broken(
                "the compiler was killed, as the system does when memory is short".to_owned(),
            )),
            Some(signal) if is_of_others(signal) => Err(Failure::Broken(format!(
                "the compiler was ended by signal {signal}"
            ))),
            Some(signal) => Err(Failure::Invalid(format!(
                "the compiler crashed by signal {signal}: {told}"
            ))),
        }
    }
}
