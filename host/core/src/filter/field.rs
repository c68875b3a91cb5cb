//! The fields that a filter can ask about.

use std::fmt;

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `state`
    State,
    /// One that is a text.
    Text(TextField),
    /// One that is a number or a time.
    Number(NumberField),
}

/// A field that is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextField {
    /// `task.id`
    TaskId,
    /// `task.role`
    TaskRole,
    /// `strategy.name`
    StrategyName,
    /// `scorer.name`
    ScorerName,
    /// `correlation_id`; empty when the client gave none.
    CorrelationId,
    /// `labels.KEY`
    Label(String),
}

/// A field that is a number or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberField {
    /// `priority`
    Priority,
    /// `create_time`
    CreateTime,
    /// `end_time`; there is none until the deliberation has finished.
    EndTime,
}

/// What a filter may begin a question with, for errors and docs.
pub(super) const NAMES: [&str; 10] = [
    "state",
    "task.id",
    "task.role",
    "strategy.name",
    "scorer.name",
    "labels.KEY",
    "correlation_id",
    "priority",
    "create_time",
    "end_time",
];

impl Field {
    /// The field of this name; that of a label is taken apart before.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "state" => Self::State,
            "task.id" => Self::Text(TextField::TaskId),
            "task.role" => Self::Text(TextField::TaskRole),
            "strategy.name" => Self::Text(TextField::StrategyName),
            "scorer.name" => Self::Text(TextField::ScorerName),
            "correlation_id" => Self::Text(TextField::CorrelationId),
            "priority" => Self::Number(NumberField::Priority),
            "create_time" => Self::Number(NumberField::CreateTime),
            "end_time" => Self::Number(NumberField::EndTime),
            _ => return None,
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "state",
            Self::Text(TextField::TaskId) => "task.id",
            Self::Text(TextField::TaskRole) => "task.role",
            Self::Text(TextField::StrategyName) => "strategy.name",
            Self::Text(TextField::ScorerName) => "scorer.name",
            Self::Text(TextField::CorrelationId) => "correlation_id",
            Self::Text(TextField::Label(key)) => return write!(f, "labels.{key}"),
            Self::Number(NumberField::Priority) => "priority",
            Self::Number(NumberField::CreateTime) => "create_time",
            Self::Number(NumberField::EndTime) => "end_time",
        })
    }
}
