//! How the results of `plugin test` look.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::steps::Step;
use super::super::terminal::{Style, clean};
use super::shown;
use crate::rehearsal::conformance::Found;
use crate::wasm::{Checked, Refusal};

/// Steps of a failed case that are shown on a terminal; `--json` has all of them.
const STEPS_MAX: usize = 60;

/// What came of one case or rule.
pub(super) struct Outcome {
    /// `case` or `conformance`.
    pub(super) suite: &'static str,
    pub(super) name: String,
    /// Empty when it passed.
    pub(super) problems: Vec<String>,
    /// What it is about, shown when it failed.
    pub(super) about: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) log: Vec<String>,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn of_rule(found: Found) -> Self {
        Self {
            suite: "conformance",
            name: found.rule.name.to_owned(),
            problems: found.result.err().into_iter().collect(),
            about: vec![found.rule.says.to_owned(), found.rule.place()],
            steps: Vec::new(),
            log: Vec::new(),
            took: found.took,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "suite": self.suite,
            "name": self.name,
            "passed": self.problems.is_empty(),
            "problems": self.problems,
            "about": self.about,
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
            "log": self.log,
            "took_ms": milliseconds(self.took),
        })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Draws results as they come, or keeps them for one JSON object.
pub(super) struct Results {
    style: Style,
    as_json: bool,
    head: Value,
    all: Vec<Value>,
    counts: [usize; 2],
    suite: &'static str,
}

impl Results {
    pub(super) fn new(style: Style, as_json: bool) -> Self {
        Self {
            style,
            as_json,
            head: Value::Null,
            all: Vec::new(),
            counts: [0, 0],
            suite: "",
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.counts[1]
    }

    /// Of a component that may not be a plugin.
    pub(super) fn refused(&self, component: &Path, refusal: &Refusal) -> String {
        let component = shown(component);
        if self.as_json {
            let refused = json!({
                "ok": false, "component": component, "reasons": refusal.reasons,
            });
            return format!("{refused}\n");
        }
        let reasons = refusal.reasons.iter();
        let reasons: String = reasons
            .map(|reason| format!("  - {}\n", clean(reason)))
            .collect();
        format!("{component} cannot be a plugin:\n{reasons}")
    }

    pub(super) fn begin(&mut self, component: &Path, checked: &Checked) -> String {
        let plugin = &checked.plugin;
        self.head = json!({
            "component": shown(component),
            "kind": plugin.kind,
            "name": plugin.reference.name,
            "version": plugin.reference.version,
            "digest": plugin.reference.digest,
            "rehearsal": checked.canned.to_string(),
        });
        if self.as_json {
            return String::new();
        }
        let title = self.style.bold(&plugin.reference.to_string());
        let kind = plugin.kind;
        format!("{title}, a {kind} ({})\n", shown(component))
    }

    /// Takes a result in; what is to be printed of it.
    pub(super) fn add(&mut self, outcome: &Outcome) -> String {
        let passed = outcome.problems.is_empty();
        self.counts[usize::from(!passed)] += 1;
        if self.as_json {
            self.all.push(outcome.to_json());
            return String::new();
        }
        let mut text = String::new();
        if self.suite != outcome.suite {
            self.suite = outcome.suite;
            let heading = match outcome.suite {
                "case" => "cases",
                suite => suite,
            };
            text.push_str(&format!("\n{heading}\n"));
        }
        let mark = match (passed, self.style.unicode) {
            (true, true) => self.style.green("✓"),
            (true, false) => "ok  ".to_owned(),
            (false, true) => self.style.red("✗"),
            (false, false) => "FAIL".to_owned(),
        };
        let took = self
            .style
            .dim(&format!("{} ms", milliseconds(outcome.took)));
        text.push_str(&format!("  {mark} {}  {took}\n", clean(&outcome.name)));
        for problem in &outcome.problems {
            text.push_str(&format!("      {}\n", self.style.red(&clean(problem))));
        }
        if !passed {
            text.push_str(&self.details(outcome));
        }
        text
    }

    fn details(&self, outcome: &Outcome) -> String {
        let mut text = String::new();
        for line in &outcome.about {
            text.push_str(&format!("      {}\n", self.style.dim(line)));
        }
        let hidden = outcome.steps.len().saturating_sub(STEPS_MAX);
        if hidden > 0 {
            text.push_str(&format!("      {hidden} steps before these: see --json\n"));
        }
        for step in outcome.steps.iter().skip(hidden) {
            text.push_str(&format!("    {}\n", self.style.dim(&step.line())));
        }
        for line in &outcome.log {
            text.push_str(&format!("      log {}\n", clean(line)));
        }
        text
    }

    pub(super) fn end(&mut self, took: Duration) -> String {
        let [passed, failed] = self.counts;
        let ms = milliseconds(took);
        if self.as_json {
            let mut all = self.head.take();
            all["ok"] = json!(failed == 0);
            all["passed"] = json!(passed);
            all["failed"] = json!(failed);
            all["took_ms"] = json!(ms);
            all["results"] = Value::Array(std::mem::take(&mut self.all));
            return format!("{all}\n");
        }
        let verdict = match failed {
            0 => self.style.green(&format!("{passed} passed")),
            failed => self.style.red(&format!("{failed} failed, {passed} passed")),
        };
        format!("\n{verdict}, in {ms} ms\n")
    }
}
