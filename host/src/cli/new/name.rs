//! The name of a project, which is that of its plugin.

use std::fmt;

use super::project::Language;

/// A plugin's name that its language takes too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProjectName(String);

/// Names of crates that a project in Rust depends on, or that the language keeps for itself.
const TAKEN_IN_RUST: [&str; 10] = [
    "alloc",
    "conclave-sdk",
    "core",
    "proc-macro",
    "schemars",
    "serde",
    "serde-json",
    "std",
    "test",
    "wit-bindgen",
];

const KEYWORDS_OF_RUST: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

impl ProjectName {
    /// Takes a name that the host takes: 1 to 64 characters, lower-case words of letters and digits,
    /// with hyphens between them. The error is a sentence.
    pub(super) fn parse(text: &str, language: Language) -> Result<Self, String> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let begins_with_a_letter = text.starts_with(|first: char| first.is_ascii_lowercase());
        if text.len() > 64 || !begins_with_a_letter || !text.split('-').all(is_word) {
            return Err(format!(
                "`{text}` is no name of a plugin: it has 1 to 64 characters, lower-case words of \
                 letters and digits with hyphens between them, for example `colour-vote`"
            ));
        }
        let is_taken = TAKEN_IN_RUST.contains(&text) || KEYWORDS_OF_RUST.contains(&text);
        if language == Language::Rust && is_taken {
            return Err(format!(
                "a crate cannot be named `{text}`, which Rust uses otherwise: add a word to it"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// As in `colour-vote`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As in `colour_vote`.
    pub(super) fn snake_case(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As in `ColourVotePlugin`: without the last word, a plugin `task` would hide the type `Task`.
    pub(super) fn type_name(&self) -> String {
        let words = self.0.split('-').filter(|word| *word != "plugin");
        let words = words.chain(["plugin"]).map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        });
        words.collect()
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_forms_that_languages_want() {
        let name = ProjectName::parse("colour-vote-2", Language::Rust).unwrap();
        assert_eq!(name.snake_case(), "colour_vote_2");
        assert_eq!(name.type_name(), "ColourVote2Plugin");
        let named_so = ProjectName::parse("my-plugin", Language::Rust).unwrap();
        assert_eq!(named_so.type_name(), "MyPlugin");
    }

    #[test]
    fn what_the_host_would_refuse_is_refused() {
        for text in [
            "",
            "Vote",
            "2-votes",
            "colour--vote",
            "-vote",
            "vote-",
            "a_b",
            "ä",
            "../x",
        ] {
            let error = ProjectName::parse(text, Language::Js).unwrap_err();
            assert!(error.contains(&format!("`{text}` is no name")), "{error}");
        }
        assert!(ProjectName::parse(&"a".repeat(65), Language::Js).is_err());
        assert!(ProjectName::parse(&"a".repeat(64), Language::Js).is_ok());
    }

    #[test]
    fn what_rust_uses_otherwise_is_refused_for_rust_alone() {
        for text in ["serde", "match", "conclave-sdk"] {
            let error = ProjectName::parse(text, Language::Rust).unwrap_err();
            assert!(error.contains("add a word"), "{error}");
            assert!(ProjectName::parse(text, Language::Python).is_ok());
        }
    }
}
