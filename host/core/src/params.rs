//! The params of a plugin, checked against the JSON Schema that the plugin declares.

mod size;

use std::fmt;

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use crate::request::Violation;

/// The draft that schemas are written in, as `$schema` names it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Subschemas and values of a schema with its references written out. The largest schema in the box
/// has some hundred.
const SIZE_MAX: u64 = 100_000;
/// Bytes of one compiled regular expression.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled JSON Schema. References to anything outside the schema itself do not resolve.
///
/// A plugin wrote it, and requests are checked against it outside of the plugin's limits: so it is
/// bounded in size, and regular expressions are of the kind that takes time linear in the text.
pub struct ParamsSchema {
    validator: jsonschema::Validator,
}

/// A text that is no usable schema.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    /// It is not JSON.
    #[error("params-schema is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It names another draft.
    #[error("params-schema is of the draft `{0}`, write it in `{DRAFT}`, or leave `$schema` out")]
    OtherDraft(String),
    /// A reference leads out of the schema.
    #[error(
        "params-schema refers to `{0}`, references lead to `#` or to `#/…` in the same schema: move what \
         is meant below `$defs`"
    )]
    Reference(String),
    /// References make it larger than it looks.
    #[error(
        "params-schema has {0} parts with its references written out, at most {SIZE_MAX} are allowed: \
         refer to less"
    )]
    TooLarge(u64),
    /// No params would ever fit.
    #[error("params-schema wants the type {0}, params are an object: use the type `object`")]
    NoObject(String),
    /// It is JSON but no JSON Schema.
    #[error("params-schema is not a JSON Schema: {0}")]
    NotASchema(String),
}

impl ParamsSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When the text is not JSON, no JSON Schema of draft 2020-12, or one that costs too much.
    pub fn parse(schema: &str) -> Result<Self, InvalidSchema> {
        let schema: Value = serde_json::from_str(schema).map_err(InvalidSchema::NotJson)?;
        match schema.get("$schema") {
            Some(Value::String(draft)) if draft.trim_end_matches('#') != DRAFT => {
                return Err(InvalidSchema::OtherDraft(draft.clone()));
            }
            _ => {}
        }
        match size::written_out(&schema) {
            Ok(size) if size <= SIZE_MAX => {}
            Ok(size) => return Err(InvalidSchema::TooLarge(size)),
            Err(reference) => return Err(InvalidSchema::Reference(reference)),
        }
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(&schema)
            .map_err(|error| InvalidSchema::NotASchema(error.to_string()))?;
        match schema.get("type") {
            Some(Value::String(one)) if one != "object" => {
                Err(InvalidSchema::NoObject(format!("`{one}`")))
            }
            Some(Value::Array(types)) if !types.iter().any(|one| one == "object") => {
                let types = Value::Array(types.clone());
                Err(InvalidSchema::NoObject(format!("`{types}`")))
            }
            _ => Ok(Self { validator }),
        }
    }

    /// Every rule that `params` breaks; `field` is the request field that they came in.
    #[must_use]
    pub fn violations(&self, field: &str, params: &Value) -> Vec<Violation> {
        self.validator
            .iter_errors(params)
            .map(|error| {
                Violation::new(
                    format!("{field}{}", error.instance_path()),
                    error.to_string(),
                )
            })
            .collect()
    }
}

impl fmt::Debug for ParamsSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamsSchema").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_that_do_not_fit_are_named_by_path_and_rule() {
        let schema = ParamsSchema::parse(
            r#"{"type": "object", "properties": {"stop": {"type": "object", "properties": {"m": {"minimum": 1}}}}}"#,
        )
        .unwrap();
        assert!(
            schema
                .violations("params", &serde_json::json!({}))
                .is_empty()
        );
        let broken = schema.violations("params", &serde_json::json!({"stop": {"m": 0}}));
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].field, "params/stop/m");
        assert!(
            broken[0].rule.contains("minimum of 1"),
            "{}",
            broken[0].rule
        );
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(ParamsSchema::parse("{").is_err());
        assert!(ParamsSchema::parse(r#"{"type": "no such type"}"#).is_err());
    }

    #[test]
    fn what_no_request_could_fit_or_afford_is_refused() {
        let refused = |schema: Value| {
            let parsed = ParamsSchema::parse(&schema.to_string());
            parsed.unwrap_err().to_string()
        };
        let older = "http://json-schema.org/draft-07/schema#";
        let reason = refused(serde_json::json!({ "$schema": older }));
        assert!(reason.contains("draft-07") && reason.contains(DRAFT));
        let reason = refused(serde_json::json!({"type": "array"}));
        assert!(reason.contains("wants the type `array`"), "{reason}");
        let reason = refused(serde_json::json!({"$ref": "file:///etc/passwd"}));
        assert!(
            reason.contains("refers to `file:///etc/passwd`"),
            "{reason}"
        );
        let reason = refused(serde_json::json!({"properties": {"x": {"pattern": "(a|b){99999}"}}}));
        assert!(reason.contains("is not a JSON Schema"), "{reason}");
        // Nothing that looks back takes time linear in the text.
        let reason = refused(serde_json::json!({"properties": {"x": {"pattern": "(a)\\1"}}}));
        assert!(reason.contains("is not a JSON Schema"), "{reason}");
        let newer = serde_json::json!({"$schema": DRAFT, "type": ["object", "null"]});
        assert!(ParamsSchema::parse(&newer.to_string()).is_ok());
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = r##"{"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}"##;
        let schema = ParamsSchema::parse(schema).unwrap();
        let params = serde_json::json!({"next": {"next": {"n": "x"}}});
        assert_eq!(
            schema.violations("params", &params)[0].field,
            "params/next/next/n"
        );
        for schema in [r##"{"$ref": "#"}"##, r##"{"allOf": [{"$ref": "#"}]}"##] {
            let schema = ParamsSchema::parse(schema).unwrap();
            assert!(schema.violations("params", &params).is_empty());
        }
    }
}
