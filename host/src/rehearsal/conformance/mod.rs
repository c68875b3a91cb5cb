//! What every plugin must do, whatever it is for: the rules of the contract that a run can show.

mod checks;
mod subject;

use std::time::{Duration, Instant};

use conclave_core::plugin::Kind;

pub use self::subject::{Subject, Unsuitable};

/// One rule, with the check of it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The check's name.
    pub name: &'static str,
    /// What must be so, in a sentence.
    pub says: &'static str,
    /// Where the contract says so.
    pub stands: &'static str,
    kinds: &'static [Kind],
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The rule.
    pub rule: Rule,
    /// What is wrong, if anything.
    pub result: Result<(), String>,
    /// How long it took, in real time.
    pub took: Duration,
}

const BOTH: &[Kind] = &[Kind::Strategy, Kind::Scorer];
const STRATEGIES: &[Kind] = &[Kind::Strategy];
const SCORERS: &[Kind] = &[Kind::Scorer];

const WIT: &str = "wit/0.1.0/deliberation.wit";

/// Every rule, in the order in which it is checked.
pub const RULES: &[Rule] = &[
    Rule {
        name: "describe-is-stable",
        says: "`describe` says the same whenever it is asked.",
        stands: "interface describe: called when the plugin is loaded, outside any deliberation",
        kinds: BOTH,
    },
    Rule {
        name: "same-run-same-journal",
        says: "With the same answers it makes the same calls: two runs leave the same journal, byte for byte.",
        stands: "Determinism: it must make the same calls when it gets the same answers",
        kinds: BOTH,
    },
    Rule {
        name: "resumes-from-every-entry",
        says: "Cut off behind any journal entry and run again from the start, it repeats its calls and goes on.",
        stands: "Determinism: after a crash the host runs the component again and answers from the journal",
        kinds: BOTH,
    },
    Rule {
        name: "survives-cancelled",
        says: "When every generation is answered with `cancelled`, it ends with an outcome or an error of its own.",
        stands: "variant failure: cancelled",
        kinds: BOTH,
    },
    Rule {
        name: "survives-deadline-exceeded",
        says: "When every generation passes its deadline, it ends with an outcome or an error of its own.",
        stands: "variant failure: deadline-exceeded",
        kinds: BOTH,
    },
    Rule {
        name: "survives-budget-exhausted",
        says: "When a limit is used up at its first generations, it ends with an outcome or an error of its own.",
        stands: "variant failure: budget-exhausted",
        kinds: BOTH,
    },
    Rule {
        name: "survives-unavailable",
        says: "When no model server answers, it ends with an outcome or an error of its own.",
        stands: "variant failure: unavailable",
        kinds: BOTH,
    },
    Rule {
        name: "survives-rejected",
        says: "When every generation is rejected, it ends with an outcome or an error of its own.",
        stands: "variant failure: rejected",
        kinds: BOTH,
    },
    Rule {
        name: "survives-empty-text",
        says: "When every answer is empty, it ends with an outcome or an error of its own.",
        stands: "record generation: text",
        kinds: BOTH,
    },
    Rule {
        name: "survives-long-text",
        says: "When every answer has 256 KiB, it ends within its limits.",
        stands: "Limits: memory, CPU time, bytes given to a host call",
        kinds: BOTH,
    },
    Rule {
        name: "survives-strange-text",
        says: "When answers are beyond ASCII, with control characters and half-open quotes, it ends without a trap.",
        stands: "record generation: text",
        kinds: BOTH,
    },
    Rule {
        name: "survives-cut-off-text",
        says: "When every answer is cut off in its middle, it ends with an outcome or an error of its own.",
        stands: "enum finish-reason: length",
        kinds: BOTH,
    },
    Rule {
        name: "keeps-to-its-budget",
        says: "With two generations in all, one open at a time, it ends with an outcome or an error of its own.",
        stands: "inference.submit: fails with budget-exhausted when a limit is reached",
        kinds: BOTH,
    },
    Rule {
        name: "takes-one-agent",
        says: "A task with one agent ends in an outcome or an error of its own.",
        stands: "record task: agents, at least one",
        kinds: STRATEGIES,
    },
    Rule {
        name: "takes-many-agents",
        says: "A task with 64 agents, the most that a request may have, ends in an outcome or an error of its own.",
        stands: "record task: agents",
        kinds: STRATEGIES,
    },
    Rule {
        name: "takes-one-candidate",
        says: "One candidate gets one score.",
        stands: "world scorer: one score for each candidate, in order",
        kinds: SCORERS,
    },
    Rule {
        name: "takes-many-candidates",
        says: "64 candidates get 64 scores, each 0 to 1.",
        stands: "record score: value, NaN or a value outside 0 to 1 is a plugin error",
        kinds: SCORERS,
    },
    Rule {
        name: "takes-odd-candidates",
        says: "Empty, long and equal candidates get scores of 0 to 1, or an error of its own.",
        stands: "record score: value, NaN or a value outside 0 to 1 is a plugin error",
        kinds: SCORERS,
    },
    Rule {
        name: "ends-when-cancelled",
        says: "Cancelled while its generations run, it is ended at once.",
        stands: "Life of an instance: the host frees the instance",
        kinds: BOTH,
    },
    Rule {
        name: "leaks-no-generation",
        says: "When it has ended, none of its generations runs any more.",
        stands: "inference.submit: what is still open when the plugin returns is cancelled",
        kinds: BOTH,
    },
];

impl Rule {
    /// The place in the contract, with its file.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{WIT}, {}", self.stands)
    }
}

/// The rules for plugins of this kind.
pub fn rules(kind: Kind) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.kinds.contains(&kind))
}

/// Checks one rule.
pub async fn check(rule: &Rule, subject: &Subject) -> Found {
    let began = Instant::now();
    let result = checks::run(rule.name, subject).await;
    Found {
        rule: *rule,
        result,
        took: began.elapsed(),
    }
}
