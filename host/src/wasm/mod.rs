//! Plugins on wasmtime: each call in a fresh instance with nothing granted, bounded by
//! [`PluginLimits`], and the same again when its journal is replayed.
//!
//! [`Engine::check`] decides what may be a plugin, [`WasmRuntime`] runs it. A contract version is a
//! module of its own (`v0_1`), which converts to and from the core's types; the rest of this module
//! knows no version.

mod artifacts;
mod background;
mod call;
mod calls;
mod check;
mod code;
mod compile;
mod compiled;
mod component;
mod cpu;
mod descriptor;
mod engine;
mod instance;
mod limits;
mod log;
mod outline;
mod runtime;
mod solo;
mod ticker;
mod timers;
mod turns;
mod v0_1;
mod verdict;
mod wasi;
mod work;
mod world;

pub(crate) use background::give_way;
pub use call::{OnCall, PluginCall};
pub(crate) use calls::LAST_CALLS;
pub use check::{Checked, Refusal};
pub use compile::{Bounds, Compiler, compile_as_child};
pub use component::ComponentError;
pub use engine::{Engine, EngineConfig, EngineError};
pub use limits::PluginLimits;
pub use runtime::{Components, NoBytes, WasmRuntime};
pub use solo::Solo;
pub use work::{OnWork, Work};

#[cfg(test)]
mod tests;
