//! Filters over deliberations: a subset of the filtering language of AIP-160.
//!
//! [`Filter::parse`] takes the text of a client; [`Filter::matches`] says what it means, and every
//! adapter of [`Listing`](crate::listing::Listing) agrees with that.

mod error;
mod field;
mod parse;
mod time;

use crate::entry::Accepted;

pub use self::error::Error;
pub use self::field::{Field, NumberField, TextField};
pub use self::parse::BYTES_MAX;
pub use self::time::{format_rfc3339, parse_rfc3339};

/// What has become of a deliberation, as far as a filter can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// It has not finished.
    Running,
    /// It has an outcome.
    Completed,
    /// It has none.
    Failed,
    /// A client cancelled it.
    Cancelled,
}

impl StateKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name in a filter, which is that of the API's enum.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds.
    #[must_use]
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    /// As it is written, in a filter and in SQL.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One question about one field. Of a value that a deliberation does not have (a label, the end of one
/// that runs) nothing holds, not even `!=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `state = COMPLETED`, or with `is` false `state != COMPLETED`.
    State {
        /// Whether it shall be so.
        is: bool,
        /// Which.
        state: StateKind,
    },
    /// `task.id = "t-1"`; texts are ordered by their bytes in UTF-8.
    Text {
        /// Which.
        field: TextField,
        /// How.
        comparison: Comparison,
        /// With what.
        value: String,
    },
    /// `task.id:"t-"`: the text holds this one, in the same case.
    Contains {
        /// Which.
        field: TextField,
        /// What.
        text: String,
    },
    /// `labels:team`, `correlation_id:*`: there is a label of the key, or the text is not empty.
    HasText(TextField),
    /// `priority >= 5`; times in milliseconds since the Unix epoch.
    Number {
        /// Which.
        field: NumberField,
        /// How.
        comparison: Comparison,
        /// With what.
        value: i64,
    },
    /// `end_time:*`: there is a value.
    HasNumber(NumberField),
}

/// A question that was taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Each holds; all do when there is none.
    And(Vec<Self>),
    /// One holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A question about a field.
    Test(Test),
}

/// A filter that was parsed. The default one lets everything through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Expression);

impl Default for Filter {
    fn default() -> Self {
        Self(Expression::And(Vec::new()))
    }
}

impl From<Expression> for Filter {
    fn from(expression: Expression) -> Self {
        Self(expression)
    }
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// As it was accepted.
    pub accepted: &'a Accepted,
    /// What has become of it.
    pub state: StateKind,
    /// When it finished, in milliseconds since acceptance.
    pub end_at_ms: Option<u64>,
}

impl Filter {
    /// Takes a filter apart. An empty text lets everything through.
    ///
    /// # Errors
    /// At the first thing that is not of the language, with its place and what may stand there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self)
    }

    /// What it asks.
    #[must_use]
    pub fn expression(&self) -> &Expression {
        &self.0
    }

    /// Whether a deliberation passes.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.0.matches(facts)
    }
}

impl Expression {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.matches(facts)),
            Self::Or(any) => any.iter().any(|one| one.matches(facts)),
            Self::Not(one) => !one.matches(facts),
            Self::Test(test) => test.matches(facts),
        }
    }
}

impl Test {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::State { is, state } => (facts.state == *state) == *is,
            Self::Text {
                field,
                comparison,
                value,
            } => facts
                .text(field)
                .is_some_and(|text| comparison.holds(text, value.as_str())),
            Self::Contains { field, text: part } => facts
                .text(field)
                .is_some_and(|text| text.contains(part.as_str())),
            Self::HasText(field @ TextField::Label(_)) => facts.text(field).is_some(),
            Self::HasText(field) => facts.text(field).is_some_and(|text| !text.is_empty()),
            Self::Number {
                field,
                comparison,
                value,
            } => facts
                .number(*field)
                .is_some_and(|number| comparison.holds(&number, value)),
            Self::HasNumber(field) => facts.number(*field).is_some(),
        }
    }
}

impl<'a> Facts<'a> {
    /// The field's text; only a label may have none.
    #[must_use]
    pub fn text(&self, field: &TextField) -> Option<&'a str> {
        let accepted = self.accepted;
        let request = &accepted.request;
        Some(match field {
            TextField::TaskId => &request.task.id,
            TextField::TaskRole => &request.task.role,
            TextField::StrategyName => &accepted.strategy.name,
            TextField::ScorerName => &accepted.scorer.name,
            TextField::CorrelationId => request.correlation_id.as_deref().unwrap_or_default(),
            TextField::Label(key) => request.labels.get(key)?,
        })
    }

    fn number(&self, field: NumberField) -> Option<i64> {
        let accepted_at_ms = self.accepted.accepted_at_ms.cast_signed();
        match field {
            NumberField::Priority => Some(self.accepted.request.priority.get().into()),
            NumberField::CreateTime => Some(accepted_at_ms),
            NumberField::EndTime => self
                .end_at_ms
                .map(|at_ms| accepted_at_ms.saturating_add_unsigned(at_ms)),
        }
    }
}

#[cfg(test)]
mod tests;
