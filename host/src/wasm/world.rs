//! Which world a component is of, by the names of what it imports and exports.

use std::borrow::Cow;
use std::collections::BTreeSet;

use conclave_core::plugin::Kind;
use semver::Version;

use super::{Refusal, v0_1};

/// The package of the contract.
const PACKAGE: &str = "conclave:deliberation";

/// The parts of WASI 0.2 that are linked.
const WASI: &[(&str, &[&str])] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// What a component was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct World {
    pub(super) kind: Kind,
    /// The contract version that it is served as.
    pub(super) contract: &'static str,
}

/// The world of a component with these imports and exports, or every reason why it is of none that is
/// served.
pub(super) fn world_of(
    imports: &BTreeSet<String>,
    exports: &BTreeSet<String>,
) -> Result<World, Refusal> {
    let mut reasons = Vec::new();
    let kind = kind_of(exports).map_err(|reason| reasons.push(reason)).ok();
    reasons.extend(imports.iter().filter_map(|name| foreign(name, kind)));
    match kind {
        Some(kind) if reasons.is_empty() => Ok(World {
            kind,
            contract: v0_1::VERSION,
        }),
        _ => Err(Refusal { reasons }),
    }
}

fn kind_of(exports: &BTreeSet<String>) -> Result<Kind, String> {
    let describe = exports
        .iter()
        .filter_map(|name| Interface::parse(name))
        .find(|interface| interface.package == PACKAGE && interface.name == "describe");
    let Some(describe) = describe else {
        return Err(format!(
            "exports {}, but a plugin exports `{PACKAGE}/describe` and the function `deliberate` (a \
             strategy) or `evaluate` (a scorer) of contract {}",
            list(exports),
            v0_1::VERSION
        ));
    };
    if !describe.is_of_contract() {
        return Err(format!(
            "is made for contract {}, this host serves {}: build it with the SDK of that contract",
            describe
                .version
                .map_or("without a version".to_owned(), |version| version
                    .to_string()),
            v0_1::VERSION
        ));
    }
    match (exports.contains("deliberate"), exports.contains("evaluate")) {
        (true, false) => Ok(Kind::Strategy),
        (false, true) => Ok(Kind::Scorer),
        (true, true) => Err(
            "exports both `deliberate` and `evaluate`, a plugin is either a strategy or a scorer"
                .to_owned(),
        ),
        (false, false) => Err(format!(
            "exports {}, but a strategy also exports the function `deliberate`, a scorer `evaluate`",
            list(exports)
        )),
    }
}

/// Why an import cannot be served, if it cannot.
fn foreign(name: &str, kind: Option<Kind>) -> Option<String> {
    let interface = Interface::parse(name);
    let package = interface.as_ref().map(|interface| interface.package);
    if package == Some(PACKAGE) {
        let interface = interface.as_ref()?;
        if !interface.is_of_contract() {
            return Some(format!(
                "imports `{}`, this host serves contract {}: build it with the SDK of that contract",
                shown(name),
                v0_1::VERSION
            ));
        }
        let kind = kind?;
        return (!v0_1::imports(kind).contains(&interface.name)).then(|| {
            let name = shown(name);
            format!(
                "imports `{name}`, which the {kind} world does not have: leave out what needs it"
            )
        });
    }
    let linked = interface.is_some_and(|interface| interface.is_linked_wasi());
    (!linked).then(|| {
        let wasi: Vec<_> = WASI.iter().map(|(package, _)| *package).collect();
        format!(
            "imports `{}`, a plugin may import only `{PACKAGE}` {} and, of version 0.2, {}: leave out what \
             needs it",
            shown(name),
            v0_1::VERSION,
            wasi.join(", ")
        )
    })
}

/// The name of an interface: `package/name@version`.
struct Interface<'a> {
    package: &'a str,
    name: &'a str,
    version: Option<Version>,
}

