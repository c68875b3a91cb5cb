//! The regular expressions of a schema. Each takes memory and time to compile, whoever writes it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Every pattern of a schema, with the JSON pointer to where it stands first; one that stands there
/// twice is compiled once.
pub(super) fn of(schema: &Value) -> BTreeMap<&str, String> {
    let mut patterns = BTreeMap::new();
    collect(schema, "", &mut patterns);
    patterns
}

fn collect<'a>(value: &'a Value, at: &str, patterns: &mut BTreeMap<&'a str, String>) {
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, &format!("{at}/{number}"), patterns);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}/{}", escape(name));
                match (name.as_str(), field) {
                    ("pattern", Value::String(pattern)) => {
                        patterns.entry(pattern).or_insert(at);
                        continue;
                    }
                    ("patternProperties", Value::Object(fields)) => {
                        for pattern in fields.keys() {
                            patterns.entry(pattern).or_insert_with(|| at.clone());
                        }
                    }
                    _ => {}
                }
                collect(field, &at, patterns);
            }
        }
        _ => {}
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_is_found_wherever_it_stands() {
        let schema = json!({
            "properties": {"a/b": {"anyOf": [{"pattern": "^a"}, {"pattern": "^a"}]}},
            "patternProperties": {"^p": {"pattern": "^v"}},
        });
        let found = of(&schema);
        let found: Vec<_> = found.iter().map(|(is, at)| (*is, at.as_str())).collect();
        let expected = [
            ("^a", "/properties/a~1b/anyOf/0/pattern"),
            ("^p", "/patternProperties"),
            ("^v", "/patternProperties/^p/pattern"),
        ];
        assert_eq!(found, expected);
    }
}
