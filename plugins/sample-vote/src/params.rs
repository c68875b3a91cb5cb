//! What a client may set.

use conclave_sdk::Task;
use conclave_sdk::extract::Extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stop::Stop;

/// The parameters of `sample-vote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// How many samples at most; one for each agent if null.
    #[schemars(range(min = 1, max = 64))]
    pub samples: Option<u32>,
    /// 0 (greedy) to 2; null leaves it to the model server.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Nucleus sampling, above 0 and at most 1; null leaves it to the model server.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub top_p: Option<f64>,
    /// Tokens of a sample at most; null leaves it to the model server.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_tokens: Option<u32>,
    /// The system prompt, a Jinja template over `task`, `role`, `agent` and `metadata`; none if it
    /// renders blank.
    pub system: String,
    /// Where the answer is in a sample.
    pub extract: Extract,
    /// When to stop before all samples are there.
    pub stop: Stop,
    /// How many samples may run at once; null leaves it to the stop rule.
    #[schemars(range(min = 1, max = 64))]
    pub parallel: Option<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            samples: None,
            temperature: Some(0.7),
            top_p: None,
            max_tokens: None,
            system: "{% if role %}You answer as {{ role }}.{% endif %}".to_owned(),
            extract: Extract::default(),
            stop: Stop::default(),
            parallel: None,
        }
    }
}

impl Params {
    /// How many samples there are at most for this task.
    pub(crate) fn planned(&self, task: &Task) -> usize {
        self.samples
            .map_or(task.agents.len(), |samples| samples as usize)
    }
}
