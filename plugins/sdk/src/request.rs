//! Making requests for generations, one setting at a time.

use std::time::Duration;

use crate::types::{Agent, GenerationRequest, Message, MessageRole, Sampling, milliseconds};

impl GenerationRequest {
    /// A request to the model of one of the task's agents, with an empty prompt: add messages.
    #[must_use]
    pub fn for_agent(agent: &Agent) -> Self {
        Self::to(agent.id.clone())
    }

    /// A request to the task's own model, for generations that are no agent's.
    #[must_use]
    pub fn for_task_model() -> Self {
        Self::to(String::new())
    }

    fn to(agent: String) -> Self {
        Self {
            agent,
            phase: "answer".to_owned(),
            round: 0,
            messages: Vec::new(),
            sampling: Sampling::default(),
            priority: None,
            deadline_ms: None,
        }
    }

    /// Says what the generation is for, in a word that watchers see; `answer` unless set.
    #[must_use]
    pub fn phase(mut self, phase: impl Into<String>) -> Self {
        self.phase = phase.into();
        self
    }

    /// Says in which round of the strategy it is, from 0.
    #[must_use]
    pub fn round(mut self, round: u32) -> Self {
        self.round = round;
        self
    }

    /// Adds a message of the system, unless the text is blank.
    #[must_use]
    pub fn system(mut self, content: impl Into<String>) -> Self {
        let content = content.into();
        if !content.trim().is_empty() {
            self.messages.push(Message::system(content));
        }
        self
    }

    /// Adds a message of the user.
    #[must_use]
    pub fn user(mut self, content: impl Into<String>) -> Self {
        self.messages.push(Message::user(content));
        self
    }

    /// Adds a message of the assistant: an earlier answer in the same conversation.
    #[must_use]
    pub fn assistant(mut self, content: impl Into<String>) -> Self {
        self.messages.push(Message::assistant(content));
        self
    }

    /// Sets the temperature, 0 to 2; `None` leaves it to the server, as in the setters below.
    #[must_use]
    pub fn temperature(mut self, temperature: impl Into<Option<f32>>) -> Self {
        self.sampling.temperature = temperature.into();
        self
    }

    /// Sets nucleus sampling, above 0 and at most 1.
    #[must_use]
    pub fn top_p(mut self, top_p: impl Into<Option<f32>>) -> Self {
        self.sampling.top_p = top_p.into();
        self
    }

    /// Sets how many completion tokens there may be.
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: impl Into<Option<u32>>) -> Self {
        self.sampling.max_tokens = max_tokens.into();
        self
    }

    /// Sets the seed of the draw: take it from [`Session::random`](crate::Session::random), or from
    /// [`Seeds`](crate::Seeds) where several are asked the same.
    #[must_use]
    pub fn seed(mut self, seed: impl Into<Option<u32>>) -> Self {
        self.sampling.seed = seed.into();
        self
    }

    /// Adds a text that ends the generation.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.sampling.stop.push(text.into());
        self
    }

    /// Asks for log-probabilities and this many alternatives to each token, 0 to 20.
    #[must_use]
    pub fn logprobs(mut self, alternatives: impl Into<Option<u8>>) -> Self {
        self.sampling.logprobs = alternatives.into();
        self
    }

    /// Asks for an answer that satisfies a JSON Schema, where the server can do it.
    #[must_use]
    pub fn json_schema(mut self, schema: &serde_json::Value) -> Self {
        self.sampling.json_schema = Some(schema.to_string());
        self
    }

    /// Sets the place among this deliberation's waiting generations: 0 is first, 255 last. A hint,
    /// which a host may leave unused.
    #[must_use]
    pub fn priority(mut self, priority: impl Into<Option<u8>>) -> Self {
        self.priority = priority.into();
        self
    }

    /// Gives up on the generation after this long.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline_ms = Some(milliseconds(deadline));
        self
    }
}

impl Default for Sampling {
    /// Everything is left to the server.
    fn default() -> Self {
        Self {
            temperature: None,
            top_p: None,
            max_tokens: None,
            stop: Vec::new(),
            seed: None,
            logprobs: None,
            json_schema: None,
        }
    }
}

impl Message {
    /// A message of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self {
            role: MessageRole::System,
            content: content.into(),
        }
    }

    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: MessageRole::User,
            content: content.into(),
        }
    }

    /// A message of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: MessageRole::Assistant,
            content: content.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_system_prompt_adds_no_message() {
        let request = GenerationRequest::for_task_model()
            .system(" \n")
            .user("hello");
        assert_eq!(request.messages, [Message::user("hello")]);
    }
}
