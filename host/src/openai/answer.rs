//! Puts answers together from their pieces.

use std::sync::Arc;

use conclave_core::generation::{FinishReason, Generation, Usage};
use tokio::time::Instant;

use super::chunk::{Choice, Chunk, Text, WireUsage};
use crate::errand::{Answers, Errand};

/// The answers to one errand, as far as they have come.
pub(crate) struct Collected<'a> {
    errand: &'a Errand,
    answers: &'a dyn Answers,
    started: Instant,
    choices: Vec<Answer>,
    /// Of the whole request, where the server tells it.
    usage: Option<Usage>,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(errand: &'a Errand, answers: &'a dyn Answers, started: Instant) -> Self {
        let choices = (0..errand.choices).map(|_| Answer::default()).collect();
        Self {
            errand,
            answers,
            started,
            choices,
            usage: None,
        }
    }

    /// Takes one piece and tells its text. Of several answers, each is finished as soon as it is whole.
    pub(crate) fn take(&mut self, chunk: Chunk<'_>) {
        let usage = chunk.usage.map(|usage| counted(&usage));
        let several = self.errand.choices > 1;
        let shares = match usage {
            Some(all) if chunk.choices.len() > 1 => divided(all, &chunk.choices),
            _ => Vec::new(),
        };
        for (place, choice) in chunk.choices.into_iter().enumerate() {
            let at = choice.index;
            let Some(answer) = self.choices.get_mut(at) else {
                continue;
            };
            if let Some((count, text)) = answer.take(&choice) {
                self.answers.tokens(at, count, text);
            }
            if several {
                // What vLLM tells with each piece is the usage of that choice so far.
                let own = shares.get(place).copied().or(usage);
                answer.usage = own.or(answer.usage);
                if answer.finish.is_some() {
                    self.deliver(at);
                }
            }
        }
        self.usage = usage.or(self.usage);
    }

    /// Whether every model run has ended; only the usage may still come.
    pub(crate) fn is_finished(&self) -> bool {
        self.choices.iter().all(|answer| answer.finish.is_some())
    }

    /// The server said that this is all: without a reason, a model run ended by itself. An answer of
    /// which nothing came is none.
    pub(crate) fn finish(&mut self) {
        let only = self.errand.choices == 1;
        let begun = self.choices.iter_mut();
        for answer in begun.filter(|answer| only || answer.pieces > 0) {
            answer.end(FinishReason::Stop);
        }
    }

    /// Hands over what was not yet; whether every answer was finished.
    pub(crate) fn hand_over(mut self) -> bool {
        for at in 0..self.choices.len() {
            self.deliver(at);
        }
        self.choices.iter().all(|answer| answer.delivered)
    }

    fn deliver(&mut self, at: usize) {
        let first = self.choices.iter().all(|answer| !answer.delivered);
        let answer = &mut self.choices[at];
        let usage = match (self.errand.choices, self.usage) {
            (1, usage) => usage,
            (_, all) => answer.usage.map(|own| shared(own, all, first)),
        };
        let Some(mut generation) = answer.generation(self.started, usage) else {
            return;
        };
        generation.placement = self.errand.placement.clone().map(Arc::new);
        self.answers.finished(at, generation);
    }
}

/// What each of several answers took that came in one piece, which tells what they took together: by their
/// tokens where those are told, else by the length of their texts.
fn divided(all: Usage, choices: &[Choice<'_>]) -> Vec<Usage> {
    let weights: Vec<u64> = choices.iter().map(|choice| weight(choice).max(1)).collect();
    let sum: u64 = weights.iter().sum();
    let up_to = |weight: u64| u64::from(all.completion_tokens) * weight / sum;
    let mut passed = 0;
    let shares = weights.iter().map(|weight| {
        let before = up_to(passed);
        passed += weight;
        let completion_tokens = u32::try_from(up_to(passed) - before).unwrap_or(u32::MAX);
        Usage {
            completion_tokens,
            ..all
        }
    });
    shares.collect()
}

fn weight(choice: &Choice<'_>) -> u64 {
    let logprobs = choice.logprobs.as_ref();
    let tokens = logprobs.and_then(|logprobs| logprobs.content.as_ref());
    let delta = choice.delta.as_ref();
    let bytes = delta.map_or(0, |delta| delta.text().len() + delta.reasoning().len());
    let estimated = tokens.map_or(bytes, Vec::len) as u64;
    choice.tokens.map_or(estimated, u64::from)
}

/// The usage of one answer of several: their prompt was worked on once, for the first.
fn shared(own: Usage, all: Option<Usage>, first: bool) -> Usage {
    let cached_tokens = match (first, all) {
        (true, all) => all.map_or(0, |all| all.cached_tokens),
        (false, _) => own.prompt_tokens,
    };
    Usage {
        cached_tokens: cached_tokens.min(own.prompt_tokens),
        ..own
    }
}

/// What has arrived of one answer.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    reasoning: String,
    logprobs: Vec<f32>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    /// Its tokens, as far as they were told; else its pieces with text, of about a token each.
    pieces: u32,
    /// When the model ended.
    ended: Option<Instant>,
    delivered: bool,
}

