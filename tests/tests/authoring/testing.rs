//! `conclave plugin test`: cases, the conformance suite, and what a failure shows.

use conclave_tests::command::conclave;

use crate::support::Project;

const HELLO: &str = include_str!("../../../plugins/examples/first-strategy/tests/hello.toml");
const DOWN: &str = include_str!("../../../plugins/examples/first-strategy/tests/down.toml");

#[tokio::test]
async fn the_cases_and_the_suite_of_the_first_strategy_pass() {
    let project = Project::of("first-strategy")
        .case("hello", HELLO)
        .case("down", DOWN);
    let ran = project.test(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    for part in [
        "first-strategy@",
        "ok   hello",
        "ok   down",
        "ok   same-run-same-journal",
        "ok   resumes-from-every-entry",
        " passed, in ",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.out.is_ascii(), "no drawing in a pipe: {}", ran.out);
    let only = project.test(&["hell", "--json"]).await;
    let only = only.json().unwrap();
    assert_eq!((&only["passed"], &only["ok"]), (&1.into(), &true.into()));
}

#[tokio::test]
async fn a_failure_shows_what_was_expected_what_came_and_every_step() {
    let text = HELLO.replace("winner = \"hello from b\"", "winner = \"hello from a\"");
    let project = Project::of("first-strategy").case("hello", &text);
    let ran = project.test(&["hello"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    for part in [
        "FAIL hello",
        "winner.content: expected \"hello from a\", got \"hello from b\"",
        "the strategy asks for generation 1: agent `a`, phase `answer`, round 0, \"Say hello.\"",
        "generation 1 ends, 3 tokens: \"hello from a\"",
        "600000 ms",
        "1 failed, 0 passed",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = project.test(&["hello", "--json"]).await;
    assert_eq!(json.code, Some(1));
    let json = json.json().unwrap();
    let failed = &json["results"][0];
    assert_eq!(failed["passed"], false);
    assert!(failed["steps"].as_array().unwrap().len() >= 7, "{failed}");
}

#[tokio::test]
async fn a_filter_that_nothing_has_in_its_name_is_wrong_usage_that_names_what_there_is() {
    let project = Project::of("first-strategy").case("hello", HELLO);
    let ran = project.test(&["majority"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for part in [
        "nothing has `majority` in its name; there are: hello, ",
        "resumes-from-every-entry",
    ] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_wrong_usage_that_names_line_and_key() {
    let project = Project::of("first-strategy").case("typo", &HELLO.replace("rounds", "runds"));
    let ran = project.test(&[]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for part in ["typo.toml", "`runds`", "line 21"] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_breaks_rules_does_not_conform() {
    let project = Project::of("hostile");
    let file = project.component("hostile");
    let args = ["plugin", "test", file.to_str().unwrap(), "--conformance"];
    let sound = conclave(&args).await.unwrap();
    assert_eq!(sound.code, Some(0), "{}", sound.out);
    for mode in ["trap", "bad-score", "bad-outcome"] {
        let params = format!(r#"{{"mode": "{mode}"}}"#);
        let args = [&args[..], &["--params", &params]].concat();
        let ran = conclave(&args).await.unwrap();
        assert_eq!(ran.code, Some(1), "{mode}: {}", ran.out);
        for part in [
            "ok   describe-is-stable",
            "FAIL survives-rejected",
            "deliberation.wit",
        ] {
            assert!(ran.out.contains(part), "{mode}, {part}: {}", ran.out);
        }
    }
}

#[tokio::test]
async fn a_trap_shows_where_it_was_and_the_last_calls() {
    let case = |params: &str, expect: &str| {
        format!(
            "[task]\ndescription = \"?\"\n[params]\n{params}\n[[generation]]\ntext = \"x\"\n[expect]\n{expect}\n"
        )
    };
    let project = Project::of("hostile")
        .case(
            "flood",
            &case(
                "mode = \"call-flood\"\ncount = 2000000",
                "outcome = \"failed\"\nerror = \"its last calls of the host: context.\"",
            ),
        )
        .case(
            "trap",
            &case(
                "mode = \"trap\"",
                "outcome = \"failed\"\nerror = \"hostile::misbehave\"",
            ),
        );
    for name in ["flood", "trap"] {
        let ran = project.test(&[name]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.out);
    }
    let failing = Project::of("hostile").case("trap", &case("mode = \"trap\"", ""));
    let ran = failing.test(&["trap"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(ran.out.contains("panicked at"), "{}", ran.out);
}
