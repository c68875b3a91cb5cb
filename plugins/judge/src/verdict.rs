//! Reading a grade out of what a judge said.

use conclave_sdk::extract::{Extract, json_in};
use serde_json::{Value, json};

/// A grade and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) grade: u32,
    pub(crate) rationale: Option<String>,
}

/// The JSON Schema of a verdict.
pub(crate) fn schema(scale: u32) -> Value {
    json!({
        "type": "object",
        "properties": {
            "rationale": {"type": "string"},
            "grade": {"type": "integer", "minimum": 1, "maximum": scale}
        },
        "required": ["rationale", "grade"],
        "additionalProperties": false
    })
}

/// The verdict in a text, if it has a grade from 1 to `scale`.
pub(crate) fn read(text: &str, scale: u32) -> Option<Verdict> {
    from_json(text, scale).or_else(|| {
        let grade = grade_in_words(text, scale)?;
        let rationale = text.trim();
        let is_number_only = rationale.parse::<u32>().is_ok();
        Some(Verdict {
            grade,
            rationale: (!is_number_only).then(|| rationale.to_owned()),
        })
    })
}

fn from_json(text: &str, scale: u32) -> Option<Verdict> {
    let verdict = json_in(text)?;
    let grade = match verdict.get("grade")? {
        Value::String(text) => text.trim().parse().ok()?,
        number => number.as_f64()?,
    };
    let rationale = verdict.get("rationale").and_then(Value::as_str);
    Some(Verdict {
        grade: within(grade, scale)?,
        rationale: rationale.map(str::to_owned),
    })
}

fn grade_in_words(text: &str, scale: u32) -> Option<u32> {
    let number = r"(\d{1,3}(?:\.\d+)?)";
    let named = format!(r#"(?i)\b(?:grade|score|rating)\b["*:=\s]*(?:is|of)?[*\s]*{number}\b"#);
    let of_scale = format!(r"(?i){number}\s*(?:/|out of)\s*{scale}\b");
    [named, of_scale]
        .into_iter()
        .find_map(|pattern| {
            let rule = Extract::Regex {
                pattern,
                group: Some(1),
            };
            rule.compile().ok()?.answer(text)?.parse().ok()
        })
        .or_else(|| only_number(text))
        .and_then(|grade| within(grade, scale))
}

/// The number of a text with one number.
fn only_number(text: &str) -> Option<f64> {
    let mut digits = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|part| part.trim_matches('.'))
        .filter(|part| !part.is_empty());
    let number = digits.next()?;
    match digits.next() {
        None => number.parse().ok(),
        Some(_) => None,
    }
}

/// The whole grade nearest to a number that is within the scale.
fn within(grade: f64, scale: u32) -> Option<u32> {
    (1..=scale)
        .find(|whole| (f64::from(*whole) - grade).abs() <= 0.5)
        .filter(|_| (1.0..=f64::from(scale)).contains(&grade))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(text: &str) -> Option<u32> {
        read(text, 10).map(|verdict| verdict.grade)
    }

    #[test]
    fn json_is_read_with_its_rationale() {
        let verdict = read(r#"Sure! {"rationale": "Right.", "grade": 8}"#, 10).unwrap();
        assert_eq!(verdict.grade, 8);
        assert_eq!(verdict.rationale.as_deref(), Some("Right."));
        assert_eq!(grade(r#"{"grade": "7"}"#), Some(7));
        assert_eq!(grade(r#"{"grade": 6.7}"#), Some(7));
    }

    #[test]
    fn weaker_forms_are_read_in_order() {
        assert_eq!(grade("Of 3 facts 2 are wrong. Grade: 4"), Some(4));
        assert_eq!(grade("**Score:** 9/10, 2 points"), Some(9));
        assert_eq!(grade("I give 7 out of 10 for 2 ideas."), Some(7));
        assert_eq!(grade("5"), Some(5));
        assert_eq!(grade("It deserves 6."), Some(6));
    }

    #[test]
    fn what_is_no_grade_is_not_guessed() {
        assert_eq!(grade("It is good."), None);
        assert_eq!(grade("Between 6 and 8"), None);
        assert_eq!(grade("11"), None);
        assert_eq!(grade("0"), None);
        assert_eq!(grade(r#"{"grade": 12}"#), None);
    }
}
