//! What an answer must be, and every way in which one is not.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Violations of one answer that are told; the rest is counted.
const TOLD_MAX: usize = 20;
/// Characters of a wrong value that are told.
const VALUE_CHARS_MAX: usize = 60;

const HOURS: Whole = Whole {
    least: 1,
    most: 200,
};
const PRIORITY: Whole = Whole { least: 1, most: 5 };
/// The contract's integers end there.
const INDEX: Whole = Whole {
    least: 0,
    most: 2_147_483_647,
};

/// A valid answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tasks {
    tasks: Vec<ExtractedTask>,
}

/// One task. The fields are sorted, as RFC 8785 sorts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ExtractedTask {
    deliberation_indices: Vec<u32>,
    description: String,
    estimated_hours: u32,
    priority: u32,
    title: String,
}

/// The members of a task, in the order in which the schema names them: models write them so.
const MEMBERS: [&str; 5] = [
    "title",
    "description",
    "estimated_hours",
    "deliberation_indices",
    "priority",
];

/// A range of whole numbers.
#[derive(Debug, Clone, Copy)]
struct Whole {
    least: u32,
    most: u32,
}

impl Tasks {
    /// The answer as RFC 8785 writes it. Whole numbers and texts are all that is in it, and
    /// serde_json escapes texts in that way.
    pub(crate) fn canonical(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }
}

/// The JSON Schema of an answer, for servers that can be held to one.
pub(crate) fn schema() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let whole =
        |range: Whole| json!({"type": "integer", "minimum": range.least, "maximum": range.most});
    let task = json!({
        "type": "object",
        "properties": {
            "title": text,
            "description": text,
            "estimated_hours": whole(HOURS),
            "deliberation_indices": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "priority": whole(PRIORITY),
        },
        "required": MEMBERS,
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {"tasks": {"type": "array", "minItems": 1, "items": task}},
        "required": ["tasks"],
        "additionalProperties": false,
    })
}

/// Reads an answer.
///
/// # Errors
/// Every violation, with the place and the value, in the order of the answer.
pub(crate) fn read(text: &str) -> Result<Tasks, Vec<String>> {
    let bare = without_fence(text);
    if bare.is_empty() {
        return Err(vec![
            "the answer is empty, it must be a JSON object".to_owned(),
        ]);
    }
    let value: Value = serde_json::from_str(bare)
        .map_err(|error| vec![format!("the answer is not one JSON object alone: {error}")])?;
    let mut violations = Violations::default();
    match violations.tasks(&value) {
        Some(tasks) if violations.0.is_empty() => Ok(tasks),
        _ => Err(violations.0),
    }
}

/// The violations as a list that is not too long.
pub(crate) fn told(violations: &[String]) -> Vec<String> {
    let mut told: Vec<String> = violations.iter().take(TOLD_MAX).cloned().collect();
    let more = violations.len() - told.len();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

/// What is within one code fence, if the whole text is one; without white space around it.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| {
        let (language, rest) = rest.split_once('\n')?;
        let plain = language.trim().chars().all(char::is_alphanumeric);
        plain.then_some(rest)?.strip_suffix("```")
    });
    inner.unwrap_or(text).trim()
}

