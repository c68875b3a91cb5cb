//! Machine code, and the one place where it becomes part of this process.

use std::fmt;

use wasmtime::component::Component;

/// Machine code that this host's compiler made: either just now, or in an earlier run, which a
/// verified seal proves. There is no other way to make one.
pub(super) struct MachineCode {
    bytes: Vec<u8>,
    /// Where it starts in `bytes`: what is sealed has a header, and is large enough not to be copied.
    start: usize,
}

impl MachineCode {
    /// What the compiler answered.
    pub(super) fn of_compiler(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// What lies behind a seal that was verified on these very bytes.
    pub(super) fn of_seal(bytes: Vec<u8>, start: usize) -> Self {
        Self { bytes, start }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl fmt::Debug for MachineCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineCode")
            .field("bytes", &self.bytes().len())
            .finish()
    }
}

/// The component of this machine code.
///
/// # Errors
/// When it was compiled for another engine, or cannot be mapped.
#[expect(
    unsafe_code,
    reason = "wasmtime runs what it is given here; `MachineCode` holds nothing but its compiler's work"
)]
pub(super) fn load(engine: &wasmtime::Engine, code: &MachineCode) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be those of `Engine::precompile_component`, unchanged. They come from the
    // compiler over a pipe, or from a file whose HMAC was verified with a key that only this user can
    // read (see `artifacts::seal`). Both times they lie in this process's memory from before the check
    // until wasmtime has copied them, so nobody can change them in between, as one could a mapped file.
    // Whether they fit this engine and this version of wasmtime, wasmtime checks itself.
    let component = unsafe { Component::deserialize(engine, code.bytes()) }?;
    component.initialize_copy_on_write_image()?;
    Ok(component)
}
