use super::*;

fn answer(rule: &Extract, text: &str) -> Option<String> {
    rule.compile().unwrap().answer(text)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_whole_text_is_compared_without_case_and_spaces() {
    assert_eq!(
        answer(&Extract::Text, "  Yes,\n of  COURSE "),
        some("yes, of course")
    );
    assert_eq!(answer(&Extract::Text, " \n"), None);
    assert_eq!(
        answer(&Extract::FirstLine, "\n Blue \nbecause"),
        some("blue")
    );
}

#[test]
fn integers_are_found_among_words_signs_and_separators() {
    let first = Extract::FirstInteger;
    let last = Extract::LastInteger;
    assert_eq!(answer(&first, "It is 4."), some("4"));
    assert_eq!(answer(&first, "-7 degrees"), some("-7"));
    assert_eq!(answer(&last, "3-5"), some("5"));
    assert_eq!(answer(&last, "a total of 1,234,567 of 007"), some("7"));
    assert_eq!(answer(&first, "a total of 1,234,567"), some("1234567"));
    assert_eq!(answer(&last, "1,2,34"), some("34"));
    assert_eq!(answer(&last, "first 5, then 2.0"), some("2"));
    assert_eq!(answer(&last, "first 5, then 2.5"), some("5"));
    assert_eq!(answer(&first, "x2 and -0"), some("0"));
    assert_eq!(answer(&first, "none"), None);
}

#[test]
fn the_last_number_may_be_decimal() {
    assert_eq!(
        answer(&Extract::LastNumber, "about 3.50 euros."),
        some("3.5")
    );
    assert_eq!(answer(&Extract::LastNumber, "\u{2212}0.25"), some("-0.25"));
    assert_eq!(answer(&Extract::LastNumber, "1,000.00"), some("1000"));
}

#[test]
fn the_choice_that_stands_first_as_a_word_is_taken() {
    let rule = Extract::Choice {
        choices: ["Yes", "No", "no idea"].map(str::to_owned).into(),
    };
    assert_eq!(answer(&rule, "NO, yes"), some("No"));
    assert_eq!(answer(&rule, "nothing but yes"), some("Yes"));
    assert_eq!(answer(&rule, "I have no idea"), some("no idea"));
    assert_eq!(answer(&rule, "yesterday"), None);
}

#[test]
fn the_line_after_the_last_marker_is_taken() {
    let rule = Extract::After {
        marker: "answer:".to_owned(),
    };
    assert_eq!(answer(&rule, "Answer: 1\nAnswer: Two \nor so"), some("two"));
    assert_eq!(answer(&rule, "Answer:\n"), None);
    assert_eq!(answer(&rule, "none"), None);
}

#[test]
fn json_is_found_inside_a_fence() {
    let rule = Extract::JsonPointer {
        pointer: "/answer".to_owned(),
    };
    assert_eq!(
        answer(&rule, "```json\n{\"answer\": \"A B\"}\n```"),
        some("a b")
    );
    assert_eq!(answer(&rule, r#"{"answer": [1, 2]}"#), some("[1,2]"));
    assert_eq!(answer(&rule, r#"{"answer": null}"#), None);
    assert_eq!(answer(&rule, "no json"), None);
}

#[test]
fn a_regular_expression_gives_its_first_group_or_the_whole_match() {
    let rule = |pattern: &str, group| Extract::Regex {
        pattern: pattern.to_owned(),
        group,
    };
    assert_eq!(answer(&rule(r"\((\w)\)", None), "it is (B)."), some("b"));
    assert_eq!(answer(&rule(r"[A-D]", None), "it is (B)."), some("b"));
    assert_eq!(
        answer(&rule(r"\((\w)\)", Some(0)), "it is (B)."),
        some("(b)")
    );
    let error = rule("a", Some(1)).compile().unwrap_err();
    assert_eq!(error.message(), "extract: pattern `a` has no group 1");
    assert!(rule("(", None).compile().is_err());
}

#[test]
fn rules_read_as_tagged_objects() {
    let rule: Extract = serde_json::from_str(r#"{"rule": "after", "marker": "Answer:"}"#).unwrap();
    assert_eq!(
        rule,
        Extract::After {
            marker: "Answer:".to_owned()
        }
    );
    assert!(serde_json::from_str::<Extract>(r#"{"rule": "after", "mark": "x"}"#).is_err());
    let rule: Extract = serde_json::from_str(r#"{"rule": "last_integer"}"#).unwrap();
    assert_eq!(rule, Extract::LastInteger);
}