#[derive(Debug, Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, place: &str, rule: &str) {
        self.0.push(format!("{place} {rule}"));
    }

    fn wrong(&mut self, place: &str, value: &Value, rule: &str) {
        let mut shown: String = value.to_string();
        if let Some((end, _)) = shown.char_indices().nth(VALUE_CHARS_MAX) {
            shown.truncate(end);
            shown.push('…');
        }
        self.0
            .push(format!("{place} is {shown}, it must be {rule}"));
    }

    fn tasks(&mut self, value: &Value) -> Option<Tasks> {
        let Value::Object(members) = value else {
            self.wrong("the answer", value, "a JSON object");
            return None;
        };
        self.unknown("", members, &["tasks"]);
        let list = match members.get("tasks") {
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong("tasks", other, "a list");
                return None;
            }
            None => {
                self.add("tasks", "is missing");
                return None;
            }
        };
        if list.is_empty() {
            self.add("tasks", "is empty, there must be at least one task");
        }
        // All of them are read, so that every violation is found.
        let tasks: Vec<_> = list
            .iter()
            .enumerate()
            .map(|(at, value)| self.task(&format!("tasks[{at}]"), value))
            .collect();
        let tasks = tasks.into_iter().collect::<Option<_>>()?;
        Some(Tasks { tasks })
    }

    fn task(&mut self, place: &str, value: &Value) -> Option<ExtractedTask> {
        let Value::Object(members) = value else {
            self.wrong(place, value, "a JSON object");
            return None;
        };
        let title = self.text(place, "title", members);
        let description = self.text(place, "description", members);
        let estimated_hours = self.whole(place, "estimated_hours", members, HOURS);
        let deliberation_indices = self.indices(place, members);
        let priority = self.whole(place, "priority", members, PRIORITY);
        self.unknown(&format!("{place}."), members, &MEMBERS);
        Some(ExtractedTask {
            deliberation_indices: deliberation_indices?,
            description: description?,
            estimated_hours: estimated_hours?,
            priority: priority?,
            title: title?,
        })
    }

    fn unknown(&mut self, before: &str, members: &Map<String, Value>, known: &[&str]) {
        for name in members
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
        {
            let name: String = name.chars().take(VALUE_CHARS_MAX).collect();
            self.add(&format!("{before}{name}"), "is no member that there is");
        }
    }

    /// The member, if it is there.
    fn member<'a>(
        &mut self,
        place: &str,
        name: &str,
        members: &'a Map<String, Value>,
    ) -> Option<(String, &'a Value)> {
        let place = format!("{place}.{name}");
        let value = members.get(name);
        if value.is_none() {
            self.add(&place, "is missing");
        }
        Some((place, value?))
    }

    fn text(&mut self, place: &str, name: &str, members: &Map<String, Value>) -> Option<String> {
        let (place, value) = self.member(place, name, members)?;
        match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            other => {
                self.wrong(&place, other, "a text that is not blank");
                None
            }
        }
    }

    fn whole(
        &mut self,
        place: &str,
        name: &str,
        members: &Map<String, Value>,
        range: Whole,
    ) -> Option<u32> {
        let (place, value) = self.member(place, name, members)?;
        self.number(&place, value, range)
    }

    fn number(&mut self, place: &str, value: &Value, range: Whole) -> Option<u32> {
        let number =
            whole_number(value).filter(|number| (range.least..=range.most).contains(number));
        if number.is_none() {
            let rule = match range.most {
                2_147_483_647 => "a whole number, 0 or more".to_owned(),
                most => format!("a whole number from {} to {most}", range.least),
            };
            self.wrong(place, value, &rule);
        }
        number
    }

    fn indices(&mut self, place: &str, members: &Map<String, Value>) -> Option<Vec<u32>> {
        let (place, value) = self.member(place, "deliberation_indices", members)?;
        let Value::Array(list) = value else {
            self.wrong(&place, value, "a list of whole numbers");
            return None;
        };
        let indices: Vec<_> = list
            .iter()
            .enumerate()
            .map(|(at, index)| self.number(&format!("{place}[{at}]"), index, INDEX))
            .collect();
        indices.into_iter().collect()
    }
}

