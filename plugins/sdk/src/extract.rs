//! Finding the answer in what a model said.
//!
//! Votes compare answers, and models wrap them in words. A client says with an [`Extract`] rule
//! where the answer is; a plugin compiles it once and asks the [`Extractor`] about each text. A
//! text in which the rule finds nothing has no answer: it abstains.

mod numbers;

use regex_lite::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// Where the answer is in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Extract {
    /// The whole text, without regard to case and to spaces around and between words.
    #[default]
    Text,
    /// The first line that is not blank, compared like `text`.
    FirstLine,
    /// The first whole number.
    FirstInteger,
    /// The last whole number.
    LastInteger,
    /// The last number, whole or decimal.
    LastNumber,
    /// The listed word or phrase that stands first in the text, as a whole word and without regard
    /// to case.
    Choice {
        /// The words or phrases, as they shall be reported.
        #[schemars(length(min = 1))]
        choices: Vec<String>,
    },
    /// The rest of the line after the last place where the marker stands, compared like `text`.
    After {
        /// The marker, for example `####` or `Answer:`, without regard to case.
        #[schemars(length(min = 1))]
        marker: String,
    },
    /// A member of the JSON object or array in the text.
    JsonPointer {
        /// An RFC 6901 pointer, for example `/answer`.
        pointer: String,
    },
    /// What a regular expression matches first, compared like `text`.
    Regex {
        /// The expression, in the syntax of the Rust crate `regex`.
        pattern: String,
        /// The group that is the answer: the first one if there is one, else the whole match.
        #[serde(default)]
        group: Option<u8>,
    },
}

/// A rule that is ready for use.
#[derive(Debug, Clone)]
pub struct Extractor {
    rule: Extract,
    regex: Option<Regex>,
}

impl Extract {
    /// Makes the rule ready for use.
    ///
    /// # Errors
    ///
    /// Fails on what the schema cannot tell: a regular expression that does not compile or lacks
    /// the group, and a pointer that does not begin with `/`.
    pub fn compile(&self) -> Result<Extractor, Error> {
        let regex = match self {
            Self::Regex { pattern, group } => {
                let regex = Regex::new(pattern)
                    .map_err(|error| Error::new(error).context("extract: pattern"))?;
                let group = group.map_or(0, usize::from);
                if group >= regex.captures_len() {
                    return Err(Error::new(format_args!(
                        "extract: pattern `{pattern}` has no group {group}"
                    )));
                }
                Some(regex)
            }
            Self::JsonPointer { pointer } if !pointer.is_empty() && !pointer.starts_with('/') => {
                return Err(Error::new(format_args!(
                    "extract: pointer `{pointer}` does not begin with `/`"
                )));
            }
            _ => None,
        };
        Ok(Extractor {
            rule: self.clone(),
            regex,
        })
    }
}

impl Extractor {
    /// The answer in a text, in the one form that equal answers share; `None` if there is none.
    #[must_use]
    pub fn answer(&self, text: &str) -> Option<String> {
        let answer = match &self.rule {
            Extract::Text => normalized(text),
            Extract::FirstLine => normalized(text.lines().find(|line| !line.trim().is_empty())?),
            Extract::FirstInteger => numbers::all(text).find_map(numbers::Number::integer)?,
            Extract::LastInteger => numbers::all(text)
                .filter_map(numbers::Number::integer)
                .last()?,
            Extract::LastNumber => numbers::all(text).last()?.decimal(),
            Extract::Choice { choices } => first_choice(text, choices)?,
            Extract::After { marker } => normalized(after(text, marker)?),
            Extract::JsonPointer { pointer } => json_answer(json_in(text)?.pointer(pointer)?),
            Extract::Regex { group, .. } => {
                let regex = self.regex.as_ref()?;
                let captures = regex.captures(text)?;
                let first = usize::from(regex.captures_len() > 1);
                normalized(captures.get(group.map_or(first, usize::from))?.as_str())
            }
        };
        (!answer.is_empty()).then_some(answer)
    }
}

/// A text in lower case, without spaces around it and with one between words: the form in which
/// texts are compared.
#[must_use]
pub fn normalized(text: &str) -> String {
    let mut normalized = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normalized.is_empty() {
            normalized.push(' ');
        }
        normalized.push_str(&word.to_lowercase());
    }
    normalized
}

/// The JSON value in a text: the text itself, or what lies between its first opening and its last
/// closing bracket, as models like to put words or a fence around it.
#[must_use]
pub fn json_in(text: &str) -> Option<Value> {
    let parse = |part: &str| serde_json::from_str(part).ok();
    parse(text.trim()).or_else(|| {
        let start = text.find(['{', '['])?;
        let end = text.rfind(['}', ']'])?;
        parse(text.get(start..=end)?)
    })
}

/// The last whole number in a text, if it fits.
#[must_use]
pub fn last_integer(text: &str) -> Option<i64> {
    let integers = numbers::all(text).filter_map(numbers::Number::integer);
    integers.last()?.parse().ok()
}

fn first_choice(text: &str, choices: &[String]) -> Option<String> {
    let text = text.to_lowercase();
    let mut first: Option<(usize, &String)> = None;
    for choice in choices {
        let Some(position) = word_position(&text, &choice.to_lowercase()) else {
            continue;
        };
        // Of two that begin at one place, the longer is meant.
        let earlier = first.is_none_or(|(other, chosen)| {
            position < other || (position == other && choice.len() > chosen.len())
        });
        if earlier {
            first = Some((position, choice));
        }
    }
    first.map(|(_, choice)| choice.clone())
}

/// Where a word first stands by itself.
fn word_position(text: &str, word: &str) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    text.match_indices(word)
        .map(|(position, _)| position)
        .find(|position| {
            let before = text[..*position].chars().next_back();
            let after = text[position + word.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
}

fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    // ASCII only, since other letters may change their length and with it the positions.
    let place = text
        .to_ascii_lowercase()
        .rfind(&marker.to_ascii_lowercase())?;
    text[place + marker.len()..].lines().next()
}

fn json_answer(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => normalized(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
