//! What filters mean, and what is told about a text that is none.

use crate::entry::Entry;
use crate::ids::DeliberationId;
use crate::testkit::journal::accepted;

use super::*;

/// A completed deliberation of the sample request, with a label and a correlation id.
fn sample() -> Accepted {
    let record = accepted(&DeliberationId::new("deliberation-1"));
    let Entry::Accepted(accepted) = record.entry else {
        unreachable!("it is the first record");
    };
    let mut accepted = *accepted;
    let request = &mut accepted.request;
    request.task.id = "t-1".to_owned();
    request.task.role = "DEV".to_owned();
    request.correlation_id = Some("c-1".to_owned());
    let labels = [
        ("team", "blue"),
        ("app.kubernetes.io/name", "x y"),
        ("empty", ""),
    ];
    request.labels = labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    accepted
}

fn passes(filter: &str) -> bool {
    let facts = Facts {
        accepted: &sample(),
        state: StateKind::Completed,
        end_at_ms: Some(1_000),
    };
    let filter = Filter::parse(filter).unwrap_or_else(|error| unreachable!("{filter}: {error}"));
    filter.matches(&facts)
}

#[test]
fn a_deliberation_passes_what_is_true_of_it() {
    for filter in [
        "",
        "  ",
        "state = COMPLETED",
        "state != RUNNING",
        r#"state="COMPLETED""#,
        "task.id = t-1",
        "task.id = 't-1'",
        r#"task.id = "t\-1""#,
        "task.id:t-",
        "task.id > t-0 AND task.id <= t-1",
        "task.role:*",
        "strategy.name = sample-vote AND scorer.name != judge",
        "labels.team = blue",
        "labels.app.kubernetes.io/name = 'x y'",
        r#"labels."team":lu"#,
        "labels:team",
        "labels:empty",
        "labels.empty:*",
        "correlation_id:*",
        "priority = 4 AND priority >= 4 AND priority < 5",
        "create_time = 2025-11-21T23:00:00.123Z",
        "create_time > \"2025-11-21T22:00:00+00:00\"",
        "end_time:*",
        "end_time = '2025-11-21T23:00:01.123Z'",
        "-state = RUNNING",
        "NOT state = RUNNING",
        "NOT (state = RUNNING OR state = FAILED)",
        "NOT -state = COMPLETED",
        // OR binds more than AND.
        "state = FAILED AND task.id = x OR state = COMPLETED AND labels:team OR priority = 9 OR state = COMPLETED",
        "(state = RUNNING OR(state = COMPLETED))AND priority=4",
    ] {
        let expected = !filter.starts_with("state = FAILED AND");
        assert_eq!(passes(filter), expected, "{filter}");
    }
}

#[test]
fn a_deliberation_does_not_pass_what_is_false_or_asks_for_what_it_has_not() {
    for filter in [
        "state = RUNNING",
        "state != COMPLETED",
        "task.id = T-1",
        "task.id:x",
        "labels.none = blue",
        "labels.none != blue",
        "labels:none",
        "labels.team = Blue",
        "priority > 4",
        "create_time < 2025-11-21T23:00:00.123Z",
        "NOT labels:team",
        "priority = 4 AND (state = RUNNING OR state = FAILED)",
    ] {
        assert!(!passes(filter), "{filter}");
    }
    let running = Facts {
        accepted: &sample(),
        state: StateKind::Running,
        end_at_ms: None,
    };
    for (filter, expected) in [
        ("end_time:*", false),
        ("end_time != 2025-11-21T23:00:00Z", false),
        ("NOT end_time < 2025-11-21T23:00:00Z", true),
    ] {
        let filter = Filter::parse(filter).unwrap();
        assert_eq!(filter.matches(&running), expected, "{filter:?}");
    }
}

