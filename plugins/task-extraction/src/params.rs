//! What a client may set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters of `task-extraction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// How often an agent is asked at most, the first time included.
    #[schemars(range(min = 1, max = 10))]
    pub asks_max: u32,
    /// Tokens of an answer at most; null leaves it to the model server. An answer that is cut there
    /// is not valid.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_tokens: Option<u32>,
    /// The system prompt, a Jinja template over `task`, `role`, `agent` and `metadata`; none if it
    /// renders blank.
    pub system: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            asks_max: 3,
            max_tokens: None,
            system: "You extract the tasks that a text asks for or decides. \
                Reply with one JSON object and nothing else: \
                {\"tasks\": [{\"title\": text, \"description\": text, \
                \"estimated_hours\": whole number from 1 to 200, \
                \"deliberation_indices\": list of whole numbers, which count the deliberations in \
                the text from 0 and say which of them the task comes from, \
                \"priority\": whole number from 1 (most urgent) to 5}]}. \
                There is at least one task, and every member is there."
                .to_owned(),
        }
    }
}
