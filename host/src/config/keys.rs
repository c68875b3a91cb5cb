//! The keys that there are, their variables, and which is nearest to one that there is not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::settings::Config;

/// What every variable of the configuration starts with.
pub(super) const PREFIX: &str = "CONCLAVE_";

/// Every key with its default as JSON; `null` where the default is to have none.
pub(super) fn all() -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let defaults = serde_json::to_value(Config::default()).expect("settings are JSON");
    flatten("", defaults, &mut keys);
    keys
}

fn flatten(path: &str, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        // One whose members an operator names is a value of its own.
        Value::Object(table) if !table.is_empty() => {
            for (name, value) in table {
                flatten(&below(path, &name), value, keys);
            }
        }
        value => {
            keys.insert(path.to_owned(), value);
        }
    }
}

/// The path of `name` in the table at `path`.
pub(super) fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The name that is nearest to `wanted` by edit distance: to all of it, or to what stands behind its
/// last dot.
pub(super) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> &'a str {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let distance = |name: &'a str| {
        let whole = edit_distance(wanted, name);
        whole.min(edit_distance(wanted, last(name)) + 1)
    };
    known
        .into_iter()
        .min_by_key(|name| distance(name))
        .unwrap_or_default()
}

/// Levenshtein's distance, row by row.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, one) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(one != *other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let keys = all();
        let mut variables: Vec<_> = keys.keys().map(|key| variable(key)).collect();
        assert!(variables.contains(&"CONCLAVE_SERVER_GRPC_ADDR".to_owned()));
        assert!(variables.contains(&"CONCLAVE_PLUGINS_LIMITS_MEMORY_BYTES_MAX".to_owned()));
        assert!(variables.contains(&"CONCLAVE_INFERENCE_ENDPOINT".to_owned()));
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), keys.len());
    }

    #[test]
    fn the_nearest_key_is_found_with_and_without_its_section() {
        let keys = all();
        let nearest = |wanted| nearest(wanted, keys.keys().map(String::as_str));
        assert_eq!(
            nearest("inference.alowed_endpoints"),
            "inference.allowed_endpoints"
        );
        assert_eq!(nearest("grpc_addr"), "server.grpc_addr");
        assert_eq!(nearest("limits.retry_max"), "limits.retries_max");
    }

    #[test]
    fn the_distance_counts_edits() {
        for (left, right, distance) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("abc", "abc", 0),
        ] {
            assert_eq!(edit_distance(left, right), distance);
        }
    }
}
