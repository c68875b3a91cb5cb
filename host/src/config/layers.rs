//! Merges file, variables and flags, key by key, so that whatever is wrong names key and origin.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::environment::Environment;
use super::problem::{Error, Origin, Problem, without_userinfo};
use super::settings::Config;
use super::{Flag, keys, legacy};

/// The keys whose values may hold a secret by mistake, with what they must be: they are never shown.
const SECRETS: [(&str, &str); 5] = [
    (
        "inference.keys",
        "must be a list of tables with `endpoint` and one of `api_key_file`, `api_key_env`",
    ),
    (
        "plugins.oci.credentials",
        "must be a list of tables with `registry`, `username`, and one of `password_file`, \
         `password_env`",
    ),
    (
        "access.tokens",
        "must be a list of tables with `name`, `role` (viewer, client or operator), one of `sha256`, \
         `sha256_file`, and if need be `tenant` and `expires`",
    ),
    (
        "clusters",
        "must be a list of tables with `name`, `address`, and if need be more",
    ),
    (
        "models",
        "must be a table of tables, each with one of `vllm`, `entrypoint` and `endpoints`, and if need \
         be more",
    ),
];

/// Variables that belong to commands and not to the configuration.
const COMMANDS: [&str; 6] = [
    "CONCLAVE_ADDR",
    "CONCLAVE_CA",
    "CONCLAVE_CONFIG",
    "CONCLAVE_LOCAL_MODEL",
    "CONCLAVE_TOKEN",
    "CONCLAVE_WEIGHTS",
];

/// What the variables of the project's own tests start with.
const TESTS: &str = "CONCLAVE_TEST_";

/// The values of all layers so far, by key.
pub(super) struct Merged {
    defaults: BTreeMap<String, Json>,
    values: BTreeMap<String, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            defaults: keys::all(),
            values: BTreeMap::new(),
            problems: Vec::new(),
        }
    }
}

impl Merged {
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        // Only the error's message: its other form shows the line, which may hold a secret.
        let table: Table = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            Error::Syntax {
                path: path.to_owned(),
                line: before.map_or(1, |before| before.matches('\n').count() + 1),
                message: error.message().to_owned(),
            }
        })?;
        self.add_table("", table, &Origin::File(path.to_owned()));
        Ok(())
    }

    fn add_table(&mut self, path: &str, table: Table, origin: &Origin) {
        for (name, value) in table {
            let key = keys::below(path, &name);
            let section = format!("{key}.");
            let is_section = self
                .defaults
                .keys()
                .any(|known| known.starts_with(&section));
            match value {
                Value::Table(table) if is_section => self.add_table(&key, table, origin),
                value if is_section => {
                    let rule = "must be a table";
                    self.problems
                        .push(bad_value(&key, &value, origin.clone(), rule));
                }
                value => self.add(key, value, origin.clone()),
            }
        }
    }

    /// Values of variables that had other names before; their keys exist.
    pub(super) fn add_values(&mut self, values: Vec<legacy::Translated>) {
        for one in values {
            let value = Value::String(one.text);
            self.add(
                one.key.to_owned(),
                value,
                Origin::Variable(one.variable.to_owned()),
            );
        }
    }

    /// As [`Merged::add_values`], for a key that no other layer sets; whether it is such a one.
    pub(super) fn add_unless_set(&mut self, one: &legacy::Translated) -> bool {
        if self.values.contains_key(one.key) {
            return false;
        }
        let value = self.value_of(one.key, &one.text);
        let origin = Origin::Variable(one.variable.to_owned());
        self.add(one.key.to_owned(), value, origin);
        true
    }

    pub(super) fn add_variables(&mut self, environment: &Environment) {
        let names: Vec<_> = self
            .defaults
            .keys()
            .map(|key| (key.clone(), keys::variable(key)))
            .collect();
        for (key, name) in names {
            if let Some(text) = environment.get(&name) {
                let value = self.value_of(&key, text);
                self.add(key, value, Origin::Variable(name));
            }
        }
    }

    pub(super) fn add_flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            let value = self.value_of(&flag.key, &flag.text);
            self.add(flag.key.clone(), value, Origin::Flag(flag.name));
        }
    }

    fn add(&mut self, key: String, value: Value, origin: Origin) {
        if self.defaults.contains_key(&key) {
            self.values.insert(key, (value, origin));
            return;
        }
        let nearest = keys::nearest(&key, self.defaults.keys().map(String::as_str)).to_owned();
        self.problems.push(Problem::UnknownKey {
            key,
            origin,
            nearest,
        });
    }

    /// A text as the value of this key; whether it may be is decided later.
    fn value_of(&self, key: &str, text: &str) -> Value {
        match self.defaults.get(key) {
            Some(Json::Number(_)) => match text.trim().parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::String(text.to_owned()),
            },
            Some(Json::Bool(_)) => match text.trim().parse() {
                Ok(switch) => Value::Boolean(switch),
                Err(_) => Value::String(text.to_owned()),
            },
            Some(Json::Array(_)) if text.trim_start().starts_with('[') => {
                let table = toml::from_str::<Table>(&format!("list = {text}"));
                let list = table.ok().and_then(|mut table| table.remove("list"));
                list.unwrap_or_else(|| Value::String(text.to_owned()))
            }
            Some(Json::Array(_)) => {
                let entries = text
                    .split(',')
                    .map(str::trim)
                    .filter(|entry| !entry.is_empty());
                Value::Array(
                    entries
                        .map(|entry| Value::String(entry.to_owned()))
                        .collect(),
                )
            }
            Some(Json::Object(_)) => {
                let table = toml::from_str::<Table>(&format!("table = {text}"));
                let table = table.ok().and_then(|mut table| table.remove("table"));
                table.unwrap_or_else(|| Value::String(text.to_owned()))
            }
            Some(Json::Null) => optional(key, text),
            _ => Value::String(text.to_owned()),
        }
    }

    /// The configuration, where each of its values that are no defaults stands, and what is wrong. A
    /// value that does not parse is left at its default.
    pub(super) fn into_config(self) -> (Config, BTreeMap<String, Origin>, Vec<Problem>) {
        let mut problems = self.problems;
        let mut origins = BTreeMap::new();
        let mut all = Table::new();
        for (key, (value, origin)) in self.values {
            let mut alone = Table::new();
            set(&mut alone, &key, value.clone());
            match Config::deserialize(alone) {
                Ok(_) => {
                    set(&mut all, &key, value);
                    origins.insert(key, origin);
                }
                Err(error) => {
                    let rule = rule(&self.defaults[&key], &value, error.message());
                    problems.push(bad_value(&key, &value, origin, &rule));
                }
            }
        }
        let config =
            Config::deserialize(all).expect("sections are independent, and each key parsed alone");
        (config, origins, problems)
    }
}