impl Answer {
    /// Takes one piece; the tokens in it and their text, if there are any. A piece of reasoning is told
    /// as a token without text, so that what it cost is known when the generation is aborted.
    fn take<'c>(&mut self, choice: &'c Choice<'_>) -> Option<(u32, &'c str)> {
        let delta = choice.delta.as_ref();
        let (text, reasoning) = delta.map_or(("", ""), |delta| (delta.text(), delta.reasoning()));
        let told = !text.is_empty() || !reasoning.is_empty();
        let count = choice.tokens.unwrap_or(u32::from(told));
        self.pieces = self.pieces.saturating_add(count);
        self.text.push_str(text);
        self.reasoning.push_str(reasoning);
        let only_reasoning = text.is_empty() && !reasoning.is_empty();
        let logprobs = choice.logprobs.as_ref();
        if let Some(tokens) = logprobs.and_then(|logprobs| logprobs.content.as_ref())
            && !only_reasoning
        {
            self.logprobs
                .extend(tokens.iter().map(|token| token.finite()));
        }
        if let Some(reason) = &choice.finish_reason {
            self.end(finish_reason(reason));
        }
        told.then_some((count, text))
    }

    fn end(&mut self, reason: FinishReason) {
        self.finish.get_or_insert(reason);
        self.ended.get_or_insert_with(Instant::now);
    }

    /// The generation, once; without usage from the server, its tokens are those that were seen and the
    /// prompt's are 0. `None` while it is not finished.
    fn generation(&mut self, started: Instant, usage: Option<Usage>) -> Option<Generation> {
        let finish = self.finish.filter(|_| !self.delivered)?;
        let latency = self.ended?.duration_since(started);
        self.delivered = true;
        let seen = u32::try_from(self.logprobs.len()).unwrap_or(u32::MAX);
        let seen = Usage {
            completion_tokens: seen.max(self.pieces),
            ..Usage::default()
        };
        Some(Generation {
            text: std::mem::take(&mut self.text),
            reasoning: Some(std::mem::take(&mut self.reasoning)).filter(|text| !text.is_empty()),
            finish,
            usage: usage.unwrap_or(seen),
            logprobs: std::mem::take(&mut self.logprobs),
            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
            placement: None,
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
    use std::sync::Mutex;

    use conclave_core::cluster::Placement;
    use conclave_core::endpoint::Endpoint;
    use conclave_core::ids::ModelName;
    use conclave_core::testkit::inference::contract;

    use super::*;

    /// Remembers what it is told, in its order.
    #[derive(Default)]
    struct Told(Mutex<Vec<(usize, Generation)>>);

    impl Answers for Told {
        fn placed(&self, _: &Placement) {}
        fn tokens(&self, _: usize, _: u32, _: &str) {}
        fn finished(&self, choice: usize, generation: Generation) {
            self.0.lock().unwrap().push((choice, generation));
        }
    }

    fn errand(choices: usize) -> Errand {
        let endpoint = Endpoint::parse("http://h").unwrap();
        let request = contract::request(&endpoint, &ModelName::new("tiny"), 1);
        Errand {
            choices,
            ..Errand::as_named(&request).unwrap()
        }
    }

    fn answer(chunks: &[&str]) -> Generation {
        let (errand, told) = (errand(1), Told::default());
        let mut collected = Collected::new(&errand, &told, Instant::now());
        for chunk in chunks {
            collected.take(serde_json::from_str(chunk).unwrap());
        }
        collected.finish();
        assert!(collected.hand_over());
        told.0.into_inner().unwrap().remove(0).1
    }

    #[test]
    fn each_of_several_answers_is_finished_when_it_is_whole_with_what_it_took() {
        let (errand, told) = (errand(3), Told::default());
        let mut collected = Collected::new(&errand, &told, Instant::now());
        let chunks = [
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#,
            r#"{"choices":[{"index":7,"delta":{"content":"of nobody"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":5}}"#,
        ];
        for chunk in chunks {
            collected.take(serde_json::from_str(chunk).unwrap());
        }
        let tokens = |usage: Usage| {
            (
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.completion_tokens,
            )
        };
        let finished: Vec<_> = told.0.lock().unwrap().clone();
        let finished: Vec<_> = finished
            .iter()
            .map(|(at, one)| (*at, one.text.as_str(), one.finish, tokens(one.usage)))
            .collect();
        assert_eq!(
            finished,
            [
                (1, "b", FinishReason::Stop, (9, 0, 4)),
                (0, "a", FinishReason::Length, (9, 9, 5))
            ]
        );
        assert!(!collected.is_finished());
        // The third never came.
        collected.finish();
        assert!(!collected.hand_over());
    }

    #[test]
    fn several_answers_in_one_piece_share_what_they_took() {
        let (errand, told) = (errand(3), Told::default());
        let mut collected = Collected::new(&errand, &told, Instant::now());
        let whole = r#"{"choices":[
            {"index":0,"message":{"content":"aaaa"},"finish_reason":"stop"},
            {"index":1,"message":{"content":"bb"},"finish_reason":"stop"},
            {"index":2,"message":{"content":""},"finish_reason":"stop"}
        ],"usage":{"prompt_tokens":9,"completion_tokens":10}}"#;
        collected.take(serde_json::from_str(whole).unwrap());
        assert!(collected.hand_over());
        let told = told.0.into_inner().unwrap();
        let taken =
            |(_, one): &(usize, Generation)| (one.usage.completion_tokens, one.usage.cached_tokens);
        assert_eq!(
            told.iter().map(taken).collect::<Vec<_>>(),
            [(5, 0), (3, 9), (2, 9)]
        );
    }

    #[test]
    fn whole_answers_that_tell_their_tokens_are_counted_by_them() {
        let generation = answer(&[
            r#"{"choices":[{"message":{"content":"several words"},"tokens":5}],"usage":null}"#,
        ]);
        assert_eq!(generation.usage.completion_tokens, 5);
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
