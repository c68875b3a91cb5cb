//! The thread that advances the engine's epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cpu::TICK;

/// The tick while no instance computes: a host with nothing to do shall not wake up for nothing. The
/// first instance after a rest may have its worker for this long.
const IDLE_TICK: Duration = Duration::from_millis(10);

/// Advances an engine's epoch until it is dropped.
///
/// It is a thread of its own and no tokio timer: a plugin that spins on every worker of the runtime
/// would keep a timer from firing, and with it the tick that is to stop the plugin.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Ticks quickly after each tick before which `polled` was set.
    pub(super) fn start(
        engine: wasmtime::Engine,
        polled: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("conclave-epoch".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let computing = polled.swap(false, Ordering::Relaxed);
                    std::thread::park_timeout(if computing { TICK } else { IDLE_TICK });
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic; if it did, its end is what is wanted.
            let _ended = thread.join();
        }
    }
}
