//! Params of plugins as they are typed: a JSON object, and single params over it.

use serde_json::{Map, Value};

use super::failure::Usage;

/// The JSON text of all params together; empty when none was typed. `flag` names where the object was
/// typed.
pub(super) fn params(
    flag: &str,
    object: Option<&str>,
    single: &[(String, String)],
) -> Result<String, Usage> {
    if object.is_none() && single.is_empty() {
        return Ok(String::new());
    }
    let mut params = match object.map(serde_json::from_str) {
        None => Map::new(),
        Some(Ok(Value::Object(params))) => params,
        Some(Ok(other)) => {
            return Err(Usage(format!(
                "{flag} is `{other}`, it must be a JSON object"
            )));
        }
        Some(Err(error)) => return Err(Usage(format!("{flag} is not JSON: {error}"))),
    };
    for (key, text) in single {
        set(&mut params, key, value(text)).map_err(|part| {
            Usage(format!(
                "`{key}={text}` has no place: `{part}` is no JSON object already"
            ))
        })?;
    }
    Ok(Value::Object(params).to_string())
}

/// JSON where it is JSON, else a text: `5`, `true` and `["a"]` mean what they look like.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn set<'k>(params: &mut Map<String, Value>, key: &'k str, value: Value) -> Result<(), &'k str> {
    let Some((first, rest)) = key.split_once('.') else {
        params.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = params
        .entry(first)
        .or_insert_with(|| Value::Object(Map::new()));
    match inner {
        Value::Object(inner) => set(inner, rest, value),
        _ => Err(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(object: Option<&str>, single: &[(&str, &str)]) -> String {
        let single: Vec<_> = single
            .iter()
            .map(|(key, text)| ((*key).into(), (*text).into()))
            .collect();
        params("--params", object, &single).unwrap_or_else(|usage| usage.to_string())
    }

    #[test]
    fn single_params_lie_over_the_object() {
        assert_eq!(typed(None, &[]), "");
        assert_eq!(
            typed(
                Some(r#"{"a":1,"b":{"c":2}}"#),
                &[("b.d", "[3]"), ("a", "x")]
            ),
            r#"{"a":"x","b":{"c":2,"d":[3]}}"#
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(
            typed(Some("[1]"), &[]),
            "--params is `[1]`, it must be a JSON object"
        );
        assert!(typed(Some("{"), &[]).starts_with("--params is not JSON: "));
        assert_eq!(
            typed(Some(r#"{"a":1}"#), &[("a.b", "2")]),
            "`a.b=2` has no place: `a` is no JSON object already"
        );
    }
}
