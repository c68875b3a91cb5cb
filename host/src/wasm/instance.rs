//! One instance: its store, its limits, and how it ends.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use conclave_core::runtime::Error;
use conclave_core::session::Guest;
use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{CallHook, Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use super::calls::{Calls, Detail};
use super::cpu::Meter;
use super::limits::{Ceiling, LimitExceeded, PluginLimits, as_usize, key};
use super::log::Log;
use super::timers::Timers;
use super::wasi;

/// Frames of a backtrace that its message names.
const FRAMES_MAX: usize = 8;
/// Characters of a file's path.
const FILE_CHARS_MAX: usize = 60;
/// Characters of a frame's name.
const NAME_CHARS_MAX: usize = 100;
/// Characters of a trap's message.
const MESSAGE_CHARS_MAX: usize = 300;

/// What host functions have of the instance that calls them.
pub(super) struct State {
    /// The deliberation; `None` while `describe` runs outside of any.
    pub(super) guest: Option<Guest>,
    pub(super) table: ResourceTable,
    pub(super) timers: Timers,
    pub(super) log: Log,
    wasi: WasiCtx,
    ceiling: Ceiling,
    last_calls: Calls,
    calls: u64,
    calls_max: u64,
    meter: Arc<Meter>,
}

impl State {
    /// The deliberation, for a function that exists in one only.
    pub(super) fn guest(&self, function: &'static str) -> wasmtime::Result<&Guest> {
        let guest = self.guest.as_ref();
        guest.ok_or_else(|| OutsideDeliberation(function).into())
    }

    /// The meter that must count the polls of the instance's future.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Remembers a call for the message of an error.
    pub(super) fn note(&mut self, function: &'static str, detail: Detail) {
        self.last_calls.note(function, detail);
    }

    fn count_call(&mut self) -> Result<(), LimitExceeded> {
        self.calls += 1;
        if self.calls <= self.calls_max {
            return Ok(());
        }
        let detail = format!("at most {} calls of the host are allowed", self.calls_max);
        Err(LimitExceeded::new(key::CALLS, detail))
    }

    fn tick(&mut self) -> Result<UpdateDeadline, LimitExceeded> {
        // To wasmtime's hook, the end of an epoch is a call of the host like others.
        self.calls = self.calls.saturating_sub(1);
        let replaying = self.guest.as_ref().is_some_and(Guest::replaying);
        let must_yield = self.meter.tick(self.calls, replaying)?;
        Ok(if must_yield {
            UpdateDeadline::YieldCustom(1, Box::pin(yield_once()))
        } else {
            UpdateDeadline::Continue(1)
        })
    }
}

/// Lets go of the thread, and wants it again at once. Whoever polls decides when that is, and where.
fn yield_once() -> impl Future<Output = ()> + Send {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A store for one instance; everything of the instance is freed with it.
pub(super) fn store(
    engine: &wasmtime::Engine,
    limits: &PluginLimits,
    plugin: &str,
    guest: Option<Guest>,
) -> Store<State> {
    let log = Log::new(plugin, guest.clone(), limits.log_bytes_max);
    let mut table = ResourceTable::new();
    table.set_max_capacity(as_usize(limits.handles_max));
    let state = State {
        wasi: wasi::context(guest.as_ref(), &log),
        guest,
        table,
        timers: Timers::default(),
        log,
        ceiling: Ceiling::new(limits),
        last_calls: Calls::default(),
        calls: 0,
        calls_max: limits.calls_max,
        meter: Meter::new(limits),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.ceiling);
    store.set_hostcall_fuel(usize::try_from(limits.call_bytes_max).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| Ok(context.data_mut().tick()?));
    store.call_hook(|mut context, hook| match hook {
        CallHook::CallingHost => Ok(context.data_mut().count_call()?),
        _ => Ok(()),
    });
    store
}

/// A host function was answered [`Stopped`](conclave_core::session::Stopped).
#[derive(Debug, thiserror::Error)]
#[error("stopped by the session")]
pub(super) struct StoppedBySession;

/// `describe` used something that only a deliberation has.
#[derive(Debug, thiserror::Error)]
#[error("used {0} outside a deliberation")]
pub(super) struct OutsideDeliberation(pub(super) &'static str);

/// Why an instance ended without an answer, from what wasmtime says: with the place in its code, and
/// the last calls that it made.
pub(super) fn ended(error: &wasmtime::Error, limits: &PluginLimits, state: &State) -> Error {
    let place = format!("{}{}", backtrace(error), state.last_calls);
    match reason(error, limits) {
        Error::Trapped(message) => Error::Trapped(message + &place),
        Error::LimitExceeded { limit, detail } => Error::LimitExceeded {
            limit,
            detail: detail + &place,
        },
        other => other,
    }
}

fn reason(error: &wasmtime::Error, limits: &PluginLimits) -> Error {
    if error.is::<StoppedBySession>() {
        return Error::Stopped;
    }
    if let Some(exceeded) = error.downcast_ref::<LimitExceeded>() {
        return Error::LimitExceeded {
            limit: exceeded.limit,
            detail: exceeded.detail.clone(),
        };
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Error::LimitExceeded {
            limit: key::HANDLES,
            detail: format!("at most {} handles are allowed at once", limits.handles_max),
        };
    }
    // These errors have no public type.
    let cause = error.root_cause().to_string();
    if cause.contains("instance count too high") {
        return Error::LimitExceeded {
            limit: key::CORE_INSTANCES,
            detail: format!(
                "at most {} core instances are allowed",
                limits.core_instances_max
            ),
        };
    }
    if cause.contains("fuel allocated for hostcalls") {
        return Error::LimitExceeded {
            limit: key::CALL_BYTES,
            detail: format!(
                "at most {} bytes are allowed in a call",
                limits.call_bytes_max
            ),
        };
    }
    Error::Trapped(trap_message(error, &cause))
}

/// The cause, short enough for a client.
fn trap_message(error: &wasmtime::Error, cause: &str) -> String {
    let cause = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(status)) => format!("called exit with status {status}"),
        None => cause.trim_start_matches("wasm trap: ").to_owned(),
    };
    cause.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Where it was, the innermost function first; empty where that is not known.
fn backtrace(error: &wasmtime::Error) -> String {
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames);
    let names = frames.iter().map(frame_name);
    let names = names.skip_while(|name| is_panicking(name));
    let names: Vec<_> = names.take(FRAMES_MAX).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" (in {})", names.join(" < ")),
    }
}

/// Whether a function is what Rust ends a panic with: whoever panicked comes behind it.
fn is_panicking(name: &str) -> bool {
    let parts = [
        "panicking::",
        "rust_panic",
        "__rust",
        "rust_begin_unwind",
        "panic_abort",
        "std::process::abort",
        "std::sys::",
        "core::ops::function::",
    ];
    name == "abort" || parts.iter().any(|part| name.contains(part))
}

fn frame_name(frame: &wasmtime::FrameInfo) -> String {
    // The component wrote all of it, and need not keep it short.
    let mut name: String = match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name))
            .chars()
            .take(NAME_CHARS_MAX)
            .collect(),
        None => format!("function {}", frame.func_index()),
    };
    let place = frame.symbols().iter().find_map(|symbol| {
        let (file, line) = (symbol.file()?, symbol.line()?);
        Some((file, line))
    });
    if let Some((file, line)) = place {
        let skipped = file.chars().count().saturating_sub(FILE_CHARS_MAX);
        let file: String = file.chars().skip(skipped).collect();
        name.push_str(&format!(" at {file}:{line}"));
    }
    name
}
