//! Lists deliberations: a filter as SQL, and a page of what passes it.

use std::fmt::Write as _;

use conclave_core::entry::Record;
use conclave_core::filter::{Expression, Filter, NumberField, StateKind, Test, TextField};
use conclave_core::ids::{DeliberationId, Seq};
use conclave_core::journal::Error;
use conclave_core::listing::{Listed, Page, Place, Query};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use crate::sqlite::{codec, summary};

/// Places that one page looks at. A plain filter is asked about a million rows a second, so that a page
/// holds a reader for a tenth of a second; whoever wants more asks for the next page.
const PLACES_MAX: u64 = 100_000;

/// What one test of a label costs beside a row's plain tests: each searches the row's labels.
const LABEL_COST: u64 = 3;

/// Bytes of records that one page reads: deliberations may hold megabytes, and a page is in memory.
const BYTES_MAX: usize = 8 << 20;

const FIRST_BATCH: &str = "
    SELECT body FROM batches WHERE deliberation = ?1 ORDER BY last_seq LIMIT 1";
const LAST_BATCH: &str = "SELECT body FROM batches WHERE deliberation = ?1 AND last_seq = ?2";
const NEWEST: &str = "SELECT coalesce(max(place), 0) FROM deliberations";

/// A row of a page.
struct Row {
    place: i64,
    id: DeliberationId,
    finished: bool,
    last: Seq,
}

/// Some of the deliberations that a query asks for.
pub(super) fn page(
    connection: &mut Connection,
    query: &Query,
    limit: usize,
) -> rusqlite::Result<Page> {
    // What ends meanwhile is shown as it was.
    let snapshot = connection.transaction()?;
    let newest: i64 = snapshot.query_row(NEWEST, [], |row| row.get(0))?;
    let before = match query.before {
        Some(Place(place)) => place.min(newest.cast_unsigned() + 1),
        None => newest.cast_unsigned() + 1,
    };
    let places_max = PLACES_MAX / (1 + LABEL_COST * label_tests(query.filter.expression()));
    let from = before.saturating_sub(places_max).max(1);
    let mut rows = rows(&snapshot, query, from..before, limit + 1)?;
    let mut next = match rows.len() > limit {
        true => {
            rows.truncate(limit);
            rows.last().map(|row| Place(row.place.cast_unsigned()))
        }
        false => (from > 1).then_some(Place(from)),
    };
    let mut listed = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    let count = rows.len();
    for (at, row) in rows.into_iter().enumerate() {
        match read(&snapshot, &row, &mut bytes)? {
            Ok(one) => listed.push(one),
            Err(error) => summary::left_out(&row.id, &error),
        }
        if bytes > BYTES_MAX && at + 1 < count {
            next = Some(Place(row.place.cast_unsigned()));
            break;
        }
    }
    Ok(Page { listed, next })
}

fn rows(
    connection: &Connection,
    query: &Query,
    places: std::ops::Range<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let mut sql = Sql::of(&query.filter);
    let tenant = sql.bind(query.tenant.to_string());
    let from = sql.bind(places.start.cast_signed());
    let before = sql.bind(places.end.cast_signed());
    let limit = sql.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let statement = format!(
        "SELECT d.place, d.id, d.state, d.last_seq
         FROM summaries s CROSS JOIN deliberations d ON d.place = s.place
         WHERE s.tenant = {tenant} AND s.place >= {from} AND s.place < {before} AND {}
         ORDER BY s.place DESC LIMIT {limit}",
        sql.text
    );
    let mut statement = connection.prepare(&statement)?;
    let rows = statement.query_map(params_from_iter(sql.values), |row| {
        let last: i64 = row.get(3)?;
        Ok(Row {
            place: row.get(0)?,
            id: DeliberationId::new(row.get_ref(1)?.as_str()?),
            finished: row.get::<_, i64>(2)? != 0,
            last: Seq(last.cast_unsigned()),
        })
    })?;
    rows.collect()
}

/// How many tests of labels a filter has.
fn label_tests(expression: &Expression) -> u64 {
    match expression {
        Expression::And(parts) | Expression::Or(parts) => parts.iter().map(label_tests).sum(),
        Expression::Not(one) => label_tests(one),
        Expression::Test(
            Test::Text {
                field: TextField::Label(_),
                ..
            }
            | Test::HasText(TextField::Label(_))
            | Test::Contains {
                field: TextField::Label(_),
                ..
            },
        ) => 1,
        Expression::Test(_) => 0,
    }
}

