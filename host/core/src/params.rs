//! The params of a plugin, checked against the JSON Schema that the plugin declares.

mod patterns;
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
/// Different regular expressions of a schema.
const PATTERNS_MAX: usize = 32;
/// Bytes of one compiled regular expression.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bytes of all of them together: each may have an equal share.
const PATTERNS_BYTES_MAX: usize = 4 << 20;
/// Characters of a pattern that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// A compiled JSON Schema. References to anything outside the schema itself do not resolve.
///
/// A plugin wrote it, and requests are checked against it outside of the plugin's limits: so it is
/// bounded in size, and regular expressions are of the kind that takes time linear in the text.
pub struct ParamsSchema {
    /// Or why there is none: an earlier build took the schema, and this one does not.
    validator: Result<jsonschema::Validator, String>,
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
    /// It has more regular expressions than anybody wants to wait for.
    #[error(
        "params-schema has {0} patterns in `pattern` and `patternProperties`, at most {PATTERNS_MAX} are \
         allowed: leave some out, or list values in `enum`"
    )]
    TooManyPatterns(usize),
    /// A regular expression is none, or one that costs too much.
    #[error(
        "params-schema has at `{at}` the pattern `{pattern}`, which is no regular expression, or one that \
         looks around or back, or takes more than {bytes_max} bytes: make it simpler"
    )]
    Pattern {
        /// Where it stands, as a JSON pointer.
        at: String,
        /// How it begins.
        pattern: String,
        /// Bytes that it may take when it is compiled.
        bytes_max: usize,
    },
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
        let validator = compiled(&schema)?;
        match schema.get("type") {
            Some(Value::String(one)) if one != "object" => {
                Err(InvalidSchema::NoObject(format!("`{one}`")))
            }
            Some(Value::Array(types)) if !types.iter().any(|one| one == "object") => {
                let types = Value::Array(types.clone());
                Err(InvalidSchema::NoObject(format!("`{types}`")))
            }
            _ => Ok(Self {
                validator: Ok(validator),
            }),
        }
    }

    /// In place of the schema of a plugin that an earlier build took and this one refuses: no params
    /// fit it, and the violation says why.
    #[must_use]
    pub fn refused(error: &InvalidSchema) -> Self {
        Self {
            validator: Err(format!(
                "cannot be checked, as this build refuses the plugin's schema that an earlier one took \
                 ({error}): use another version of the plugin"
            )),
        }
    }

    /// Whether it stands for a schema that this build refuses.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.validator.is_err()
    }

    /// Every rule that `params` breaks; `field` is the request field that they came in.
    #[must_use]
    pub fn violations(&self, field: &str, params: &Value) -> Vec<Violation> {
        let validator = match &self.validator {
            Ok(validator) => validator,
            Err(reason) => return vec![Violation::new(field, reason.as_str())],
        };
        validator
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

/// The validator of a schema, whose patterns are few and small.
fn compiled(schema: &Value) -> Result<jsonschema::Validator, InvalidSchema> {
    let patterns = patterns::of(schema);
    if patterns.len() > PATTERNS_MAX {
        return Err(InvalidSchema::TooManyPatterns(patterns.len()));
    }
    let bytes_max = PATTERN_BYTES_MAX.min(PATTERNS_BYTES_MAX / patterns.len().max(1));
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(bytes_max))
        .build(schema);
    validator.map_err(|error| {
        let pattern = error.instance().as_str();
        match pattern.and_then(|pattern| patterns.get_key_value(pattern)) {
            Some((pattern, at)) => InvalidSchema::Pattern {
                at: at.clone(),
                pattern: shown(pattern),
                bytes_max,
            },
            None => InvalidSchema::NotASchema(error.to_string()),
        }
    })
}

/// A pattern, short enough for a message.
fn shown(pattern: &str) -> String {
    match pattern.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &pattern[..end]),
        None => pattern.to_owned(),
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
        // Nothing that looks back takes time linear in the text.
        for pattern in ["(a|b){99999}", "(a)\\1"] {
            let property = serde_json::json!({"properties": {"x": {"pattern": pattern}}});
            let named = serde_json::json!({"patternProperties": {pattern: {}}});
            for (schema, at) in [
                (property, "/properties/x/pattern"),
                (named, "/patternProperties"),
            ] {
                let reason = refused(schema);
                let start = format!("params-schema has at `{at}` the pattern `{pattern}`, which");
                assert!(reason.starts_with(&start), "{reason}");
            }
        }
        let newer = serde_json::json!({"$schema": DRAFT, "type": ["object", "null"]});
        assert!(ParamsSchema::parse(&newer.to_string()).is_ok());
    }

    #[test]
    fn many_patterns_are_bounded_in_number_and_in_sum() {
        let schema = |count: usize, pattern: &str| {
            let properties = (0..count).map(|number| {
                let pattern = format!("{pattern}{number}");
                (
                    format!("p{number}"),
                    serde_json::json!({ "pattern": pattern }),
                )
            });
            let properties: serde_json::Map<_, _> = properties.collect();
            ParamsSchema::parse(&serde_json::json!({ "properties": properties }).to_string())
        };
        assert!(schema(PATTERNS_MAX, "^[a-z0-9_-]{1,64}$").is_ok());
        let error = schema(PATTERNS_MAX + 1, "^a").unwrap_err();
        assert!(
            matches!(error, InvalidSchema::TooManyPatterns(33)),
            "{error}"
        );
        assert!(schema(1, "\\p{L}{20}").is_ok());
        let error = schema(PATTERNS_MAX, "\\p{L}{20}").unwrap_err();
        assert!(matches!(error, InvalidSchema::Pattern { .. }), "{error}");
    }

    #[test]
    fn no_params_fit_a_schema_that_this_build_refuses() {
        let error = ParamsSchema::parse("{").unwrap_err();
        let schema = ParamsSchema::refused(&error);
        let violations = schema.violations("params", &serde_json::json!({}));
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "params");
        let rule = &violations[0].rule;
        assert!(rule.contains("params-schema is not JSON"), "{rule}");
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
