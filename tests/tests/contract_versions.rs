//! A release of the contract between host and plugins stays as it is, and a compatible version breaks
//! no plugin of the release before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use conclave_tests::cache::hex;
use sha2::{Digest as _, Sha256};
use wit_parser::{Resolve, WorldId};

const WORLDS: [&str; 3] = ["plugin-base", "strategy", "scorer"];

/// Major, minor, patch.
type Version = [u64; 3];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

fn version(text: &str) -> Option<Version> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// The text of every version, released or in work.
fn versions() -> BTreeMap<Version, String> {
    let entries = fs::read_dir(wit()).expect("the contracts are there");
    let dirs = entries.map(|entry| entry.expect("it can be read").path());
    dirs.filter_map(|dir| {
        let version = version(dir.file_name()?.to_str()?)?;
        let text = fs::read_to_string(dir.join("deliberation.wit"));
        Some((version, text.expect("a version has this file")))
    })
    .collect()
}

/// The digests of released versions.
fn released() -> BTreeMap<Version, String> {
    let text = fs::read_to_string(wit().join("RELEASED")).expect("it is there");
    let lines = text.lines().filter_map(|line| {
        let (digest, name) = line.split_once("  ")?;
        Some((version(name)?, digest.to_owned()))
    });
    lines.collect()
}

/// The sha256 of the text without comments and blank lines, as `wit/README.md` tells.
fn digest(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim_end());
    let kept: String = lines
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    hex(&Sha256::digest(kept))
}

/// Whether a plugin of `old` may be linked with `new`, by the rule of semver: the leftmost number that
/// is not 0 is the same.
fn is_compatible(old: Version, new: Version) -> bool {
    let first = old.iter().position(|number| *number > 0).unwrap_or(2);
    old[..=first] == new[..=first]
}

fn world(resolve: &mut Resolve, text: &str, name: &str) -> anyhow::Result<Option<WorldId>> {
    let package = resolve.push_source("deliberation.wit", text)?;
    Ok(resolve.packages[package].worlds.get(name).copied())
}

/// Fails when a plugin of the old text cannot run where the new one is served. The versions of the
/// texts must differ.
fn check(old: &str, new: &str) -> anyhow::Result<()> {
    for name in WORLDS {
        let mut resolve = Resolve::default();
        let Some(old) = world(&mut resolve, old, name)? else {
            continue;
        };
        let new = world(&mut resolve, new, name)?;
        let new = new.with_context(|| format!("the world `{name}` is gone"))?;
        wit_component::semver_check(resolve, old, new)
            .with_context(|| format!("the world `{name}` breaks plugins"))?;
    }
    Ok(())
}

#[test]
fn every_released_contract_is_as_it_was_released() {
    let versions = versions();
    for (version, released) in released() {
        let text = versions.get(&version).expect("a release stays in `wit/`");
        assert_eq!(
            digest(text),
            released,
            "the released contract {version:?} has changed in more than comments: begin a new version \
             in a folder of its own, see wit/README.md"
        );
        assert!(text.contains(&format!(
            "package conclave:deliberation@{}.{}.{};",
            version[0], version[1], version[2]
        )));
    }
}

#[test]
fn at_most_one_version_is_in_work_and_it_is_the_last() {
    let released = released();
    let versions = versions();
    let in_work: Vec<_> = versions
        .keys()
        .filter(|one| !released.contains_key(*one))
        .collect();
    assert!(in_work.len() <= 1, "{in_work:?}");
    assert!(
        in_work
            .first()
            .is_none_or(|one| Some(*one) == versions.keys().last())
    );
    assert!(released.contains_key(&[0, 1, 0]), "{released:?}");
}

#[test]
fn a_compatible_version_breaks_no_plugin_of_the_one_before() {
    let versions: Vec<_> = versions().into_iter().collect();
    for pair in versions.windows(2) {
        let [(old_version, old), (new_version, new)] = pair else {
            unreachable!("windows have two");
        };
        if is_compatible(*old_version, *new_version) {
            let checked = check(old, new);
            checked.unwrap_or_else(|error| {
                let said = format!("{error:#}");
                assert!(
                    said.is_empty(),
                    "{new_version:?} after {old_version:?}: {said}"
                );
            });
        }
    }
}

/// The next compatible version of 0.1.0, with a change to its text.
fn next(from: &str, to: &str) -> (String, String) {
    let old = versions().remove(&[0, 1, 0]).expect("0.1.0 is released");
    let changed = old.replacen(from, to, 1);
    assert_ne!(changed, old, "`{from}` stands in the contract");
    let new = changed.replacen(
        "conclave:deliberation@0.1.0",
        "conclave:deliberation@0.1.1",
        1,
    );
    (old, new)
}

#[test]
fn what_only_adds_for_plugins_to_call_is_no_break() {
    let additions = [
        (
            "random-u32: func() -> u32;",
            "random-u32: func() -> u32;\n    random-u16: func() -> u16;",
        ),
        (
            "world strategy {",
            "interface extra { hint: func() -> u32; }\nworld strategy {\n    import extra;",
        ),
        (
            "/// What is left of the limits.",
            "/// What remains of the limits.",
        ),
    ];
    for (from, to) in additions {
        let (old, new) = next(from, to);
        check(&old, &new).unwrap();
    }
}

#[test]
fn what_breaks_a_compiled_plugin_is_refused() {
    let breaks = [
        // A function that plugins call is gone.
        ("random-u32: func() -> u32;", ""),
        // A record has one more field.
        (
            "        /// Tokens of the prompt.\n",
            "        cost: u32,\n",
        ),
        // A variant has one more case.
        (
            "        deadline-exceeded,\n",
            "        deadline-exceeded,\n        overheated,\n",
        ),
        // A plugin must export more.
        (
            "export deliberate:",
            "export prepare: func();\n    export deliberate:",
        ),
        // A function takes something else.
        ("elapsed-ms: func() -> u32;", "elapsed-ms: func() -> u64;"),
        // A world is gone.
        ("world scorer {", "world grader {"),
    ];
    for (from, to) in breaks {
        let (old, new) = next(from, to);
        assert!(check(&old, &new).is_err(), "`{from}` became `{to}`");
    }
}

#[test]
fn the_digest_is_that_of_everything_but_comments() {
    let text = versions().remove(&[0, 1, 0]).expect("0.1.0 is released");
    assert_eq!(
        digest(&text),
        digest(&format!("// new\n{}", text.replace("///", "/// Also:")))
    );
    assert_ne!(
        digest(&text),
        digest(&text.replacen("random-u32:", "random-u31:", 1))
    );
}

#[test]
fn versions_are_compatible_by_their_leftmost_number() {
    assert!(is_compatible([0, 1, 0], [0, 1, 7]));
    assert!(!is_compatible([0, 1, 9], [0, 2, 0]));
    assert!(is_compatible([1, 0, 0], [1, 4, 2]));
    assert!(!is_compatible([1, 9, 0], [2, 0, 0]));
}
