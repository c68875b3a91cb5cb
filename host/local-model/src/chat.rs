//! Renders a conversation as the text the model was trained on, by the template in its own file.

use minijinja::{Environment, ErrorKind, Value, context};
use serde::Deserialize;

use crate::gguf::Gguf;

const TEMPLATE: &str = "chat";

/// Why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    #[error("the chat template of the model cannot be used")]
    Template(#[from] minijinja::Error),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: String,
}

/// The chat template of a model.
#[derive(Debug)]
pub(crate) struct Chat {
    environment: Environment<'static>,
}

impl Chat {
    pub(crate) fn load(gguf: &Gguf) -> Result<Self, Error> {
        Self::new(gguf.text("tokenizer.chat_template")?.to_owned())
    }

    fn new(template: String) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.add_function("raise_exception", |message: String| {
            Err::<(), _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(TEMPLATE, template)?;
        Ok(Self { environment })
    }

    /// The text up to where the assistant's next turn begins.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, Error> {
        let template = self.environment.get_template(TEMPLATE)?;
        let turn = |m: &Message| context! { role => m.role.name(), content => m.content.as_str() };
        let messages: Vec<Value> = messages.iter().map(turn).collect();
        Ok(template.render(context! { messages, add_generation_prompt => true })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in SmolLM2.
    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn message(role: Role, content: &str) -> Message {
        Message {
            role,
            content: content.to_owned(),
        }
    }

    #[test]
    fn turns_are_framed_and_the_assistants_begins() {
        let chat = Chat::new(CHATML.to_owned()).unwrap();
        let text = chat
            .render(&[
                message(Role::System, "Be <brief>"),
                message(Role::User, "Hi"),
            ])
            .unwrap();
        assert_eq!(
            text,
            "<|im_start|>system\nBe <brief><|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_default_system_turn_comes_from_the_template() {
        let chat = Chat::new(CHATML.to_owned()).unwrap();
        let text = chat.render(&[message(Role::User, "Hi")]).unwrap();
        assert!(
            text.starts_with("<|im_start|>system\nBe kind<|im_end|>\n"),
            "{text}"
        );
    }
}
