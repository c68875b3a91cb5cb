//! Sleeping on the session's time.
//!
//! wasmtime-wasi's timers run on real time whatever clock it is given, and a poll of several of them
//! ends in an order that the machine decides. So `wasi:clocks/monotonic-clock` and `wasi:io/poll` are
//! linked anew here: a poll looks at all that is ready, and else sleeps once, in the session, until
//! the earliest timer. That is one effect, and the same again in a replay.

use std::collections::HashMap;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration, Instant};
use wasmtime_wasi::p2::bindings::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::instance::{OutsideDeliberation, State, StoppedBySession};
use super::wasi::nanoseconds;

/// The timers that an instance holds: when each is due, in the session's milliseconds, by the number
/// of its pollable.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due_ms: HashMap<u32, u64>,
}

/// Replaces what wasmtime-wasi has linked; the linker must allow it.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    poll::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// What stands in the resource table for a timer; [`State`] knows when it is due.
struct Timer;

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        std::future::pending::<()>().await;
    }
}

impl State {
    fn elapsed_ms(&self) -> u64 {
        self.guest.as_ref().map_or(0, |guest| guest.elapsed_ms())
    }

    fn subscribe_until(&mut self, due_ms: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Timer)?;
        let pollable = subscribe(&mut self.table, timer)?;
        self.timers.due_ms.insert(pollable.rep(), due_ms);
        Ok(pollable)
    }

    /// Whether a pollable is ready now, or when it will be; `None` is never.
    async fn readiness(&mut self, pollable: &Resource<DynPollable>) -> wasmtime::Result<Readiness> {
        if let Some(due_ms) = self.timers.due_ms.get(&pollable.rep()) {
            return Ok(match due_ms {
                due_ms if *due_ms <= self.elapsed_ms() => Readiness::Now,
                due_ms => Readiness::At(*due_ms),
            });
        }
        let borrowed = Resource::new_borrow(pollable.rep());
        let ready = HostPollable::ready(&mut self.table, borrowed).await?;
        Ok(if ready {
            Readiness::Now
        } else {
            Readiness::Never
        })
    }

    /// Waits for what never comes, until the session's deadline drops the instance. Outside a
    /// deliberation nothing would, and it is an error.
    async fn wait_for_ever<T>(&mut self) -> wasmtime::Result<T> {
        self.guest("a wait")?;
        std::future::pending().await
    }

    async fn sleep_until(&mut self, due_ms: u64) -> wasmtime::Result<()> {
        let guest = self.guest.as_ref().ok_or(OutsideDeliberation("a timer"))?;
        guest
            .sleep_until(due_ms)
            .await
            .map_err(|_| StoppedBySession.into())
    }
}

enum Readiness {
    Now,
    At(u64),
    /// Nothing that is linked here becomes ready later, but for timers.
    Never,
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        Ok(nanoseconds(self.elapsed_ms()))
    }

    fn resolution(&mut self) -> wasmtime::Result<Duration> {
        Ok(nanoseconds(1))
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_until(when.div_ceil(nanoseconds(1)))
    }

    fn subscribe_duration(&mut self, time: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let ms = time.div_ceil(nanoseconds(1));
        self.subscribe_until(self.elapsed_ms().saturating_add(ms))
    }
}

impl poll::Host for State {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(wasmtime::format_err!("poll of an empty list"));
        }
        let mut ready = Vec::new();
        let mut timers = Vec::new();
        for (index, pollable) in (0..).zip(&pollables) {
            match self.readiness(pollable).await? {
                Readiness::Now => ready.push(index),
                Readiness::At(due_ms) => timers.push((index, due_ms)),
                Readiness::Never => {}
            }
        }
        if !ready.is_empty() {
            return Ok(ready);
        }
        let Some(earliest) = timers.iter().map(|(_, due_ms)| *due_ms).min() else {
            return self.wait_for_ever().await;
        };
        self.sleep_until(earliest).await?;
        let now = self.elapsed_ms().max(earliest);
        timers.retain(|(_, due_ms)| *due_ms <= now);
        Ok(timers.into_iter().map(|(index, _)| index).collect())
    }
}

impl HostPollable for State {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        match self.readiness(&pollable).await? {
            Readiness::Now => Ok(()),
            Readiness::At(due_ms) => self.sleep_until(due_ms).await,
            Readiness::Never => self.wait_for_ever().await,
        }
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Ok(matches!(self.readiness(&pollable).await?, Readiness::Now))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.timers.due_ms.remove(&pollable.rep());
        HostPollable::drop(&mut self.table, pollable)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;

    use super::*;
    use crate::wasm::limits::PluginLimits;

    /// A store outside any deliberation, and a pollable in it that is never ready.
    fn never() -> (Store<State>, Resource<DynPollable>) {
        let engine = wasmtime::Engine::default();
        let mut store = crate::wasm::instance::store(&engine, &PluginLimits::default(), "", None);
        let state = store.data_mut();
        let timer = state.table.push(Timer).unwrap();
        let pollable = subscribe(&mut state.table, timer).unwrap();
        (store, pollable)
    }

    #[tokio::test]
    async fn outside_a_deliberation_nothing_is_waited_for() {
        let (mut store, pollable) = never();
        let ended = HostPollable::block(store.data_mut(), pollable).await;
        assert!(ended.unwrap_err().is::<OutsideDeliberation>());
        let (mut store, pollable) = never();
        let ended = poll::Host::poll(store.data_mut(), vec![pollable]).await;
        assert!(ended.unwrap_err().is::<OutsideDeliberation>());
    }
}
