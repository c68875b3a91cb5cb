//! The child: confines itself, reads one component from stdin, and writes machine code to stdout.
//!
//! It is a command of the host's binary that nobody types. Stdin stays open behind the component: its
//! end means that the host is gone.

use std::io::{self, Read, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::wasm::engine;

/// How far the child gives way to others; the most is 19.
const NICE: i32 = 10;

/// What the child may read and use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the component on stdin.
    pub component_bytes: u64,
    /// Bytes of memory that it may write to.
    pub memory_bytes_max: u64,
    /// Seconds of CPU time.
    pub cpu_seconds_max: u64,
}

pub(super) fn run(bounds: &Bounds) -> ExitCode {
    match compile(bounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Whoever would read it may be gone.
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn compile(bounds: &Bounds) -> Result<(), String> {
    confine(bounds).map_err(|error| format!("the compiler cannot confine itself: {error}"))?;
    let component = read(bounds.component_bytes)
        .map_err(|error| format!("the compiler cannot read the component: {error}"))?;
    let watch = std::thread::Builder::new().name("host".to_owned());
    let watch = watch.spawn(exit_with_host);
    watch.map_err(|error| format!("the compiler cannot watch the host: {error}"))?;
    let mut options = engine::options();
    options.parallel_compilation(false);
    let engine = wasmtime::Engine::new(&options).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&component);
    let code = code.map_err(|error| format!("{error:#}"))?;
    io::stdout()
        .write_all(&code)
        .map_err(|error| format!("the machine code cannot be handed over: {error}"))
}

/// Bounds what the process may use. From here on it can open no file, grow none, and leave no core.
fn confine(bounds: &Bounds) -> io::Result<()> {
    let limits = [
        // What is written to, and not address space, of which the allocator reserves much.
        (Resource::Data, bounds.memory_bytes_max),
        (Resource::Nofile, 3),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        limit(resource, most, most)?;
    }
    // The first bound is a signal that tells itself from others, the second one kills.
    let seconds = bounds.cpu_seconds_max;
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    nice(NICE)?;
    Ok(())
}

/// Sets both bounds, but none above what the process may have already.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(current.min(allowed)),
        maximum: Some(maximum.min(allowed)),
    };
    Ok(setrlimit(resource, limit)?)
}

fn read(bytes: u64) -> io::Result<Vec<u8>> {
    let mut component = Vec::new();
    io::stdin().take(bytes).read_to_end(&mut component)?;
    if component.len() as u64 == bytes {
        Ok(component)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A host that was killed reads no answer: its child must not go on for it.
fn exit_with_host() {
    let mut byte = [0];
    while !matches!(io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
    std::process::exit(1);
}