/// A text as the value of a key whose default is to have none, and tells no type: a text wherever that
/// fits, so that a model may be named `7`.
fn optional(key: &str, text: &str) -> Value {
    let fits = |value: &Value| {
        let mut alone = Table::new();
        set(&mut alone, key, value.clone());
        Config::deserialize(alone).is_ok()
    };
    let as_text = Value::String(text.to_owned());
    let number = text.trim().parse().map(Value::Integer);
    match number {
        Ok(number) if !fits(&as_text) && fits(&number) => number,
        _ => as_text,
    }
}

/// Sets the value at a path, with the tables on the way.
fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// What a value of this key must be, in the operator's words where serde's are a programmer's.
fn rule(default: &Json, value: &Value, message: &str) -> String {
    match (default, value) {
        (Json::Number(_), Value::Integer(number)) if *number >= 0 => "is too large".to_owned(),
        (Json::Number(_), _) => "must be a whole number, 0 or more".to_owned(),
        (Json::Null, _) if message.contains("expected u") => {
            "must be a whole number, 0 or more".to_owned()
        }
        (Json::Bool(_), _) => "must be true or false".to_owned(),
        (Json::Array(_), Value::Array(_)) => format!("does not fit: {message}"),
        (Json::Array(_), _) => {
            "must be a list: entries with commas between them, or a TOML array".to_owned()
        }
        (Json::Object(_), Value::Table(_)) => format!("does not fit: {message}"),
        (Json::Object(_), _) => "must be a table of tables".to_owned(),
        (Json::String(_) | Json::Null, Value::String(_)) if message.starts_with("must ") => {
            message.to_owned()
        }
        (Json::String(_) | Json::Null, Value::String(_)) => format!("does not fit: {message}"),
        (Json::String(_) | Json::Null, _) => "must be a text".to_owned(),
    }
}

fn bad_value(key: &str, value: &Value, origin: Origin, rule: &str) -> Problem {
    if let Some((_, known)) = SECRETS.iter().find(|(secret, _)| *secret == key) {
        let wrong = rule.strip_prefix("does not fit: ").unwrap_or_default();
        // What names a member and no value, or is a rule of our own.
        let tells = ["unknown field", "missing field", "must "];
        let tells = tells.iter().any(|start| wrong.starts_with(start));
        let wrong = wrong.lines().next().filter(|_| tells);
        let wrong = wrong.map_or_else(String::new, |wrong| format!("; {wrong}"));
        return Problem::BadValue {
            key: key.to_owned(),
            value: "hidden".to_owned(),
            origin,
            rule: format!("{known}{wrong}"),
        };
    }
    let rule = rule.trim_end().replace('\n', ", ");
    Problem::BadValue {
        key: key.to_owned(),
        value: without_userinfo(&format!("`{}`", value.to_string().trim_matches('"'))),
        origin,
        rule: without_userinfo(&rule),
    }
}

/// Variables with the prefix that mean nothing: most likely misspelt.
pub(super) fn unknown_variables(environment: &Environment, config: &Config) -> Vec<Problem> {
    let mut known: Vec<String> = keys::all().keys().map(|key| keys::variable(key)).collect();
    known.extend(COMMANDS.map(str::to_owned));
    let keys = config.inference.keys.iter();
    known.extend(keys.filter_map(|key| key.api_key_env.clone()));
    let credentials = config.plugins.oci.credentials.iter();
    known.extend(credentials.filter_map(|one| one.password_env.clone()));
    let clusters = config.clusters.iter();
    known.extend(clusters.filter_map(|one| one.token_env.clone()));
    let unknown = environment.iter().filter(|(name, value)| {
        name.starts_with(keys::PREFIX)
            && !name.starts_with(TESTS)
            && !known.iter().any(|one| one == name)
            && !is_service_link(name, value)
    });
    unknown
        .map(|(name, _)| Problem::UnknownVariable {
            name: name.to_owned(),
            nearest: keys::nearest(name, known.iter().map(String::as_str)).to_owned(),
        })
        .collect()
}

/// Whether Kubernetes made the variable, as it does in every pod for every service of the namespace,
/// one named `conclave` too: `CONCLAVE_SERVICE_HOST`, `CONCLAVE_PORT_50056_TCP` and their like.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let of_port = |at: usize| {
        let rest = &name[at + "_PORT_".len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && (rest[digits..].starts_with("_TCP") || rest[digits..].starts_with("_UDP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || name.match_indices("_PORT_").any(|(at, _)| of_port(at))
}
