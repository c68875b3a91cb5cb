//! How large a schema is when its references are written out: a few lines that refer to each other
//! twice a level can take longer to evaluate than anybody waits.

use std::collections::HashMap;

use serde_json::Value;

/// The subschemas and values of a schema, each reference counted as what it refers to.
///
/// A reference that leads back to where it stands counts once: it is followed only as deep as the
/// params go.
///
/// # Errors
/// The first reference that is none into the schema itself.
pub(super) fn written_out(schema: &Value) -> Result<u64, String> {
    let mut sizes = Sizes {
        root: schema,
        known: HashMap::new(),
    };
    sizes.of(schema)
}

struct Sizes<'a> {
    root: &'a Value,
    /// What is behind a reference; `None` while it is being counted.
    known: HashMap<&'a str, Option<u64>>,
}

impl<'a> Sizes<'a> {
    fn of(&mut self, value: &'a Value) -> Result<u64, String> {
        let mut size = 1_u64;
        match value {
            Value::Array(items) => {
                for item in items {
                    size = size.saturating_add(self.of(item)?);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    let inner = match (name.as_str(), field) {
                        ("$ref" | "$dynamicRef", Value::String(reference)) => {
                            self.behind(reference)?
                        }
                        _ => self.of(field)?,
                    };
                    size = size.saturating_add(inner);
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn behind(&mut self, reference: &'a str) -> Result<u64, String> {
        if let Some(known) = self.known.get(reference) {
            return Ok(known.unwrap_or(1));
        }
        let pointer = reference.strip_prefix('#').map(unescape);
        let target = pointer.and_then(|pointer| self.root.pointer(&pointer));
        let target = target.ok_or_else(|| reference.to_owned())?;
        self.known.insert(reference, None);
        let size = self.of(target)?;
        self.known.insert(reference, Some(size));
        Ok(size)
    }
}

/// A JSON pointer out of a fragment, in which some characters stand percent-encoded.
fn unescape(fragment: &str) -> String {
    let decoded = url::form_urlencoded::parse(
        // Not a form: a plus is a plus, and nothing separates fields.
        fragment
            .replace('+', "%2B")
            .replace('&', "%26")
            .replace('=', "%3D")
            .as_bytes(),
    )
    .next()
    .map(|(decoded, _)| decoded.into_owned());
    decoded.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_count_as_what_they_refer_to() {
        let schema =
            json!({"$defs": {"a": {"minimum": 1}}, "properties": {"x": {"$ref": "#/$defs/a"}}});
        // The root, `$defs`, `a`, its minimum, `properties`, `x`, and `a` with its minimum again.
        assert_eq!(written_out(&schema), Ok(8));
        let encoded = json!({"$defs": {"a+b c": {}}, "$ref": "#/%24defs/a+b%20c"});
        assert_eq!(written_out(&encoded), Ok(4));
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_finite() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        assert!(written_out(&tree).unwrap() < 20);
        assert_eq!(written_out(&json!({"$ref": "#"})), Ok(3));
    }

    #[test]
    fn what_doubles_a_level_is_as_large_as_it_is() {
        let mut defs = serde_json::Map::new();
        for level in 0..40 {
            let below = json!({"$ref": format!("#/$defs/l{}", level + 1)});
            defs.insert(format!("l{level}"), json!({"allOf": [below, below]}));
        }
        defs.insert("l40".to_owned(), json!({"minimum": 1}));
        let schema = json!({"$defs": defs, "$ref": "#/$defs/l0"});
        assert!(written_out(&schema).unwrap() > 1 << 40);
    }

    #[test]
    fn references_elsewhere_are_named() {
        for reference in [
            "https://example.org/s",
            "other.json",
            "#anchor",
            "#/missing",
        ] {
            let schema = json!({"items": {"$ref": reference}});
            assert_eq!(written_out(&schema), Err(reference.to_owned()));
        }
    }
}
