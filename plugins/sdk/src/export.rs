//! The macros that make a component of a plugin, and what they expand to.

use std::rc::Rc;

use crate::host::{Imports, ScoringImport};
use crate::plugin::{self, Scorer, Strategy};
use crate::types::{Candidate, Outcome, Score, Task};

/// Makes a component of the world `strategy` of a type that implements
/// [`Strategy`](crate::Strategy). Its version is that of the crate.
#[macro_export]
macro_rules! strategy {
    ($strategy:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::base::exports::conclave::deliberation::describe::Guest
                for Component
            {
                fn describe() -> $crate::export::Descriptor {
                    $crate::export::describe_strategy::<$strategy>(env!("CARGO_PKG_VERSION"))
                }
            }

            impl $crate::bindings::strategy::Guest for Component {
                fn deliberate(task: $crate::Task) -> Result<$crate::Outcome, String> {
                    $crate::export::deliberate::<$strategy>(task)
                }
            }

            // A native library cannot export these names, and a native test does not need them.
            #[cfg(target_family = "wasm")]
            $crate::bindings::base::export_base!(
                Component with_types_in $crate::bindings::base
            );
            #[cfg(target_family = "wasm")]
            $crate::bindings::strategy::export_strategy!(
                Component with_types_in $crate::bindings::strategy
            );
        };
    };
}

/// Makes a component of the world `scorer` of a type that implements [`Scorer`](crate::Scorer).
/// Its version is that of the crate.
#[macro_export]
macro_rules! scorer {
    ($scorer:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::base::exports::conclave::deliberation::describe::Guest
                for Component
            {
                fn describe() -> $crate::export::Descriptor {
                    $crate::export::describe_scorer::<$scorer>(env!("CARGO_PKG_VERSION"))
                }
            }

            impl $crate::bindings::scorer::Guest for Component {
                fn evaluate(
                    task: $crate::Task,
                    candidates: Vec<$crate::Candidate>,
                ) -> Result<Vec<$crate::Score>, String> {
                    $crate::export::evaluate::<$scorer>(task, candidates)
                }
            }

            // A native library cannot export these names, and a native test does not need them.
            #[cfg(target_family = "wasm")]
            $crate::bindings::base::export_base!(
                Component with_types_in $crate::bindings::base
            );
            #[cfg(target_family = "wasm")]
            $crate::bindings::scorer::export_scorer!(
                Component with_types_in $crate::bindings::scorer
            );
        };
    };
}

pub use crate::bindings::base::exports::conclave::deliberation::describe::Descriptor;

/// What a strategy says of itself.
#[must_use]
pub fn describe_strategy<S: Strategy>(version: &str) -> Descriptor {
    Descriptor {
        name: S::NAME.to_owned(),
        version: version.to_owned(),
        summary: S::SUMMARY.to_owned(),
        params_schema: plugin::params_schema::<S::Params>(),
    }
}

/// What a scorer says of itself.
#[must_use]
pub fn describe_scorer<S: Scorer>(version: &str) -> Descriptor {
    Descriptor {
        name: S::NAME.to_owned(),
        version: version.to_owned(),
        summary: S::SUMMARY.to_owned(),
        params_schema: plugin::params_schema::<S::Params>(),
    }
}

/// Runs a strategy on the component's imports.
///
/// # Errors
///
/// The strategy's own sentence.
pub fn deliberate<S: Strategy>(task: Task) -> Result<Outcome, String> {
    let host = Rc::new(Imports::default());
    plugin::deliberate::<S>(task, host, Rc::new(ScoringImport))
        .map_err(|error| error.message().to_owned())
}

/// Runs a scorer on the component's imports.
///
/// # Errors
///
/// The scorer's own sentence.
pub fn evaluate<S: Scorer>(task: Task, candidates: Vec<Candidate>) -> Result<Vec<Score>, String> {
    let host = Rc::new(Imports::default());
    plugin::evaluate::<S>(task, candidates, host).map_err(|error| error.message().to_owned())
}
