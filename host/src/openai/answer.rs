//! Puts an answer together from its pieces.

use conclave_core::generation::{FinishReason, Generation, Usage};
use conclave_core::inference::Progress;
use tokio::time::Instant;

use super::chunk::{Choice, Chunk, Text, WireUsage};

/// What has arrived of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    reasoning: String,
    logprobs: Vec<f32>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    /// Pieces with text: about a token each.
    pieces: u32,
    /// When the model ended.
    ended: Option<Instant>,
}

impl Answer {
    /// Takes one piece and reports its text. A piece of reasoning is reported as a token without
    /// text, so that what it cost is known when the generation is aborted.
    pub(super) fn take(&mut self, chunk: Chunk<'_>, progress: &Progress) {
        if let Some(choice) = chunk.choices.into_iter().next() {
            self.take_choice(choice, progress);
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(counted(&usage));
        }
    }

    fn take_choice(&mut self, choice: Choice<'_>, progress: &Progress) {
        let delta = choice.delta.unwrap_or_default();
        let (text, reasoning) = (delta.text(), delta.reasoning());
        if !text.is_empty() || !reasoning.is_empty() {
            self.pieces = self.pieces.saturating_add(1);
            progress.token(text);
        }
        self.text.push_str(text);
        self.reasoning.push_str(reasoning);
        let only_reasoning = text.is_empty() && !reasoning.is_empty();
        if let Some(tokens) = choice.logprobs.and_then(|logprobs| logprobs.content)
            && !only_reasoning
        {
            self.logprobs
                .extend(tokens.iter().map(|token| token.finite()));
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(finish_reason(&reason));
            self.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the model has ended; only the usage may still come.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The server said that this is all: without a reason, the model ended by itself.
    pub(super) fn finish(&mut self) {
        self.finish.get_or_insert(FinishReason::Stop);
        self.ended.get_or_insert_with(Instant::now);
    }

    /// The generation; without usage from the server, its tokens are those that were seen and the
    /// prompt's are 0. `None` while it is not finished.
    pub(super) fn into_generation(self, started: Instant) -> Option<Generation> {
        let latency = self.ended?.duration_since(started);
        let seen = u32::try_from(self.logprobs.len()).unwrap_or(u32::MAX);
        let seen = Usage {
            completion_tokens: seen.max(self.pieces),
            ..Usage::default()
        };
        Some(Generation {
            text: self.text,
            reasoning: Some(self.reasoning).filter(|text| !text.is_empty()),
            finish: self.finish?,
            usage: self.usage.unwrap_or(seen),
            logprobs: self.logprobs,
            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
        })
    }
}

fn finish_reason(reason: &Text<'_>) -> FinishReason {
    match &*reason.0 {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        _ => FinishReason::Aborted,
    }
}

fn counted(usage: &WireUsage) -> Usage {
    let details = usage.prompt_tokens_details.as_ref();
    let cached = details
        .and_then(|details| details.cached_tokens)
        .unwrap_or(0);
    Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: cached.min(usage.prompt_tokens),
        completion_tokens: usage.completion_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(chunks: &[&str]) -> Generation {
        let mut answer = Answer::default();
        for chunk in chunks {
            answer.take(serde_json::from_str(chunk).unwrap(), &Progress::silent());
        }
        answer.finish();
        answer.into_generation(Instant::now()).unwrap()
    }

    #[test]
    fn reasoning_is_apart_and_its_logprobs_are_left_out() {
        let generation = answer(&[
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"},"logprobs":{"content":[{"logprob":-1}]}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"m","reasoning_content":"m"}}]}"#,
            r#"{"choices":[{"delta":{"content":"42"},"logprobs":{"content":[{"logprob":-0.5}]}}]}"#,
        ]);
        assert_eq!(generation.text, "42");
        assert_eq!(generation.reasoning.as_deref(), Some("hmm"));
        assert_eq!(generation.logprobs, [-0.5]);
        assert_eq!(generation.usage.completion_tokens, 3);
    }

    #[test]
    fn the_finish_reason_is_stop_or_length_or_else_aborted() {
        let reasons = [
            ("\"stop\"", FinishReason::Stop),
            ("\"length\"", FinishReason::Length),
            ("\"content_filter\"", FinishReason::Aborted),
            ("\"abort\"", FinishReason::Aborted),
            ("null", FinishReason::Stop),
        ];
        for (reason, expected) in reasons {
            let chunk = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":{reason}}}]}}"#);
            assert_eq!(answer(&[&chunk]).finish, expected, "{reason}");
        }
    }

    #[test]
    fn the_servers_usage_counts() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":8}}}"#;
        let expected = Usage {
            prompt_tokens: 9,
            cached_tokens: 8,
            completion_tokens: 5,
        };
        assert_eq!(answer(&[usage]).usage, expected);
    }
}
