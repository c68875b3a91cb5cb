//! The files of a project, and the commands with which it is built.

use std::collections::BTreeMap;

use super::embedded::{below, text};
use super::manifest;
use super::name::ProjectName;

/// The release of the contract that projects are written for.
const CONTRACT: &str = "0.1.0";

/// What a project makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// It decides which generations to run.
    Strategy,
    /// It grades candidates.
    Scorer,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Strategy => "strategy",
            Self::Scorer => "scorer",
        }
    }

    /// How to run a deliberation with a plugin of this kind.
    fn run(self) -> &'static str {
        match self {
            Self::Strategy => "`conclave run \"Name a colour.\" --agents 3 --strategy my-plugin`.",
            Self::Scorer => "`conclave run \"Name a colour.\" --agents 3 --scorer my-plugin`.",
        }
    }
}

/// What a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust, for the target wasm32-wasip2, or with cargo component.
    Rust,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with jco.
    Js,
}

impl Language {
    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Js => "JavaScript",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Js => "js",
        }
    }
}

/// A project that is not written yet.
#[derive(Debug)]
pub(super) struct Project {
    /// Text by path, with `/`.
    pub(super) files: BTreeMap<String, String>,
    pub(super) steps: Steps,
}

/// Commands in the project's directory.
#[derive(Debug)]
pub(super) struct Steps {
    /// Once: installs what builds it.
    pub(super) setup: String,
    /// Makes the component.
    pub(super) build: String,
    /// Tests it natively.
    pub(super) test: String,
    /// Where the component is then.
    pub(super) component: String,
}

impl Project {
    /// A project of this name.
    ///
    /// # Errors
    /// When this binary embeds what it cannot read.
    pub(super) fn new(name: &ProjectName, kind: Kind, language: Language) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let template = format!("plugins/templates/{}", language.folder());
        let cases = format!("plugins/templates/cases/{}", kind.as_str());
        let own = format!("{template}/{}", kind.as_str());
        for dir in [format!("{template}/common"), own, cases] {
            for (path, text) in below(&dir) {
                // A file of this name would ignore files of the templates themselves.
                let path = if path == "gitignore" {
                    ".gitignore"
                } else {
                    path
                };
                files.insert(path.to_owned(), fill(text, name, kind));
            }
        }
        let contract = format!("wit/{CONTRACT}");
        match language {
            Language::Rust => {
                let sdk = manifest::of_sdk(text("plugins/sdk/Cargo.toml"), text("Cargo.toml"))?;
                files.insert("vendor/conclave-sdk/Cargo.toml".to_owned(), sdk);
                vendor(&mut files, "plugins/sdk/src", "vendor/conclave-sdk/src");
                vendor(&mut files, &contract, "vendor/conclave-sdk/wit");
            }
            Language::Python => {
                vendor(
                    &mut files,
                    "plugins/python/conclave_sdk",
                    "vendor/conclave_sdk",
                );
                vendor(&mut files, &contract, "wit");
            }
            Language::Js => {
                vendor(&mut files, "plugins/js/src", "vendor/conclave-sdk");
                vendor(&mut files, &contract, "wit");
                // The tools are the same: only the project's own name differs.
                let lock = text("plugins/js/package-lock.json");
                let lock = lock.replace(
                    "\"name\": \"conclave-sdk\"",
                    &format!("\"name\": \"{name}\""),
                );
                files.insert("package-lock.json".to_owned(), lock);
            }
        }
        Ok(Self {
            files,
            steps: Steps::new(name, kind, language),
        })
    }
}

impl Steps {
    fn new(name: &ProjectName, kind: Kind, language: Language) -> Self {
        let kind = kind.as_str();
        match language {
            Language::Rust => Self {
                setup: "rustup target add wasm32-wasip2".to_owned(),
                build: "cargo build --release --target wasm32-wasip2".to_owned(),
                test: "cargo test".to_owned(),
                component: format!("target/wasm32-wasip2/release/{}.wasm", name.snake_case()),
            },
            Language::Python => Self {
                setup: "python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt"
                    .to_owned(),
                build: format!(
                    "componentize-py -d wit -w {kind} componentize app -p . -p vendor -o {name}.wasm"
                ),
                test: "pytest".to_owned(),
                component: format!("{name}.wasm"),
            },
            Language::Js => Self {
                setup: "npm ci".to_owned(),
                build: "npm run build".to_owned(),
                test: "npm test".to_owned(),
                component: format!("{name}.wasm"),
            },
        }
    }
}

