//! What a case's file may say.

use super::*;

fn parse(text: &str) -> Result<Case, String> {
    Case::parse(text, "case", Path::new("tests/case.toml")).map_err(|error| error.to_string())
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = parse("[task]\ndescription = \"?\"\nagents = [\"a\"]\nrol = \"DEV\"\n");
    let error = error.unwrap_err();
    assert!(
        error.contains("line 4") && error.contains("`rol`"),
        "{error}"
    );
    for (line, key) in [
        ("[expect]\nwinner = { contans = \"x\" }", "contans"),
        ("[expect]\ngenerations = { maxx = 1 }", "maxx"),
        ("[scorer]\ncomponet = \"x\"", "componet"),
        ("[[generation]]\ntxt = \"x\"", "txt"),
    ] {
        let error = parse(&format!("[task]\ndescription = \"?\"\n{line}\n")).unwrap_err();
        assert!(
            error.contains("line 4") && error.contains(&format!("`{key}`")),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    let error = parse("record = \"a.jsonl\"\n[task]\ndescription = \"?\"\n").unwrap_err();
    assert!(error.contains("`record`"), "{error}");
    let error = parse("[task]\ndescription = \"?\"\n[[generation]]\n").unwrap_err();
    assert!(error.contains("`text`"), "{error}");
    let error = parse("[expect]\noutcome = \"completed\"\n").unwrap_err();
    assert!(error.contains("[task]"), "{error}");
}

#[test]
fn a_case_says_in_few_lines_what_it_is_about() {
    let case = parse(
        r#"
scorer = "agreement"
[task]
description = "Is 7 prime?"
agents = ["a", { id = "b", role = "QA" }]
[params]
samples = 3
[[generation]]
agent = "a"
texts = ["yes", "no"]
[[generation]]
failure = "unavailable"
[expect]
outcome = "completed"
winner = "yes"
generations = { max = 3 }
"#,
    );
    let case = case.unwrap();
    assert_eq!(case.params(), serde_json::json!({"samples": 3}));
    assert_eq!(case.file.task.drafts()[1].role, "QA");
}