/// A whole number however it is written: JSON Schema counts `8.0` as one.
fn whole_number(value: &Value) -> Option<u32> {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).ok();
    }
    let number = value.as_f64()?;
    let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    // Within the range of u32 and without a fraction, so that nothing is lost.
    whole.then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Value {
        json!({
            "title": "Add retries", "description": "Retry failed calls.", "estimated_hours": 8,
            "deliberation_indices": [0, 2], "priority": 1,
        })
    }

    fn with(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<String> {
        let mut task = task();
        change(task.as_object_mut().unwrap());
        read(&json!({"tasks": [task]}).to_string())
            .map_or_else(|violations| violations, |_| Vec::new())
    }

    #[test]
    fn a_valid_answer_is_written_canonically() {
        let text = json!({"tasks": [task()]}).to_string().replace(':', " :\n");
        let expected = r#"{"tasks":[{"deliberation_indices":[0,2],"description":"Retry failed calls.","estimated_hours":8,"priority":1,"title":"Add retries"}]}"#;
        let tasks = read(&text).unwrap();
        assert_eq!(tasks.canonical().unwrap(), expected);
        assert_eq!(read(expected).unwrap(), tasks);
        assert_eq!(tasks.count(), 1);
    }

    #[test]
    fn fences_and_white_space_around_it_are_tolerated_and_nothing_else() {
        let json = json!({"tasks": [task()]}).to_string();
        for text in [
            format!("\n\t {json} \r\n"),
            format!("```json\n{json}\n```"),
            format!("  ```\n{json}```  \n"),
            format!("```JSON  \r\n{json}\r\n```\n"),
        ] {
            assert!(read(&text).is_ok(), "{text}");
        }
        for text in [
            format!("Here it is: {json}"),
            format!("{json} I hope it helps."),
            format!("```json\n{json}"),
            format!("```json\n{json}\n```\nDone."),
            format!("{json}{json}"),
            format!("'{json}'"),
        ] {
            let violations = read(&text).unwrap_err();
            assert_eq!(violations.len(), 1, "{text}");
            assert!(
                violations[0].starts_with("the answer is not one JSON object alone"),
                "{violations:?}"
            );
        }
        assert_eq!(
            read(" \n").unwrap_err(),
            ["the answer is empty, it must be a JSON object"]
        );
    }

    #[test]
    fn every_rule_is_checked() {
        let cases: [(&str, Value, &str); 16] = [
            (
                "title",
                json!(" "),
                r#"tasks[0].title is " ", it must be a text that is not blank"#,
            ),
            (
                "title",
                json!(7),
                "tasks[0].title is 7, it must be a text that is not blank",
            ),
            (
                "description",
                json!(null),
                "tasks[0].description is null, it must be a text that is not blank",
            ),
            (
                "estimated_hours",
                json!(0),
                "tasks[0].estimated_hours is 0, it must be a whole number from 1 to 200",
            ),
            (
                "estimated_hours",
                json!(201),
                "tasks[0].estimated_hours is 201, it must be a whole number from 1 to 200",
            ),
            (
                "estimated_hours",
                json!(1.5),
                "tasks[0].estimated_hours is 1.5, it must be a whole number from 1 to 200",
            ),
            (
                "estimated_hours",
                json!("8"),
                r#"tasks[0].estimated_hours is "8", it must be a whole number from 1 to 200"#,
            ),
            (
                "estimated_hours",
                json!(-8),
                "tasks[0].estimated_hours is -8, it must be a whole number from 1 to 200",
            ),
            (
                "estimated_hours",
                json!(1e300),
                "tasks[0].estimated_hours is 1e+300, it must be a whole number from 1 to 200",
            ),
            (
                "priority",
                json!(0),
                "tasks[0].priority is 0, it must be a whole number from 1 to 5",
            ),
            (
                "priority",
                json!(6),
                "tasks[0].priority is 6, it must be a whole number from 1 to 5",
            ),
            (
                "priority",
                json!(true),
                "tasks[0].priority is true, it must be a whole number from 1 to 5",
            ),
            (
                "deliberation_indices",
                json!(1),
                "tasks[0].deliberation_indices is 1, it must be a list of whole numbers",
            ),
            (
                "deliberation_indices",
                json!([-1]),
                "tasks[0].deliberation_indices[0] is -1, it must be a whole number, 0 or more",
            ),
            (
                "deliberation_indices",
                json!([0, "a"]),
                r#"tasks[0].deliberation_indices[1] is "a", it must be a whole number, 0 or more"#,
            ),
            (
                "owner",
                json!("me"),
                "tasks[0].owner is no member that there is",
            ),
        ];
        for (name, value, violation) in cases {
            let found = with(|task| {
                task.insert(name.to_owned(), value);
            });
            assert_eq!(found, [violation]);
        }
        for name in MEMBERS {
            let found = with(|task| {
                task.remove(name);
            });
            assert_eq!(found, [format!("tasks[0].{name} is missing")]);
        }
        for (text, violation) in [
            ("[]", "the answer is [], it must be a JSON object"),
            ("{}", "tasks is missing"),
            (r#"{"tasks": {}}"#, "tasks is {}, it must be a list"),
            (
                r#"{"tasks": []}"#,
                "tasks is empty, there must be at least one task",
            ),
            (
                r#"{"tasks": [1]}"#,
                "tasks[0] is 1, it must be a JSON object",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), [violation]);
        }
    }

    #[test]
    fn bounds_are_within_and_a_whole_number_may_have_a_point() {
        for (name, value) in [
            ("estimated_hours", json!(1)),
            ("estimated_hours", json!(200.0)),
            ("priority", json!(5)),
            ("deliberation_indices", json!([])),
        ] {
            let found = with(|task| {
                task.insert(name.to_owned(), value);
            });
            assert!(found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn every_violation_is_listed_and_a_long_list_is_cut_where_it_is_told() {
        let bad = json!({"tasks": [
            {"title": "", "description": "d", "estimated_hours": 0, "deliberation_indices": [], "priority": 9},
            7,
            {"title": "t", "description": "d", "estimated_hours": 1, "deliberation_indices": [], "priority": 1, "x": 1},
        ], "note": ""});
        let violations = read(&bad.to_string()).unwrap_err();
        let places: Vec<_> = violations
            .iter()
            .map(|one| one.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            places,
            [
                "note",
                "tasks[0].title",
                "tasks[0].estimated_hours",
                "tasks[0].priority",
                "tasks[1]",
                "tasks[2].x"
            ]
        );
        let many: Vec<String> = (0..25).map(|number| number.to_string()).collect();
        let told = told(&many);
        assert_eq!(
            (told.len(), told.last().unwrap().as_str()),
            (21, "and 5 more")
        );
        let long = with(|task| {
            task.insert("title".to_owned(), json!(["x".repeat(1_000)]));
        });
        assert!(long[0].len() < 200, "{long:?}");
    }

    #[test]
    fn the_schema_has_the_members_and_bounds_of_the_check() {
        let schema = schema();
        let task = &schema["properties"]["tasks"]["items"];
        assert_eq!(task["required"], json!(MEMBERS));
        assert_eq!(task["properties"].as_object().unwrap().len(), MEMBERS.len());
        assert_eq!(task["properties"]["estimated_hours"]["maximum"], 200);
        assert_eq!(
            task["properties"]["priority"],
            json!({"type": "integer", "minimum": 1, "maximum": 5})
        );
        assert_eq!(task["additionalProperties"], false);
    }
}