/// Templates are whole programs with the name `my-plugin`, so that they can be read, linted and run
/// as they are; this puts the project's name in its place.
fn fill(template: &str, name: &ProjectName, kind: Kind) -> String {
    template
        .replace("@RUN@", kind.run())
        .replace("@KIND@", kind.as_str())
        .replace("my-plugin", name.as_str())
        .replace("my_plugin", &name.snake_case())
        .replace("MyPlugin", &name.type_name())
}

fn vendor(files: &mut BTreeMap<String, String>, from: &str, to: &str) {
    for (path, text) in below(from) {
        files.insert(format!("{to}/{path}"), text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn project(kind: Kind, language: Language) -> Project {
        let name = ProjectName::parse("colour-vote", language).unwrap();
        Project::new(&name, kind, language).unwrap()
    }

    #[test]
    fn no_name_of_a_plugin_hides_what_its_project_uses() {
        const AWKWARD: [&str; 16] = [
            "candidate",
            "context",
            "default",
            "error",
            "option",
            "outcome",
            "params",
            "plugin",
            "score",
            "scorer",
            "session",
            "some",
            "strategy",
            "string",
            "task",
            "tests",
        ];
        for kind in [Kind::Strategy, Kind::Scorer] {
            let rust = &project(kind, Language::Rust).files["src/lib.rs"];
            for name in AWKWARD {
                let declared = ProjectName::parse(name, Language::Rust)
                    .unwrap()
                    .type_name();
                for others in [rust, text("plugins/sdk/src/prelude.rs")] {
                    let mut words = others.split(|c: char| !c.is_alphanumeric() && c != '_');
                    assert!(words.all(|word| word != declared), "{name}");
                }
            }
            // In these the name is a text and nothing else: `class` is as good as any other.
            for language in [Language::Python, Language::Js] {
                for (path, text) in &project(kind, language).files {
                    let is_identifier = ["colour_vote", "ColourVote"].map(|one| text.contains(one));
                    assert_eq!(is_identifier, [false, false], "{path}");
                }
            }
        }
    }

    const LANGUAGES: [Language; 3] = [Language::Rust, Language::Python, Language::Js];

    #[test]
    fn every_project_has_readme_tests_cases_and_contract_and_no_placeholder() {
        for language in LANGUAGES {
            for kind in [Kind::Strategy, Kind::Scorer] {
                let project = project(kind, language);
                let has = |end: &str| project.files.keys().any(|path| path.ends_with(end));
                for end in ["README.md", ".gitignore", "deliberation.wit", ".toml"] {
                    assert!(has(end), "{language:?} {kind:?} {end}");
                }
                let readme = &project.files["README.md"];
                assert!(readme.contains(&project.steps.build) || language == Language::Js);
                assert!(readme.contains(&project.steps.component), "{readme}");
                for (path, text) in &project.files {
                    let foreign = ["my-plugin", "my_plugin", "MyPlugin", "@KIND@", "@RUN@"];
                    let left = foreign.iter().find(|word| text.contains(*word));
                    assert_eq!(left, None, "{path}");
                }
            }
        }
    }

    #[test]
    fn the_lock_of_a_javascript_project_is_that_of_its_manifest() {
        let project = project(Kind::Scorer, Language::Js);
        let json = |path: &str| -> Value { serde_json::from_str(&project.files[path]).unwrap() };
        let (manifest, lock) = (json("package.json"), json("package-lock.json"));
        let root = &lock["packages"][""];
        assert_eq!(root["name"], "colour-vote");
        assert_eq!(root["devDependencies"], manifest["devDependencies"]);
        let of_sdk: Value = serde_json::from_str(text("plugins/js/package.json")).unwrap();
        for key in ["devDependencies", "overrides"] {
            assert_eq!(of_sdk[key], manifest[key], "{key}");
        }
        let registry = lock["packages"].as_object().unwrap().values();
        assert!(
            registry
                .clone()
                .all(|package| package.get("resolved").is_none())
        );
    }

    #[test]
    fn the_whole_sdk_comes_along() {
        let rust = project(Kind::Strategy, Language::Rust).files;
        for path in [
            "Cargo.toml",
            "src/lib.rs",
            "src/extract/numbers.rs",
            "wit/deliberation.wit",
        ] {
            assert!(
                rust.contains_key(&format!("vendor/conclave-sdk/{path}")),
                "{path}"
            );
        }
        let python = project(Kind::Strategy, Language::Python).files;
        assert!(python.contains_key("vendor/conclave_sdk/py.typed"));
        assert!(python.keys().all(|path| !path.contains("__pycache__")));
        let js = project(Kind::Strategy, Language::Js).files;
        assert!(js.contains_key("vendor/conclave-sdk/index.d.ts"));
    }
}
