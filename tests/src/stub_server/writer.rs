//! The JSON of answers.

use std::io::Write as _;

use bytes::Bytes;

use super::behaviour::Endless;
use super::plan::Text;

/// Writes the JSON of the answers to one request.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) number: u64,
    pub(super) model: &'a str,
    pub(super) logprobs: bool,
    /// The tokens of the prompt, where each event tells what its answer took so far.
    pub(super) continuous: Option<u32>,
}

/// Where in an answer an event is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which of the answers.
    pub(super) choice: usize,
    /// How many tokens the answer has with it.
    pub(super) tokens: u32,
}

impl Writer<'_> {
    /// One event with a delta: `field` is `content` or `reasoning_content`.
    pub(super) fn delta(&self, out: &mut Vec<u8>, place: Place, field: &str, text: &str) {
        self.head(out, "chat.completion.chunk");
        choice(out, place.choice);
        write(
            out,
            format_args!(r#""delta":{{"{field}":{}}},"#, quoted(text)),
        );
        let is_token = field == "content" && !text.is_empty();
        let logprobs = if is_token {
            self.of_tokens(&[text])
        } else {
            "null".to_owned()
        };
        write(
            out,
            format_args!(r#""logprobs":{logprobs},"finish_reason":null}}"#),
        );
        self.end(out, place);
    }

    /// The event with the reason why an answer ended.
    pub(super) fn finish(&self, out: &mut Vec<u8>, place: Place, reason: &str) {
        self.head(out, "chat.completion.chunk");
        choice(out, place.choice);
        write(
            out,
            format_args!(r#""delta":{{}},"finish_reason":"{reason}"}}"#),
        );
        self.end(out, place);
    }

    /// The end of an event that belongs to an answer.
    fn end(&self, out: &mut Vec<u8>, place: Place) {
        out.push(b']');
        if let Some(prompt) = self.continuous {
            let usage = usage(prompt, place.tokens);
            write(out, format_args!(r#","usage":{usage}"#));
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// The event with the usage.
    pub(super) fn usage(&self, out: &mut Vec<u8>, prompt: u32, completion: u32) {
        let usage = usage(prompt, completion);
        write(
            out,
            format_args!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n"),
        );
    }

    /// Whole answers that are not streamed.
    pub(super) fn whole(&self, reasoning: &str, texts: &[Text], prompt: Option<u32>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.head(&mut out, "chat.completion");
        out.drain(.."data: ".len());
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            choice(&mut out, index);
            self.message(&mut out, reasoning, text);
        }
        out.push(b']');
        if let Some(prompt) = prompt {
            let completion = texts.iter().map(|text| text.tokens.len()).sum::<usize>();
            let completion = u32::try_from(completion).unwrap_or(u32::MAX);
            write(
                &mut out,
                format_args!(r#","usage":{}"#, usage(prompt, completion)),
            );
        }
        out.push(b'}');
        out
    }

    fn message(&self, out: &mut Vec<u8>, reasoning: &str, text: &Text) {
        let content = quoted(&text.tokens.concat());
        write(
            out,
            format_args!(r#""message":{{"role":"assistant","content":{content}"#),
        );
        if !reasoning.is_empty() {
            write(
                out,
                format_args!(r#","reasoning_content":{}"#, quoted(reasoning)),
            );
        }
        let (logprobs, reason) = (self.of_tokens(&text.tokens), text.finish);
        write(
            out,
            format_args!(r#"}},"logprobs":{logprobs},"finish_reason":"{reason}"}}"#),
        );
    }

    /// The start of an answer that never ends, and what follows again and again, with its tokens.
    pub(super) fn endless(&self, endless: Endless, stream: bool) -> (Vec<u8>, (Bytes, u32)) {
        const TOKENS: u32 = 256;
        let (mut start, mut again) = (Vec::new(), Vec::new());
        if endless == Endless::Tokens && stream {
            let place = Place {
                choice: 0,
                tokens: 1,
            };
            (0..TOKENS).for_each(|_| self.delta(&mut again, place, "content", "word "));
        } else {
            let (data, field) = match stream {
                true => ("data: ", "delta"),
                false => ("", "message"),
            };
            write(
                &mut start,
                format_args!(r#"{data}{{"choices":[{{"index":0,"{field}":{{"content":""#),
            );
            again.resize(64 << 10, b'x');
        }
        (start, (again.into(), TOKENS))
    }

    fn head(&self, out: &mut Vec<u8>, object: &str) {
        let (number, model) = (self.number, quoted(self.model));
        write(
            out,
            format_args!(
                r#"data: {{"id":"chatcmpl-{number}","object":"{object}","created":0,"model":{model},"choices":["#
            ),
        );
    }

    /// Log-probabilities that differ and are always the same: those of a token are its length.
    fn of_tokens<T: AsRef<str>>(&self, tokens: &[T]) -> String {
        if !self.logprobs {
            return "null".to_owned();
        }
        let of_token = |token: &T| {
            let (text, logprob) = (quoted(token.as_ref()), token.as_ref().len() as f32 / -10.0);
            format!(r#"{{"token":{text},"logprob":{logprob},"bytes":null,"top_logprobs":[]}}"#)
        };
        let all: Vec<_> = tokens.iter().map(of_token).collect();
        format!(r#"{{"content":[{}]}}"#, all.join(","))
    }
}

/// The start of a choice.
fn choice(out: &mut Vec<u8>, index: usize) {
    write(out, format_args!(r#"{{"index":{index},"#));
}

fn usage(prompt: u32, completion: u32) -> String {
    let total = prompt.saturating_add(completion);
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0}}}}"#
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes everything");
}
