//! The answer of a task extraction: the JSON that a model is asked for, and what makes it valid.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// What a model answers: `{"tasks": [...]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TasksExtracted {
    /// The tasks, in the order in which they are to be read.
    pub tasks: Vec<ExtractedTask>,
}

/// One task of a story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtractedTask {
    /// What it is called; not blank.
    pub title: String,
    /// What is to be done.
    pub description: String,
    /// 1 to 200; kept as the model wrote it, so that 8 does not become 8.0.
    pub estimated_hours: Number,
    /// Which deliberations it came from.
    pub deliberation_indices: Vec<i64>,
    /// 1 (first) to 5 (last).
    pub priority: u8,
}

/// Why an answer is no list of tasks.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is other JSON, or none.
    #[error("the answer is not the JSON of a task list: {0}")]
    Json(#[from] serde_json::Error),
    /// A task breaks a rule.
    #[error("tasks[{at}].{field} {rule}")]
    Task {
        /// Which task, from 0.
        at: usize,
        /// Which field.
        field: &'static str,
        /// The value and the rule.
        rule: String,
    },
}

const HOURS: std::ops::RangeInclusive<f64> = 1.0..=200.0;
const PRIORITIES: std::ops::RangeInclusive<u8> = 1..=5;

impl TasksExtracted {
    /// Reads and checks an answer.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(answer: &str) -> Result<Self, Invalid> {
        let list: Self = serde_json::from_str(answer)?;
        for (at, task) in list.tasks.iter().enumerate() {
            task.check()
                .map_err(|(field, rule)| Invalid::Task { at, field, rule })?;
        }
        Ok(list)
    }
}

impl ExtractedTask {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.title.trim().is_empty() {
            return Err(("title", "is blank".to_owned()));
        }
        if self.description.trim().is_empty() {
            return Err(("description", "is blank".to_owned()));
        }
        let hours = &self.estimated_hours;
        if !hours.as_f64().is_some_and(|hours| HOURS.contains(&hours)) {
            return Err((
                "estimated_hours",
                format!("is {hours}, it must be 1 to 200"),
            ));
        }
        if !PRIORITIES.contains(&self.priority) {
            let priority = self.priority;
            return Err(("priority", format!("is {priority}, it must be 1 to 5")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(change: impl FnOnce(&mut Value)) -> String {
        let mut task = json!({
            "title": "Login", "description": "Let people in.", "estimated_hours": 8,
            "deliberation_indices": [0, 2], "priority": 1
        });
        change(&mut task);
        json!({ "tasks": [task] }).to_string()
    }

    #[test]
    fn a_sound_answer_reads_back_as_it_was_written() {
        let text = answer(|_| ());
        let list = TasksExtracted::parse(&text).unwrap();
        assert_eq!(
            serde_json::to_value(&list).unwrap(),
            text.parse::<Value>().unwrap()
        );
        assert!(
            TasksExtracted::parse(r#"{"tasks": []}"#)
                .unwrap()
                .tasks
                .is_empty()
        );
        for hours in [json!(1), json!(200), json!(1.5)] {
            TasksExtracted::parse(&answer(|task| task["estimated_hours"] = hours)).unwrap();
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_by_its_place() {
        let rule = |field: &str, value: Value| {
            let text = answer(|task| task[field] = value);
            TasksExtracted::parse(&text).unwrap_err().to_string()
        };
        assert_eq!(
            rule("estimated_hours", json!(0.5)),
            "tasks[0].estimated_hours is 0.5, it must be 1 to 200"
        );
        assert_eq!(
            rule("estimated_hours", json!(201)),
            "tasks[0].estimated_hours is 201, it must be 1 to 200"
        );
        assert_eq!(
            rule("priority", json!(6)),
            "tasks[0].priority is 6, it must be 1 to 5"
        );
        assert_eq!(rule("title", json!(" ")), "tasks[0].title is blank");
        for (field, value) in [
            ("deliberation_indices", json!(["0"])),
            ("priority", json!("high")),
            ("description", Value::Null),
            ("estimated_hours", json!("8")),
        ] {
            assert!(
                rule(field, value).starts_with("the answer is not the JSON of a task list: "),
                "{field}"
            );
        }
        for text in ["", "Sure! Here are the tasks", "[]", "{}"] {
            assert!(TasksExtracted::parse(text).is_err(), "{text}");
        }
    }
}
