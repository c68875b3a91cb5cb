//! Reads the secrets that a configuration refers to.

use std::collections::BTreeMap;
use std::path::Path;

use conclave_core::endpoint::Endpoint;
use serde::Serializer;

use super::environment::Environment;
use super::problem::{Origin, Problem};
use super::settings::Inference;
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
        let place = Place {
            file: ("api_key_file", key.api_key_file.as_deref()),
            variable: ("api_key_env", key.api_key_env.as_deref()),
            owner: ("endpoint", key.endpoint.to_string()),
        };
        match secret(&place, environment) {
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

/// The variables of an environment, whose values may be secrets, by their names alone.
pub(super) fn hidden<S: Serializer>(
    variables: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(variables.keys().map(|name| (name, "(hidden)")))
}

/// Where a secret is; each with the field's name.
pub(super) struct Place<'a> {
    pub(super) file: (&'static str, Option<&'a Path>),
    pub(super) variable: (&'static str, Option<&'a str>),
    /// Whose it is.
    pub(super) owner: (&'static str, String),
}

/// The secret itself, or the field that does not lead to it, its value, and the rule.
pub(super) fn secret(
    place: &Place<'_>,
    environment: &Environment,
) -> Result<String, (&'static str, String, String)> {
    let (owner, of) = (place.owner.0, &place.owner.1);
    let secret = match (place.file, place.variable) {
        ((field, Some(path)), (_, None)) => {
            let shown = format!("`{}`", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| {
                let rule = format!("must be a readable file: {error}");
                (field, shown, rule)
            })?;
            text.trim().to_owned()
        }
        ((_, None), (field, Some(name))) => {
            let unset = || {
                let rule = "must name a variable that is set".to_owned();
                (field, format!("`{name}`"), rule)
            };
            environment.get(name).ok_or_else(unset)?.trim().to_owned()
        }
        ((file, _), (variable, _)) => {
            let rule = format!("must have exactly one of `{file}` and `{variable}`");
            return Err((owner, format!("`{of}`"), rule));
        }
    };
    let visible = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible {
        let rule = "must lead to visible ASCII characters without spaces".to_owned();
        return Err((owner, format!("`{of}`"), rule));
    }
    Ok(secret)
}
