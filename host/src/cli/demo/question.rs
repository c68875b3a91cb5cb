//! What the demo asks: a question that a small model gets wrong often, and right more often than any
//! other way, so that voting visibly helps. In 100 samples at this temperature SmolLM2-135M-Instruct
//! said 8 in 54, no number in 28, and no other number in more than 3; of votes drawn from them, 88 of
//! 100 are right with five samples and 98 with nine.

/// The question.
pub(super) const TASK: &str = "How many legs does a spider have?";

/// How many agents answer it at most; sampling stops as soon as the vote is sure.
pub(super) const AGENTS: u32 = 9;

/// The params of `sample-vote`.
pub(super) const STRATEGY_PARAMS: &str = r#"{
    "samples": 9,
    "temperature": 0.6,
    "max_tokens": 20,
    "system": "Answer in one short sentence.\nFor example, to \"How many fingers does a hand have?\" answer \"A hand has 5 fingers.\"",
    "extract": {"rule": "first_integer"},
    "stop": {"rule": "beta"}
}"#;

/// The params of `agreement`, which must extract as the strategy does.
pub(super) const SCORER_PARAMS: &str = r#"{"extract": {"rule": "first_integer"}}"#;

/// Seconds that it may take: a busy laptop decodes some ten tokens a second.
pub(super) const TIMEOUT_SECONDS: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_params_are_json_and_extract_alike() {
        let strategy: serde_json::Value = serde_json::from_str(STRATEGY_PARAMS).unwrap();
        let scorer: serde_json::Value = serde_json::from_str(SCORER_PARAMS).unwrap();
        assert_eq!(strategy["extract"], scorer["extract"]);
        assert_eq!(strategy["samples"], AGENTS);
    }
}
