//! Reads the API keys that a configuration refers to.

use conclave_core::endpoint::Endpoint;

use super::environment::Environment;
use super::problem::{Origin, Problem};
use super::settings::{Inference, Key};
use crate::openai::ApiKey;

/// The keys that can be read, and what is wrong with the others.
pub(super) fn read(
    inference: &Inference,
    environment: &Environment,
    origin: &Origin,
) -> (Vec<(Endpoint, ApiKey)>, Vec<Problem>) {
    let mut keys = Vec::new();
    let mut problems = Vec::new();
    for (at, key) in inference.keys.iter().enumerate() {
        match secret(key, environment) {
            Ok(secret) => keys.push((key.endpoint.clone(), ApiKey::new(secret))),
            Err((field, value, rule)) => problems.push(Problem::BadValue {
                key: format!("inference.keys[{at}].{field}"),
                value,
                origin: origin.clone(),
                rule,
            }),
        }
    }
    (keys, problems)
}

/// The key itself, or the field that does not lead to it, its value, and the rule.
fn secret(key: &Key, environment: &Environment) -> Result<String, (&'static str, String, String)> {
    let secret = match (&key.api_key_file, &key.api_key_env) {
        (Some(path), None) => {
            let shown = format!("`{}`", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| {
                (
                    "api_key_file",
                    shown,
                    format!("must be a readable file: {error}"),
                )
            })?;
            text.trim().to_owned()
        }
        (None, Some(name)) => {
            let unset = || {
                (
                    "api_key_env",
                    format!("`{name}`"),
                    "must name a variable that is set".to_owned(),
                )
            };
            environment.get(name).ok_or_else(unset)?.trim().to_owned()
        }
        _ => {
            let rule = "must have exactly one of `api_key_file` and `api_key_env`".to_owned();
            return Err(("endpoint", format!("`{}`", key.endpoint), rule));
        }
    };
    let visible = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible {
        let rule = "must lead to visible ASCII characters without spaces".to_owned();
        return Err(("endpoint", format!("`{}`", key.endpoint), rule));
    }
    Ok(secret)
}
