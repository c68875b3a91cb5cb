//! Makes machine code of components: in a child process of the host's binary, which can be bounded
//! and killed, or in this one.

mod child;
mod parent;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::code::MachineCode;
use super::limits::{PluginLimits, key};
use super::{ComponentError, Refusal};

pub use child::Bounds;

/// Bytes of the machine code of one component; Python takes 37 MB.
const CODE_BYTES_MAX: u64 = 256 << 20;

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In a child process: the program at this absolute path, started as `conclave compile-component`. It has one thread,
    /// gives way to others, may use only so much CPU time and memory, has no environment, and dies
    /// with this process. Whatever a component does to the compiler, it does to the child.
    Child(PathBuf),
    /// In this process, with all its cores: nothing but the time that is waited is bounded, and a
    /// compilation that is no longer waited for goes on. For tests and for those who trust the
    /// components.
    InProcess,
}

impl Compiler {
    /// A child of the binary that runs now, even when its file was replaced since.
    #[must_use]
    pub fn this_binary() -> Self {
        if cfg!(test) {
            // The binary of this crate's own tests has no commands.
            return Self::InProcess;
        }
        Self::Child("/proc/self/exe".into())
    }

    /// Compiles a component, and holds the permit for as long as that takes.
    pub(super) async fn compile(
        &self,
        engine: &wasmtime::Engine,
        component: Arc<[u8]>,
        limits: &PluginLimits,
        permit: OwnedSemaphorePermit,
    ) -> Result<MachineCode, Failure> {
        match self {
            Self::Child(program) => {
                let code = parent::compile(program, &component, limits).await;
                drop(permit);
                code
            }
            Self::InProcess => in_process(engine.clone(), component, limits, permit).await,
        }
    }
}

/// Why there is no machine code.
#[derive(Debug)]
pub(super) enum Failure {
    /// The compiler does not take the component.
    Invalid(String),
    /// A limit was exceeded, which the text names.
    Limit(String),
    /// The compiler did not run, or not to an end, as when it cannot be started, is killed where memory
    /// is short, or is not given the CPU: perhaps no fault of the component's.
    Broken(String),
}

impl Failure {
    fn too_slow(limits: &PluginLimits) -> Self {
        Self::Limit(format!(
            "takes more than {} ms to compile (`{}`): make it smaller, or raise the limit",
            limits.compile_ms_max,
            key::COMPILE_MS
        ))
    }

    fn too_large(limits: &PluginLimits) -> Self {
        Self::Limit(format!(
            "takes more than {} bytes of memory to compile (`{}`): make it smaller, or raise the limit",
            limits.compile_memory_bytes_max,
            key::COMPILE_MEMORY_BYTES
        ))
    }

    fn too_much_code() -> Self {
        Self::Limit(format!(
            "compiles to more than {CODE_BYTES_MAX} bytes of machine code, which no plugin may have: \
             make it smaller"
        ))
    }

    /// For metrics.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Limit(_) => "limit_exceeded",
            Self::Broken(_) => "failed",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "cannot be compiled: {error}"),
            Self::Limit(reason) => f.write_str(reason),
            Self::Broken(error) => write!(f, "could not be compiled by this host: {error}"),
        }
    }
}

impl From<Failure> for ComponentError {
    fn from(failure: Failure) -> Self {
        let told = failure.to_string();
        match failure {
            Failure::Invalid(_) | Failure::Limit(_) => Refusal::because(told).into(),
            Failure::Broken(_) => Self::NotNow(told),
        }
    }
}

/// What the hidden command `compile-component` does: see [`Bounds`]. It never returns an error: its
/// answer is what it printed, and how it ends.
#[must_use]
pub fn compile_as_child(bounds: &Bounds) -> std::process::ExitCode {
    child::run(bounds)
}

async fn in_process(
    engine: wasmtime::Engine,
    component: Arc<[u8]>,
    limits: &PluginLimits,
    permit: OwnedSemaphorePermit,
) -> Result<MachineCode, Failure> {
    let compiling = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        engine.precompile_component(&component)
    });
    let time = Duration::from_millis(limits.compile_ms_max);
    match tokio::time::timeout(time, compiling).await {
        Ok(Ok(Ok(code))) => Ok(MachineCode::of_compiler(code)),
        Ok(Ok(Err(error))) => Err(Failure::Invalid(format!("{error:#}"))),
        // The compiler's own fault, and the same at the next try: in a child it is a crash.
        Ok(Err(panicked)) => Err(Failure::Invalid(format!("the compiler {panicked}"))),
        Err(_) => Err(Failure::too_slow(limits)),
    }
}

#[cfg(test)]
mod tests;
