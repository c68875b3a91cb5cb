//! The reference of all settings, written from their types: `deploy/configuration.md`.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{self, Entry, Kind, Section};
use super::{Environment, Error, Flag, Problem, Sources, keys, load};

const HEAD: &str = "\
<!-- Written by `make reference` from the types of the settings. Do not edit it here. -->
# Configuration

Every setting has a default, and may stand in the TOML file (`--config FILE`), in a variable, and in a
flag (`--set KEY=VALUE`); the later outdoes the earlier. An unknown key or variable, and a value that
breaks a rule, is an error that names key, value, rule, and where it stands. `conclave serve --check`
prints all settings with where each stands, and tests what they lead to. [conclave.toml](conclave.toml)
is a file to begin with.

In a variable and in a flag a list is written with commas, or as a TOML array; a list of tables is
written as a TOML array: `[{endpoint = \"https://vllm\", api_key_file = \"/run/secrets/vllm\"}]`. An
empty variable counts as not set. Relative paths are relative to the working directory.

Secrets never stand in the configuration: a key that ends in `_file` names a file that holds one, white
space at its ends is no part of it.
";

/// The reference as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for section in schema::sections() {
        // Writing into a text cannot fail.
        let _ = if section.is_list {
            write_members(&mut text, &section)
        } else {
            write_keys(&mut text, &section)
        };
    }
    text
}

fn write_keys(text: &mut String, section: &Section) -> std::fmt::Result {
    match section.path.as_str() {
        "" => writeln!(text, "\n## Outside sections\n")?,
        path => writeln!(text, "\n## `[{path}]`\n\n{}\n", section.description)?,
    }
    let defaults = keys::all();
    writeln!(
        text,
        "| key and variable | value | default | what it is for |"
    )?;
    writeln!(text, "|---|---|---|---|")?;
    for Entry {
        key,
        kind,
        description,
    } in &section.entries
    {
        let default = defaults.get(key).map_or_else(String::new, shown);
        let value = match range(key, kind) {
            Some(range) => format!("{}, {range}", words(kind)),
            None => words(kind),
        };
        writeln!(
            text,
            "| `{key}`<br>`{}` | {value} | {default} | {} |",
            keys::variable(key),
            cell(description)
        )?;
    }
    Ok(())
}

fn write_members(text: &mut String, section: &Section) -> std::fmt::Result {
    writeln!(
        text,
        "\n### `{}`\n\n{}\n",
        section.path, section.description
    )?;
    writeln!(text, "| member | value | what it is for |")?;
    writeln!(text, "|---|---|---|")?;
    for Entry {
        key,
        kind,
        description,
    } in &section.entries
    {
        writeln!(
            text,
            "| `{key}` | {} | {} |",
            words(kind),
            cell(description)
        )?;
    }
    Ok(())
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Whole => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::OneOf(names) => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("one of {}", names.join(", "))
        }
        Kind::List(item) => match **item {
            Kind::Text => "list of texts".to_owned(),
            Kind::Table => "list of tables".to_owned(),
            ref item => format!("list of {}", words(item)),
        },
        Kind::Table => "table".to_owned(),
    }
}

/// A default as TOML writes it.
fn shown(default: &Value) -> String {
    if default.is_null() {
        return "not set".to_owned();
    }
    let value = toml::Value::try_from(default);
    format!(
        "`{}`",
        value.map_or_else(|_| default.to_string(), |value| value.to_string())
    )
}

/// The range of a number, as the rules tell it of a value outside.
fn range(key: &str, kind: &Kind) -> Option<String> {
    /// Too large for any rule, and for the narrower types that would refuse that one themselves.
    const OUTSIDE: [&str; 4] = ["999999999999999999", "4294967295", "65535", "0"];
    if !matches!(kind, Kind::Whole | Kind::Number) {
        return None;
    }
    OUTSIDE.into_iter().find_map(|value| {
        let sources = Sources {
            file: None,
            environment: Environment::default(),
            flags: vec![Flag {
                name: "--set",
                key: key.to_owned(),
                text: value.to_owned(),
            }],
        };
        let Err(Error::Invalid(problems)) = load(&sources) else {
            return None;
        };
        problems.into_iter().find_map(|problem| match problem {
            Problem::BadValue { key: of, rule, .. } if of == key => {
                let range = rule.strip_prefix("must be ")?;
                range
                    .starts_with(|c: char| c.is_ascii_digit())
                    .then(|| range.to_owned())
            }
            _ => None,
        })
    })
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_types_describe_every_key() {
        let described: BTreeSet<String> = schema::sections()
            .into_iter()
            .filter(|section| !section.is_list)
            .flat_map(|section| section.entries)
            .inspect(|entry| {
                assert!(
                    !entry.description.is_empty(),
                    "{} has no doc comment",
                    entry.key
                );
            })
            .map(|entry| entry.key)
            .collect();
        let known: BTreeSet<String> = keys::all().into_keys().collect();
        assert_eq!(described, known);
    }

    #[test]
    fn the_reference_in_deploy_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "deploy/configuration.md is stale: write it again with `make reference`"
        );
    }

    #[test]
    fn a_row_tells_value_range_default_and_variable() {
        let text = reference();
        for row in [
            "| `limits.retries_default`<br>`CONCLAVE_LIMITS_RETRIES_DEFAULT` | whole number, 0 to 10 | `3` |",
            "| `inference.endpoint`<br>`CONCLAVE_INFERENCE_ENDPOINT` | text | not set |",
            "| `log.format`<br>`CONCLAVE_LOG_FORMAT` | one of `auto`, `pretty`, `json` | `\"auto\"` |",
            "| `log.plugins`<br>`CONCLAVE_LOG_PLUGINS` | `true` or `false` | `false` |",
            "| `plugins.limits.memories_max`<br>`CONCLAVE_PLUGINS_LIMITS_MEMORIES_MAX` | whole number, 1 to ",
            "### `[[inference.keys]]`",
            "| `api_key_file` | text | A file that holds it. |",
            "| `task_type` | text |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }
}
