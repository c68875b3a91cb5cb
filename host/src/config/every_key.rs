//! What must hold for every key that there is, whoever adds it.

use toml::{Table, Value};

use super::schema::{self, Kind};
use super::{Error, Loaded, Problem, Sources, keys, load};

/// A value of each type that TOML has, with how an error shows it.
fn values() -> Vec<(Value, &'static str)> {
    let table: Table = toml::from_str("x = 1").unwrap();
    vec![
        (Value::String("wrong?".to_owned()), "wrong?"),
        (Value::Integer(7), "7"),
        (Value::Integer(-1), "-1"),
        (Value::Float(1.5), "1.5"),
        (Value::Boolean(true), "true"),
        (Value::Array(vec![Value::Boolean(true)]), "[true]"),
        (Value::Table(table), "{ x = 1 }"),
    ]
}

/// Whether a value is of the wrong type for a key of this kind.
fn is_wrong(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::Text => !value.is_str(),
        Kind::OneOf(_) => true,
        Kind::Whole => !matches!(value, Value::Integer(number) if *number >= 0),
        Kind::Number => !matches!(value, Value::Integer(_) | Value::Float(_)),
        Kind::Flag => !value.is_bool(),
        // No list of the settings takes booleans.
        Kind::List(_) => true,
        Kind::Table => !value.is_table(),
    }
}

fn load_from(file: &std::path::Path, text: &str) -> Result<Loaded, Error> {
    std::fs::write(file, text).unwrap();
    let sources = Sources {
        file: Some(file.to_owned()),
        ..Sources::default()
    };
    load(&sources)
}

#[test]
fn a_value_of_each_wrong_type_is_told_with_key_value_origin_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conclave.toml");
    let entries = schema::sections()
        .into_iter()
        .filter(|section| !section.is_list);
    let mut told = 0;
    for entry in entries.flat_map(|section| section.entries) {
        for (value, shown) in values()
            .into_iter()
            .filter(|(value, _)| is_wrong(&entry.kind, value))
        {
            // A table of its own for each key, as dotted keys need no sections.
            let error = load_from(&file, &format!("{} = {value}", entry.key)).unwrap_err();
            let Error::Invalid(problems) = &error else {
                unreachable!("{}: {error}", entry.key);
            };
            let of_key = problems.iter().find_map(|problem| match problem {
                Problem::BadValue {
                    key,
                    value,
                    origin,
                    rule,
                } if *key == entry.key => Some((value, origin, rule)),
                _ => None,
            });
            let (value, origin, rule) =
                of_key.unwrap_or_else(|| unreachable!("{}: {error}", entry.key));
            let secret = value == "hidden";
            assert!(secret || value.contains(shown), "{}: {error}", entry.key);
            assert_eq!(origin.to_string(), file.display().to_string());
            let in_words = rule.starts_with("must ") || rule.starts_with("does not fit: ");
            let of_serde = rule.contains("invalid type") && !matches!(entry.kind, Kind::List(_));
            assert!(in_words && !of_serde, "{}: {error}", entry.key);
            told += 1;
        }
    }
    assert!(told > 5 * keys::all().len(), "{told}");
}

#[test]
fn a_misspelt_key_is_answered_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conclave.toml");
    for key in keys::all().into_keys() {
        let misspelt = format!("{key}x");
        let error = load_from(&file, &format!("{misspelt} = 1"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("no key `{misspelt}`")), "{error}");
        assert!(error.contains(&format!("did you mean `{key}`?")), "{error}");
    }
}

#[test]
fn every_default_can_be_set_from_a_variable() {
    for (key, default) in keys::all() {
        let text = match &default {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            other => toml::Value::try_from(other).unwrap().to_string(),
        };
        let environment = [(keys::variable(&key), text)].into_iter().collect();
        let sources = Sources {
            environment,
            ..Sources::default()
        };
        let loaded = load(&sources).unwrap_or_else(|error| unreachable!("{key}: {error}"));
        assert_eq!(loaded.config, super::Config::default(), "{key}");
    }
}

/// The example with every commented key in force. `#key = …` and `#[section]` are commented keys,
/// `# text` is prose.
fn uncommented(example: &str) -> String {
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_in_deploy_loads_as_it_is_and_with_every_commented_key() {
    let example = include_str!("../../../deploy/conclave.toml");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conclave.toml");
    load_from(&file, example).unwrap_or_else(|error| unreachable!("{error}"));

    // Its secrets are files of the systemd unit's credentials, which are not here.
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let whole = uncommented(example).replace(
        "/run/credentials/conclave.service",
        &credentials.display().to_string(),
    );
    for line in whole.lines() {
        if let Some((_, path)) = line.split_once(&format!("{}/", credentials.display())) {
            let name = path.split('"').next().unwrap();
            std::fs::write(credentials.join(name), "secret").unwrap();
        }
    }
    let loaded = load_from(&file, &whole).unwrap_or_else(|error| unreachable!("{error}\n{whole}"));
    assert!(!loaded.api_keys.is_empty(), "{whole}");
    assert_ne!(whole, example, "nothing is commented out");
}
