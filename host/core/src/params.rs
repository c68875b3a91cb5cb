//! The params of a plugin, checked against the JSON Schema that the plugin declares.

use std::fmt;

use serde_json::Value;

use crate::request::Violation;

/// A compiled JSON Schema. References to anything outside the schema itself do not resolve.
pub struct ParamsSchema {
    validator: jsonschema::Validator,
}

/// A text that is no usable schema.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    /// It is not JSON.
    #[error("params-schema is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON but no JSON Schema.
    #[error("params-schema is not a JSON Schema: {0}")]
    NotASchema(String),
}

impl ParamsSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When the text is not JSON, or no JSON Schema of a known draft.
    pub fn parse(schema: &str) -> Result<Self, InvalidSchema> {
        let schema: Value = serde_json::from_str(schema).map_err(InvalidSchema::NotJson)?;
        let validator = jsonschema::validator_for(&schema)
            .map_err(|error| InvalidSchema::NotASchema(error.to_string()))?;
        Ok(Self { validator })
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
}
