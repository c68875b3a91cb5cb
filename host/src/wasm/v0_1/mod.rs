//! Contract 0.1: lifts the calls of its plugins onto the session, and lowers the answers.

mod bindings;
mod convert;
mod host;

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::outcome::{Candidate, Proposal, Score};
use conclave_core::plugin::{Descriptor, Kind};
use conclave_core::runtime::PluginTask;
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use self::bindings::scorer::ScorerPre;
use self::bindings::strategy::StrategyPre;
use self::bindings::strategy::conclave::deliberation::{context, inference, progress, scoring};
use super::component::{Describe, Linked, Scorer, Strategy};
use super::instance::State;

/// The version, as refusals list it.
pub(super) const VERSION: &str = "0.1";

/// The interfaces that a plugin of this kind may import.
pub(super) fn imports(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Strategy => &["types", "inference", "context", "progress", "scoring"],
        Kind::Scorer => &["types", "inference", "context", "progress"],
    }
}

/// Gives the linker every interface of the contract.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    inference::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    scoring::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    context::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    progress::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// A component of this contract, whose exports have the right types.
pub(super) fn linked(kind: Kind, linked: InstancePre<State>) -> wasmtime::Result<Linked> {
    Ok(match kind {
        Kind::Strategy => Linked::Strategy(Arc::new(StrategyPre::new(linked)?)),
        Kind::Scorer => Linked::Scorer(Arc::new(ScorerPre::new(linked)?)),
    })
}

#[async_trait]
impl Describe for StrategyPre<State> {
    async fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Descriptor> {
        let instance = self.instantiate_async(&mut *store).await?;
        let describe = instance.conclave_deliberation_describe();
        Ok(convert::strategy_descriptor(
            describe.call_describe(store).await?,
        ))
    }
}

#[async_trait]
impl Describe for ScorerPre<State> {
    async fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<Descriptor> {
        let instance = self.instantiate_async(&mut *store).await?;
        let describe = instance.conclave_deliberation_describe();
        Ok(convert::scorer_descriptor(
            describe.call_describe(store).await?,
        ))
    }
}

#[async_trait]
impl Strategy for StrategyPre<State> {
    async fn deliberate(
        &self,
        store: &mut Store<State>,
        task: PluginTask,
    ) -> wasmtime::Result<Result<Proposal, String>> {
        let instance = self.instantiate_async(&mut *store).await?;
        store.data().meter().instantiated();
        let task = convert::task(task);
        let outcome = instance.call_deliberate(store, &task).await?;
        Ok(outcome.map(convert::proposal))
    }
}

#[async_trait]
impl Scorer for ScorerPre<State> {
    async fn evaluate(
        &self,
        store: &mut Store<State>,
        task: PluginTask,
        candidates: Vec<Candidate>,
    ) -> wasmtime::Result<Result<Vec<Score>, String>> {
        let instance = self.instantiate_async(&mut *store).await?;
        store.data().meter().instantiated();
        let task = convert::task(task);
        let candidates: Vec<_> = candidates
            .into_iter()
            .map(convert::candidate_to_guest)
            .collect();
        let scores = instance.call_evaluate(store, &task, &candidates).await?;
        Ok(scores.map(|scores| scores.into_iter().map(convert::score).collect()))
    }
}
