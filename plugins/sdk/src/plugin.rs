//! The two kinds of plugin, and how a call from the host becomes one of theirs.

use std::rc::Rc;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::context::{Context, Session};
use crate::error::Error;
use crate::executor::Executor;
use crate::host::{Host, Scoring};
use crate::types::{Candidate, Outcome, Score, Task};

/// Decides which generations to run, and answers with ranked candidates.
///
/// Export the type with [`strategy!`](crate::strategy!). Every deliberation runs in an instance of
/// its own, so there is no `self`: what a strategy remembers, it keeps in local variables.
pub trait Strategy {
    /// Its name: lower-case words with hyphens, at most 64 characters.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const SUMMARY: &'static str;
    /// What a client may set. Its schema is the one that the host checks a client's parameters
    /// against; [`NoParams`] if there is nothing to set.
    type Params: DeserializeOwned + JsonSchema;

    /// Runs one deliberation. The error is a sentence for the client.
    #[expect(
        async_fn_in_trait,
        reason = "a component has one thread, so no future of it needs to be `Send`"
    )]
    async fn deliberate(ctx: &Context, task: Task, params: Self::Params) -> Result<Outcome, Error>;
}

/// Grades candidates.
///
/// Export the type with [`scorer!`](crate::scorer!).
pub trait Scorer {
    /// Its name: lower-case words with hyphens, at most 64 characters.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const SUMMARY: &'static str;
    /// What a client may set; [`NoParams`] if there is nothing to set.
    type Params: DeserializeOwned + JsonSchema;

    /// Grades candidates: one score for each, in order, from 0 to 1. The error is a sentence for
    /// the client.
    #[expect(
        async_fn_in_trait,
        reason = "a component has one thread, so no future of it needs to be `Send`"
    )]
    async fn evaluate(
        ctx: &Session,
        task: Task,
        candidates: Vec<Candidate>,
        params: Self::Params,
    ) -> Result<Vec<Score>, Error>;
}

/// The parameters of a plugin that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Answers a call of `deliberate`.
pub(crate) fn deliberate<S: Strategy>(
    task: Task,
    host: Rc<dyn Host>,
    scoring: Rc<dyn Scoring>,
) -> Result<Outcome, Error> {
    let params = params(&task)?;
    let executor = Rc::new(Executor::new(host));
    let context = Context::new(Session::new(Rc::clone(&executor)), scoring);
    executor.run(S::deliberate(&context, task, params))?
}

/// Answers a call of `evaluate`.
pub(crate) fn evaluate<S: Scorer>(
    task: Task,
    candidates: Vec<Candidate>,
    host: Rc<dyn Host>,
) -> Result<Vec<Score>, Error> {
    let params = params(&task)?;
    let executor = Rc::new(Executor::new(host));
    let session = Session::new(Rc::clone(&executor));
    executor.run(S::evaluate(&session, task, candidates, params))?
}

/// The JSON Schema of parameters, as JSON text.
pub(crate) fn params_schema<P: JsonSchema>() -> String {
    schema_for!(P).as_value().to_string()
}

fn params<P: DeserializeOwned>(task: &Task) -> Result<P, Error> {
    serde_json::from_str(&task.params).map_err(|error| Error::new(error).context("params"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Params {
        /// How many.
        count: u32,
    }

    impl Default for Params {
        fn default() -> Self {
            Self { count: 3 }
        }
    }

    #[test]
    fn the_schema_is_draft_2020_12_with_defaults_and_no_other_fields() {
        let schema: serde_json::Value = serde_json::from_str(&params_schema::<Params>()).unwrap();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["count"]["default"], 3);
        assert_eq!(schema["properties"]["count"]["description"], "How many.");
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let mut task = crate::testing::task("?", &["a"]);
        task.params = r#"{"cuont": 1}"#.to_owned();
        let error = params::<Params>(&task).unwrap_err();
        let message = error.message();
        assert!(
            message.starts_with("params: unknown field `cuont`"),
            "{message}"
        );
    }
}
