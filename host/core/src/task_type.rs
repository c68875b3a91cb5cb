//! What kind of work a task is, as far as clients say it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The metadata key in which a client says it.
const METADATA_KEY: &str = "task_type";

/// What kind of work a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskType {
    /// The review of a story by one role.
    BacklogReviewRole,
    /// Tasks are to be extracted from deliberations.
    TaskExtraction,
    /// Anything else.
    Other,
}

impl TaskType {
    /// The type that `metadata.task_type` names, else the one that the form of the id stands for:
    /// `…:task-extraction`, or `ceremony-…:story-…:role-…`.
    /// The id is `metadata.task_id` where that is given.
    #[must_use]
    pub fn of(task_id: &str, metadata: &BTreeMap<String, String>) -> Self {
        let given = metadata.get("task_id").filter(|id| !id.is_empty());
        let task_id = given.map_or(task_id, String::as_str);
        let named = metadata.get(METADATA_KEY).map(|name| name.trim());
        match named {
            Some("BACKLOG_REVIEW_ROLE") => Self::BacklogReviewRole,
            Some("TASK_EXTRACTION") => Self::TaskExtraction,
            _ if task_id.ends_with(":task-extraction") => Self::TaskExtraction,
            _ if is_backlog_review(task_id) => Self::BacklogReviewRole,
            _ => Self::Other,
        }
    }

    /// As clients and configurations write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BacklogReviewRole => "BACKLOG_REVIEW_ROLE",
            Self::TaskExtraction => "TASK_EXTRACTION",
            Self::Other => "OTHER",
        }
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `ceremony-…:story-…:role-…`
fn is_backlog_review(task_id: &str) -> bool {
    let story = task_id
        .strip_prefix("ceremony-")
        .and_then(|rest| rest.split_once(":story-"));
    story.is_some_and(|(_, rest)| rest.contains(":role-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(task_id: &str, named: Option<&str>) -> TaskType {
        let named = named.map(|name| (METADATA_KEY.to_owned(), name.to_owned()));
        TaskType::of(task_id, &named.into_iter().collect())
    }

    #[test]
    fn metadata_says_it_and_else_the_form_of_the_id() {
        let review = "ceremony-BRC-1:story-ST-4:role-ARCHITECT";
        assert_eq!(of(review, None), TaskType::BacklogReviewRole);
        assert_eq!(
            of("ceremony-1:story-4:task-extraction", None),
            TaskType::TaskExtraction
        );
        assert_eq!(of("t-1", Some("TASK_EXTRACTION")), TaskType::TaskExtraction);
        assert_eq!(
            of(review, Some("TASK_EXTRACTION")),
            TaskType::TaskExtraction
        );
        assert_eq!(
            of("x:task-extraction", Some("BACKLOG_REVIEW_ROLE")),
            TaskType::BacklogReviewRole
        );
        // A type that is not known here says nothing.
        assert_eq!(of(review, Some("PLANNING")), TaskType::BacklogReviewRole);
    }

    #[test]
    fn an_id_in_the_metadata_outdoes_the_own_one() {
        let metadata = |id: &str| BTreeMap::from([("task_id".to_owned(), id.to_owned())]);
        let extraction = metadata("ceremony-1:story-2:task-extraction");
        assert_eq!(TaskType::of("t-1", &extraction), TaskType::TaskExtraction);
        let other = TaskType::of("t-1:task-extraction", &metadata("t-2"));
        assert_eq!(other, TaskType::Other);
        let empty = TaskType::of("t-1:task-extraction", &metadata(""));
        assert_eq!(empty, TaskType::TaskExtraction);
    }

    #[test]
    fn other_ids_are_other_work() {
        for id in [
            "",
            "task-1",
            "task-extraction",
            "x:task-extraction:2",
            "ceremony-1:story-4",
            "ceremony-1:role-QA",
            "story-4:role-QA",
            "my-ceremony-1:story-4:role-QA",
        ] {
            assert_eq!(of(id, None), TaskType::Other, "{id}");
        }
    }

    #[test]
    fn its_name_is_the_one_that_is_read() {
        for one in [
            TaskType::BacklogReviewRole,
            TaskType::TaskExtraction,
            TaskType::Other,
        ] {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
    }
}