#[test]
fn and_holds_less_than_or() {
    let parsed = Filter::parse("labels:a AND labels:b OR labels:c").unwrap();
    let label = |key: &str| Expression::Test(Test::HasText(TextField::Label(key.to_owned())));
    let expected = Expression::And(vec![
        label("a"),
        Expression::Or(vec![label("b"), label("c")]),
    ]);
    assert_eq!(*parsed.expression(), expected);
}

#[test]
fn every_error_names_the_place_what_stands_there_and_what_may() {
    let fields = "state, task.id, task.role, strategy.name, scorer.name, labels.KEY, correlation_id, priority, create_time, end_time";
    let cases: [(&str, &str); 24] = [
        (
            "stat = RUNNING",
            "at character 1, `stat`: is no field; did you mean `state`?",
        ),
        (
            "état = RUNNING",
            "at character 1, `état`: is no field; did you mean `state`?",
        ),
        (
            "winner = 5",
            &format!("at character 1, `winner`: is no field; the fields are {fields}"),
        ),
        (
            "labelsx = 1",
            "at character 1, `labelsx`: is no field; a label is `labels.KEY`",
        ),
        (
            "labels. = 1",
            "at character 1, `labels.`: is no field; a label is `labels.KEY`",
        ),
        (
            "labels = x",
            "at character 1, `labels`: a key must be named",
        ),
        (
            "labels:*",
            "at character 8, `*`: `labels:` takes the key of a label",
        ),
        ("state", "at character 6, the end: one of `=`"),
        ("state ~ x", "at character 7, `~`: one of `=`"),
        (
            "state =",
            "at character 8, the end: a value must stand here",
        ),
        (
            "state < FAILED",
            "at character 7, `<`: states have no order",
        ),
        (
            "state:FAILED",
            "at character 1, `state:FAILED`: `state` takes `=`",
        ),
        (
            "state = faild",
            "at character 9, `faild`: is no state; did you mean FAILED?",
        ),
        (
            "state = 5",
            "at character 9, `5`: is no state: RUNNING, COMPLETED, FAILED, CANCELLED",
        ),
        (
            "priority = high",
            "at character 12, `high`: `priority` is a number, 0 (last) to 9 (first)",
        ),
        ("priority:4", "at character 10, `4`: behind `:` a number"),
        (
            "create_time > yesterday",
            "at character 15, `yesterday`: a time must stand here as RFC 3339",
        ),
        (
            "task.id = \"t-1",
            "at character 11, `\"t-1`: the closing quote is missing",
        ),
        (
            "task.id = a task.role = b",
            "at character 13, `task.role`: `AND`, `OR` or the end must stand here",
        ),
        (
            "task.id = a and task.role = b",
            "at character 13, `and`: `AND`, `OR` or the end",
        ),
        (
            "(task.id = a",
            "at character 13, the end: `AND`, `OR` or `)` must stand here",
        ),
        (
            "task.id = a)",
            "at character 12, `)`: no parenthesis is open",
        ),
        (
            "task.id = a AND",
            &format!("at character 16, the end: a field must stand here: {fields}"),
        ),
        (
            "OR task.id = a",
            "at character 1, `OR`: a field must stand here",
        ),
    ];
    for (filter, expected) in cases {
        let error = Filter::parse(filter).unwrap_err().to_string();
        assert!(
            error.starts_with(expected),
            "{filter}\n  {error}\n  {expected}"
        );
    }
}

#[test]
fn a_filter_is_bounded_in_length_depth_and_number() {
    let error = |filter: &str| Filter::parse(filter).unwrap_err().problem;
    let long = format!("task.id = {}", "é".repeat(BYTES_MAX));
    assert!(error(&long).contains("at most 4096 are allowed"));
    let nested = |depth| format!("{}labels:a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(32)).is_ok());
    assert!(error(&nested(33)).contains("more than 32"));
    assert!(error(&"-".repeat(4000)).contains("more than 32"));
    let many = |count| vec!["labels:a"; count].join(" OR ");
    assert!(Filter::parse(&many(64)).is_ok());
    assert!(error(&many(65)).contains("at most 64 comparisons"));
}