impl<'a> Interface<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (package, rest) = text.split_once('/')?;
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, Some(Version::parse(version).ok()?)),
            None => (rest, None),
        };
        Some(Self {
            package,
            name,
            version,
        })
    }

    fn has_version(&self, major: u64, minor: u64) -> bool {
        let version = self.version.as_ref();
        version.is_some_and(|version| (version.major, version.minor) == (major, minor))
    }

    fn is_of_contract(&self) -> bool {
        self.has_version(0, 1)
    }

    fn is_linked_wasi(&self) -> bool {
        let names = WASI.iter().find(|(package, _)| *package == self.package);
        self.has_version(0, 2) && names.is_some_and(|(_, names)| names.contains(&self.name))
    }
}

/// Names of a list that are told.
const LISTED_MAX: usize = 8;
/// Characters of a name that are told.
const SHOWN_CHARS_MAX: usize = 120;

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let told = names.iter().take(LISTED_MAX);
    let mut quoted: Vec<_> = told.map(|name| format!("`{}`", shown(name))).collect();
    let more = names.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        quoted.push(format!("{more} more"));
    }
    quoted.join(", ")
}

/// A name of the component's, which may be as long as the component.
fn shown(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(imports: &[&str], exports: &[&str]) -> String {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        world_of(&names(imports), &names(exports))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_exports_tell_the_kind() {
        let world = |function: &str| {
            let exports = ["conclave:deliberation/describe@0.1.3", function];
            let exports = exports.iter().map(|name| (*name).to_owned()).collect();
            world_of(&BTreeSet::new(), &exports).unwrap()
        };
        assert_eq!(world("deliberate").kind, Kind::Strategy);
        assert_eq!(world("evaluate").kind, Kind::Scorer);
    }

    #[test]
    fn another_world_is_told_what_it_exports() {
        insta::assert_snapshot!(
            refused(&[], &["wasi:cli/run@0.2.3"]),
            @"exports `wasi:cli/run@0.2.3`, but a plugin exports `conclave:deliberation/describe` and the function `deliberate` (a strategy) or `evaluate` (a scorer) of contract 0.1"
        );
        insta::assert_snapshot!(
            refused(&[], &["conclave:deliberation/describe@0.1.0"]),
            @"exports `conclave:deliberation/describe@0.1.0`, but a strategy also exports the function `deliberate`, a scorer `evaluate`"
        );
        insta::assert_snapshot!(
            refused(&[], &["conclave:deliberation/describe@0.7.0", "deliberate"]),
            @"is made for contract 0.7.0, this host serves 0.1: build it with the SDK of that contract"
        );
    }

    #[test]
    fn every_foreign_import_is_named() {
        let describe = "conclave:deliberation/describe@0.1.0";
        insta::assert_snapshot!(
            refused(
                &["wasi:http/types@0.2.0", "wasi:io/poll@0.2.9", "wasi:random/random@0.3.0", "env"],
                &[describe, "deliberate"]
            ),
            @"imports `env`, a plugin may import only `conclave:deliberation` 0.1 and, of version 0.2, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets: leave out what needs it; imports `wasi:http/types@0.2.0`, a plugin may import only `conclave:deliberation` 0.1 and, of version 0.2, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets: leave out what needs it; imports `wasi:random/random@0.3.0`, a plugin may import only `conclave:deliberation` 0.1 and, of version 0.2, wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets: leave out what needs it"
        );
        insta::assert_snapshot!(
            refused(&["conclave:deliberation/scoring@0.1.0"], &[describe, "evaluate"]),
            @"imports `conclave:deliberation/scoring@0.1.0`, which the scorer world does not have: leave out what needs it"
        );
        insta::assert_snapshot!(
            refused(&["conclave:deliberation/inference@0.2.0"], &[describe, "evaluate"]),
            @"imports `conclave:deliberation/inference@0.2.0`, this host serves contract 0.1: build it with the SDK of that contract"
        );
    }
}
