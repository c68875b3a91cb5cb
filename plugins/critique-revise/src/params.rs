//! What a client may set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters of `critique-revise`. The prompts are Jinja templates over `task`, `role`,
/// `agent` and `metadata`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// How often every answer is criticised and revised.
    #[schemars(range(min = 1, max = 16))]
    pub rounds: u32,
    /// 0 (greedy) to 2; null leaves it to the model server.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Tokens of each generation at most; null leaves it to the model server.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_tokens: Option<u32>,
    /// The system prompt of every generation; none if it renders blank.
    pub system: String,
    /// What asks for a critique; it sees the other agent's `answer` too.
    pub critique: String,
    /// What asks for a revision; it sees the other agent's `answer` and the `critique` too.
    pub revise: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rounds: 1,
            temperature: Some(0.7),
            max_tokens: None,
            system: "{% if role %}You answer as {{ role }}.{% endif %}".to_owned(),
            critique: "# Task\n{{ task }}\n\n# A colleague's answer\n{{ answer }}\n\n\
                Criticise this answer: name what is wrong or missing, most important first. \
                Do not write a new answer."
                .to_owned(),
            revise: "# Task\n{{ task }}\n\n# A colleague's answer\n{{ answer }}\n\n\
                # Criticism\n{{ critique }}\n\n\
                Write the improved answer. Keep what is right, and reply with the answer alone."
                .to_owned(),
        }
    }
}
