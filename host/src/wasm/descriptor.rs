//! The rules of what a plugin says of itself.

use conclave_core::params::{InvalidSchema, ParamsSchema};
use conclave_core::plugin::Descriptor;
use semver::Version;

use super::Refusal;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;
/// Characters of a version.
const VERSION_CHARS_MAX: usize = 64;
/// Characters of a summary, which lists show in a line.
const SUMMARY_CHARS_MAX: usize = 300;
/// Bytes of a params schema. The largest one in the box has 6 kB.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Characters of what a plugin says that a reason repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The schema of the plugin's params, or every rule that the descriptor breaks.
pub(super) fn check(descriptor: &Descriptor) -> Result<ParamsSchema, Refusal> {
    let mut reasons = Vec::new();
    if !is_name(&descriptor.name) {
        reasons.push(format!(
            "describes itself with the name {}, a name has 1 to {NAME_CHARS_MAX} characters: lower-case \
             words of letters and digits, with hyphens between them",
            shown(&descriptor.name)
        ));
    }
    reasons.extend(version(&descriptor.version));
    reasons.extend(summary(&descriptor.summary));
    match params(&descriptor.params_schema) {
        Ok(params) if reasons.is_empty() => return Ok(params),
        Ok(_) => {}
        Err(reason) => reasons.push(reason),
    }
    Err(Refusal { reasons })
}

fn version(version: &str) -> Option<String> {
    let chars = version.chars().count();
    if chars > VERSION_CHARS_MAX {
        return Some(format!(
            "describes itself with a version of {chars} characters, a version has at most \
             {VERSION_CHARS_MAX}"
        ));
    }
    let error = Version::parse(version).err()?;
    Some(format!(
        "describes itself with the version {}, a version is semantic like `1.2.0`: {error}",
        shown(version)
    ))
}

fn summary(summary: &str) -> Option<String> {
    let chars = summary.chars().count();
    if summary.trim().is_empty() {
        return Some(
            "describes itself with an empty summary, a summary is one sentence".to_owned(),
        );
    }
    if chars > SUMMARY_CHARS_MAX {
        return Some(format!(
            "describes itself with a summary of {chars} characters, a summary is one sentence of at most \
             {SUMMARY_CHARS_MAX}"
        ));
    }
    summary.contains(char::is_control).then(|| {
        format!(
            "describes itself with the summary {}, a summary is one line of plain text",
            shown(summary)
        )
    })
}

fn params(schema: &str) -> Result<ParamsSchema, String> {
    let bytes = schema.len();
    if bytes > SCHEMA_BYTES_MAX {
        return Err(format!(
            "describes its params by a params-schema of {bytes} bytes, at most {SCHEMA_BYTES_MAX} are \
             allowed: shorten descriptions"
        ));
    }
    ParamsSchema::parse(schema).map_err(|error| match error {
        InvalidSchema::NotJson(error) => {
            format!("describes params by a params-schema that is not JSON: {error}")
        }
        error => format!("describes its params wrongly: {error}"),
    })
}

/// What a plugin wrote, short and in quotes.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_of_a_descriptor_is_listed() {
        let refusal = check(&Descriptor {
            name: "Sample_Vote".into(),
            version: "1".into(),
            summary: " ".into(),
            params_schema: "{".into(),
        });
        insta::assert_snapshot!(refusal.unwrap_err().reasons.join("\n"), @"
        describes itself with the name `Sample_Vote`, a name has 1 to 64 characters: lower-case words of letters and digits, with hyphens between them
        describes itself with the version `1`, a version is semantic like `1.2.0`: unexpected end of input while parsing major version number
        describes itself with an empty summary, a summary is one sentence
        describes params by a params-schema that is not JSON: EOF while parsing an object at line 1 column 1
        ");
        let refusal = check(&Descriptor {
            name: "vote".into(),
            version: "1.0.0".into(),
            summary: "Votes.".into(),
            params_schema: r#"{"type": "no such type"}"#.into(),
        });
        assert_eq!(refusal.unwrap_err().reasons.len(), 1);
    }

    #[test]
    fn what_is_too_long_is_refused_with_the_bound() {
        let refusal = check(&Descriptor {
            name: "vote".repeat(100),
            version: format!("1.0.0-{}", "a".repeat(100)),
            summary: "Votes. ".repeat(100),
            params_schema: " ".repeat(70_000),
        });
        insta::assert_snapshot!(refusal.unwrap_err().reasons.join("\n"), @"
        describes itself with the name `votevotevotevotevotevotevotevotevotevotevotevotevotevotevotevotevotevotevotevote…`, a name has 1 to 64 characters: lower-case words of letters and digits, with hyphens between them
        describes itself with a version of 106 characters, a version has at most 64
        describes itself with a summary of 700 characters, a summary is one sentence of at most 300
        describes its params by a params-schema of 70000 bytes, at most 65536 are allowed: shorten descriptions
        ");
        let refusal = check(&Descriptor {
            name: "vote".into(),
            version: "1.0.0".into(),
            summary: "Votes.\u{1b}[2J".into(),
            params_schema: r#"{"type": "string"}"#.into(),
        });
        insta::assert_snapshot!(refusal.unwrap_err().reasons.join("\n"), @r"
        describes itself with the summary `Votes.\u{1b}[2J`, a summary is one line of plain text
        describes its params wrongly: params-schema wants the type `string`, params are an object: use the type `object`
        ");
    }

    #[test]
    fn names_are_lower_case_words_with_hyphens() {
        for name in ["vote", "sample-vote", "a1-b2", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a--b", "A", "1a", "a b", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