/// Reads the first and the last record, and counts their bytes; the inner error is damage to them.
fn read(
    connection: &Connection,
    row: &Row,
    bytes: &mut usize,
) -> rusqlite::Result<Result<Listed, Error>> {
    let body = |statement: &str, params: &[&dyn rusqlite::ToSql]| {
        let mut statement = connection.prepare_cached(statement)?;
        let body = statement.query_row(params, |row| row.get::<_, Vec<u8>>(0));
        body.optional()
    };
    let first = body(FIRST_BATCH, params![row.place])?.unwrap_or_default();
    let last = match row.finished {
        true => body(LAST_BATCH, params![row.place, row.last.0.cast_signed()])?,
        false => None,
    };
    *bytes += first.len() + last.as_ref().map_or(0, Vec::len);
    Ok(decode(row, &first, last.as_deref()))
}

fn decode(row: &Row, first: &[u8], last: Option<&[u8]>) -> Result<Listed, Error> {
    let first: Record = codec::decode_first(&row.id, first)?;
    let end = last.map(|body| codec::decode_last(&row.id, row.last, body));
    Ok(Listed {
        place: Place(row.place.cast_unsigned()),
        accepted: Box::new(codec::accepted(&row.id, &first)?.clone()),
        end: end.transpose()?.map(Box::new),
    })
}

/// A condition, and the values that it names.
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// The condition that holds where the filter matches. It is never NULL: of a value that is not
    /// there nothing holds, and its negation does.
    fn of(filter: &Filter) -> Self {
        let mut sql = Self {
            text: String::new(),
            values: Vec::new(),
        };
        sql.expression(filter.expression());
        sql
    }

    /// What names a value in the statement.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::And(all) => self.joined(all, " AND ", "TRUE"),
            Expression::Or(any) => self.joined(any, " OR ", "FALSE"),
            Expression::Not(one) => {
                self.text.push_str("NOT ");
                self.expression(one);
            }
            Expression::Test(test) => self.test(test),
        }
    }

    fn joined(&mut self, parts: &[Expression], by: &str, none: &str) {
        self.text.push('(');
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.text.push_str(by);
            }
            self.expression(part);
        }
        if parts.is_empty() {
            self.text.push_str(none);
        }
        self.text.push(')');
    }

    fn test(&mut self, test: &Test) {
        let condition = match test {
            Test::State { is, state } => {
                let comparison = if *is { "=" } else { "!=" };
                format!("d.state {comparison} {}", number_of(*state))
            }
            Test::Text {
                field,
                comparison,
                value,
            } => {
                let (field, value) = (self.text_field(field), self.bind(value.clone()));
                format!("coalesce({field} {} {value}, FALSE)", comparison.symbol())
            }
            Test::Contains { field, text } => {
                let (field, text) = (self.text_field(field), self.bind(text.clone()));
                format!("coalesce(instr({field}, {text}) > 0, FALSE)")
            }
            Test::HasText(field @ TextField::Label(_)) => {
                format!("({} IS NOT NULL)", self.text_field(field))
            }
            Test::HasText(field) => format!("({} != '')", self.text_field(field)),
            Test::Number {
                field,
                comparison,
                value,
            } => {
                let (field, value) = (number_field(*field), self.bind(*value));
                format!("coalesce({field} {} {value}, FALSE)", comparison.symbol())
            }
            Test::HasNumber(field) => format!("({} IS NOT NULL)", number_field(*field)),
        };
        let written = write!(self.text, "({condition})");
        written.expect("a String takes all");
    }

    fn text_field(&mut self, field: &TextField) -> String {
        let column = match field {
            TextField::TaskId => "s.task_id",
            TextField::TaskRole => "s.role",
            TextField::StrategyName => "s.strategy",
            TextField::ScorerName => "s.scorer",
            TextField::CorrelationId => "s.correlation_id",
            TextField::Label(key) => {
                let key = self.bind(key.clone());
                return format!("(SELECT value FROM json_each(s.labels) WHERE key = {key})");
            }
        };
        column.to_owned()
    }
}

fn number_field(field: NumberField) -> &'static str {
    match field {
        NumberField::Priority => "s.priority",
        NumberField::CreateTime => "d.accepted_at_ms",
        NumberField::EndTime => "d.finished_at_ms",
    }
}

/// The state as it is stored.
fn number_of(state: StateKind) -> i64 {
    match state {
        StateKind::Running => 0,
        StateKind::Completed => codec::State::Completed as i64,
        StateKind::Failed => codec::State::Failed as i64,
        StateKind::Cancelled => codec::State::Cancelled as i64,
    }
}
