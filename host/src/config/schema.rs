//! The keys as their types describe them: what a value must be, and what it is for.

use schemars::schema_for;
use serde_json::{Map, Value};

use super::keys;
use super::settings::Config;

/// A table of keys, or a list of tables.
#[derive(Debug)]
pub(super) struct Section {
    /// Its path; empty for keys that stand in none. Of one of several tables, with its brackets.
    pub(super) path: String,
    /// Whether it is one of several tables, whose members are no keys of their own: of a list, or of a
    /// table whose members an operator names.
    pub(super) is_list: bool,
    pub(super) description: String,
    pub(super) entries: Vec<Entry>,
}

/// A key, or a member of the tables of a list.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key with its path; of a member, the name alone.
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) description: String,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Number,
    Flag,
    OneOf(Vec<String>),
    List(Box<Self>),
    Table,
}

/// All sections, each before those within it.
pub(super) fn sections() -> Vec<Section> {
    let schema = schema_for!(Config).to_value();
    let mut walk = Walk {
        root: &schema,
        sections: Vec::new(),
    };
    walk.table("", "", &schema);
    walk.sections.retain(|section| !section.entries.is_empty());
    walk.sections
}

struct Walk<'a> {
    root: &'a Value,
    sections: Vec<Section>,
}

impl<'a> Walk<'a> {
    fn table(&mut self, path: &str, description: &str, schema: &'a Value) {
        let at = self.sections.len();
        self.sections.push(Section {
            path: path.to_owned(),
            is_list: false,
            description: description.to_owned(),
            entries: Vec::new(),
        });
        for (name, property) in properties(schema).into_iter().flatten() {
            let key = keys::below(path, name);
            let described = text(property);
            let resolved = self.resolved(property);
            if properties(resolved).is_some() {
                self.table(&key, &described, resolved);
                continue;
            }
            let item = resolved.get("items").map(|items| self.resolved(items));
            if let Some(item) = item.filter(|item| properties(item).is_some()) {
                self.list(&format!("[[{key}]]"), item);
            }
            let named = resolved.get("additionalProperties");
            let named = named.map(|named| self.resolved(named));
            if let Some(named) = named.filter(|named| properties(named).is_some()) {
                self.list(&format!("[{key}.NAME]"), named);
            }
            let entry = self.entry(key, described, resolved);
            self.sections[at].entries.push(entry);
        }
    }

    fn list(&mut self, path: &str, item: &'a Value) {
        let mut entries = Vec::new();
        self.members("", item, &mut entries);
        self.sections.push(Section {
            path: path.to_owned(),
            is_list: true,
            description: text(item),
            entries,
        });
    }

    /// The members of a list's tables; those of a table within with its name before theirs.
    fn members(&self, path: &str, table: &Value, entries: &mut Vec<Entry>) {
        for (name, property) in properties(table).into_iter().flatten() {
            let (key, resolved) = (keys::below(path, name), self.resolved(property));
            if properties(resolved).is_some() {
                self.members(&key, resolved, entries);
            } else {
                entries.push(self.entry(key, text(property), resolved));
            }
        }
    }

    fn entry(&self, key: String, mut description: String, schema: &Value) -> Entry {
        // What each of several values means is told where the values are.
        for variant in variants(schema) {
            let (Some(name), meaning) = (variant["const"].as_str(), text(variant)) else {
                continue;
            };
            if !meaning.is_empty() {
                description.push_str(&format!(" `{name}`: {meaning}"));
            }
        }
        Entry {
            key,
            kind: self.kind(schema),
            description: description.trim().to_owned(),
        }
    }

    fn kind(&self, schema: &Value) -> Kind {
        let named: Vec<_> = variants(schema)
            .iter()
            .filter_map(|variant| variant["const"].as_str())
            .chain(
                schema["enum"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str),
            )
            .map(str::to_owned)
            .collect();
        if !named.is_empty() {
            return Kind::OneOf(named);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| **kind != "null"),
            kind => Some(kind),
        };
        match kind.and_then(Value::as_str) {
            Some("integer") => Kind::Whole,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Flag,
            Some("array") => Kind::List(Box::new(self.kind(self.resolved(&schema["items"])))),
            Some("object") => Kind::Table,
            _ => Kind::Text,
        }
    }

    /// The schema that a reference stands for; that of a value that may be left out.
    fn resolved<'b>(&self, schema: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return self.root.pointer(pointer).unwrap_or(schema);
        }
        let choices = schema["anyOf"].as_array();
        let given = choices.and_then(|choices| choices.iter().find(|one| one["type"] != "null"));
        given.map_or(schema, |given| self.resolved(given))
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn variants(schema: &Value) -> &[Value] {
    schema["oneOf"].as_array().map_or(&[], Vec::as_slice)
}

/// The doc comment on one line.
fn text(schema: &Value) -> String {
    let description = schema["description"].as_str().unwrap_or_default();
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}
