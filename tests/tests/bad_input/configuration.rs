//! Every key of the configuration, wrong in each way, in each place where it can stand.
//!
//! The binary tells all that is wrong at once, so that few starts of it check all keys.

use std::fmt::Write as _;

use conclave::config::Config;
use conclave_tests::command::{Ran, conclave, conclave_with};
use serde_json::{Map, Value};

/// A number that no key allows.
const TOO_MUCH: &str = "99999999999999999";

/// Every key with its default, `null` for none.
fn keys() -> Vec<(String, Value)> {
    let defaults = serde_json::to_value(Config::default()).expect("settings are JSON");
    let mut keys = Vec::new();
    let sections = defaults.as_object().expect("it has sections");
    flatten("", sections, &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

fn flatten(path: &str, table: &Map<String, Value>, keys: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match value {
            Value::Object(table) => flatten(&key, table, keys),
            value => keys.push((key, value.clone())),
        }
    }
}

fn variable(key: &str) -> String {
    format!("CONCLAVE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Where a value can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    File,
    Variable,
    Flag,
}

const PLACES: [Place; 3] = [Place::File, Place::Variable, Place::Flag];

impl Place {
    /// Checks a configuration with these values, which are TOML in a file and texts elsewhere.
    async fn check(self, values: &[(String, String)]) -> Ran {
        let ran = match self {
            Self::File => {
                let dir = tempfile::tempdir().expect("there is a place for files");
                let path = dir.path().join("conclave.toml");
                let mut text = String::new();
                for (key, value) in values {
                    writeln!(text, "{key} = {value}").expect("a text takes all");
                }
                std::fs::write(&path, text).expect("the file is written");
                let path = path.to_str().expect("the path is text");
                conclave(&["serve", "--check", "--config", path]).await
            }
            Self::Variable => {
                let named = values.iter().map(|(key, value)| (variable(key), value));
                let named: Vec<_> = named.collect();
                let variables: Vec<_> = named
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                conclave_with(&["serve", "--check"], &variables).await
            }
            Self::Flag => {
                let pairs = values.iter().map(|(key, value)| format!("{key}={value}"));
                let pairs: Vec<_> = pairs.collect();
                let mut args = vec!["serve", "--check"];
                for pair in &pairs {
                    args.extend(["--set", pair]);
                }
                conclave(&args).await
            }
        };
        ran.expect("the check ends")
    }

    /// How an error names this place.
    fn origin(self, key: &str) -> String {
        match self {
            Self::File => "conclave.toml)".to_owned(),
            Self::Variable => format!("(variable {})", variable(key)),
            Self::Flag => "(flag --set)".to_owned(),
        }
    }
}

/// The one line of an error that tells of this key, or of its variable.
fn line_of<'r>(ran: &'r Ran, named: &str) -> &'r str {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let quoted = format!(" `{named}`");
    let mut lines = ran.err.lines().filter(|line| {
        let told = line.split("; did you mean").next();
        told.is_some_and(|told| told.contains(&quoted))
    });
    let line = lines.next().unwrap_or_default();
    assert!(!line.is_empty(), "`{named}` is not told of: {}", ran.err);
    line
}

/// The key with its last two different neighbouring letters changed round.
fn misspelt(key: &str) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let at = (1..letters.len()).rev().find(|&at| {
        letters[at] != letters[at - 1] && !".".contains([letters[at], letters[at - 1]])
    });
    let at = at.expect("a key has two different letters");
    letters.swap(at, at - 1);
    letters.into_iter().collect()
}

#[tokio::test]
async fn a_misspelt_key_is_answered_with_the_right_one() {
    let keys = keys();
    for place in PLACES {
        let wrong = keys.iter().map(|(key, _)| (misspelt(key), "1".to_owned()));
        let wrong: Vec<_> = wrong.collect();
        let ran = place.check(&wrong).await;
        for ((right, _), (wrong, _)) in keys.iter().zip(&wrong) {
            let (named, hint) = match place {
                Place::Variable => (variable(wrong), variable(right)),
                _ => (wrong.clone(), right.clone()),
            };
            let line = line_of(&ran, &named);
            let hint = format!("did you mean `{hint}`?");
            assert!(line.contains(&hint), "{place:?}: {line}");
            if place != Place::Variable {
                assert!(line.contains(&place.origin(wrong)), "{place:?}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_told_with_what_it_must_be() {
    let keys = keys();
    for place in PLACES {
        let wrong: Vec<_> = keys
            .iter()
            .filter_map(|(key, default)| {
                let value = match (place, default) {
                    // No value is a table with this in it.
                    (Place::File, _) => "{ wrong = 1 }",
                    (_, Value::Number(_)) => "many",
                    (_, Value::Bool(_)) => "maybe",
                    // A text may be any; those that may not are below.
                    _ => return None,
                };
                Some((key.clone(), value.to_owned()))
            })
            .collect();
        let ran = place.check(&wrong).await;
        for (key, _) in &wrong {
            let line = line_of(&ran, key);
            assert!(line.contains(&place.origin(key)), "{place:?}: {line}");
            assert!(line.contains(": it must be "), "{place:?}: {line}");
        }
    }
}

#[tokio::test]
async fn a_text_that_means_nothing_is_told_with_what_it_must_be() {
    let wrong = [
        (
            "server.grpc_addr",
            "localhost:1",
            "an IP address and a port",
        ),
        ("server.http_addr", "9056", "an IP address and a port"),
        ("inference.endpoint", "ftp://models", "http or https URL"),
        ("log.format", "xml", "`pretty`"),
        ("log.level", "loud", "debug"),
        ("compat.fleet_response_shape", "oldest", "`older`"),
        ("plugins.strategy_default", " ", "must not be blank"),
    ];
    for place in PLACES {
        let values = wrong.map(|(key, value, _)| {
            let value = match place {
                Place::File => format!("{value:?}"),
                _ => value.to_owned(),
            };
            (key.to_owned(), value)
        });
        let ran = place.check(&values).await;
        for (key, _, words) in wrong {
            let line = line_of(&ran, key);
            assert!(line.contains(&place.origin(key)), "{place:?}: {line}");
            assert!(line.contains(words), "{place:?}: {line}");
        }
    }
}

#[tokio::test]
async fn a_number_out_of_range_is_told_with_the_rule() {
    let keys = keys();
    let numbers = keys.iter().filter(|(_, default)| default.is_number());
    // The range of a default ends where its `_max` is, which is wrong itself in the other half.
    let (defaults, others): (Vec<_>, Vec<_>) =
        numbers.partition(|(key, _)| key.contains("_default"));
    for place in PLACES {
        for half in [&defaults, &others] {
            let wrong = half
                .iter()
                .map(|(key, _)| (key.clone(), TOO_MUCH.to_owned()));
            let wrong: Vec<_> = wrong.collect();
            let ran = place.check(&wrong).await;
            for (key, _) in &wrong {
                let line = line_of(&ran, key);
                let told = format!("`{key}` is `{TOO_MUCH}`");
                assert!(line.contains(&told), "{place:?}: {line}");
                assert!(line.contains(&place.origin(key)), "{place:?}: {line}");
                let rule = [": it must be ", ": it is too large"];
                assert!(
                    rule.iter().any(|rule| line.contains(rule)),
                    "{place:?}: {line}"
                );
            }
        }
    }
}
