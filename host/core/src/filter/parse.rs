//! The parser: one function a rule of the grammar.
//!
//! ```text
//! filter     = [ expression ]
//! expression = sequence { AND sequence }
//! sequence   = term { OR term }            OR binds more than AND, as in AIP-160
//! term       = [ NOT | - ] simple
//! simple     = ( expression ) | test
//! test       = field comparison value | field : value | labels : key
//! field      = state | task.id | … | labels.KEY
//! value      = "text" | 'text' | word
//! ```

use crate::plugin::near_names;
use crate::priority::Priority;

use super::error::Error;
use super::field::{Field, NAMES, NumberField, TextField};
use super::time::parse_rfc3339;
use super::{Comparison, Expression, StateKind, Test};

/// Bytes of a filter's text; no question that people ask is near it.
pub const BYTES_MAX: usize = 4 << 10;

/// Parentheses and negations within each other: the parser and SQLite work through them on the stack.
const DEPTH_MAX: usize = 32;

/// Questions in one filter: each is asked of every deliberation that is looked at.
const TESTS_MAX: usize = 64;

const COMPARISONS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        tests: 0,
    };
    if text.len() > BYTES_MAX {
        let problem = format!(
            "the filter has {} bytes, at most {BYTES_MAX} are allowed",
            text.len()
        );
        return Err(parser.error_at(text.floor_char_boundary(BYTES_MAX), "", problem));
    }
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(Expression::And(Vec::new()));
    }
    let expression = parser.expression()?;
    match parser.rest().chars().next() {
        None => Ok(expression),
        Some(')') => Err(parser.here("no parenthesis is open".to_owned())),
        Some(_) => Err(parser.here("`AND`, `OR` or the end must stand here".to_owned())),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The byte that is read next.
    at: usize,
    depth: usize,
    tests: usize,
}

/// What stands behind a comparison.
struct Value {
    text: String,
    quoted: bool,
    at: usize,
    end: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes a keyword that ends where it ends.
    fn keyword(&mut self, word: &str) -> bool {
        let Some(behind) = self.rest().strip_prefix(word) else {
            return false;
        };
        let ends = behind.is_empty() || behind.starts_with(|c: char| c.is_whitespace() || c == '(');
        if ends {
            self.at += word.len();
            self.skip_space();
        }
        ends
    }

    fn expression(&mut self) -> Result<Expression, Error> {
        let mut all = vec![self.sequence()?];
        while self.keyword("AND") {
            all.push(self.sequence()?);
        }
        Ok(single_or(all, Expression::And))
    }

    fn sequence(&mut self) -> Result<Expression, Error> {
        let mut any = vec![self.term()?];
        while self.keyword("OR") {
            any.push(self.term()?);
        }
        Ok(single_or(any, Expression::Or))
    }

    fn term(&mut self) -> Result<Expression, Error> {
        let minus = self.rest().starts_with('-');
        if minus {
            self.at += 1;
        }
        if minus || self.keyword("NOT") {
            let negated = self.deeper(Self::term)?;
            return Ok(Expression::Not(Box::new(negated)));
        }
        if self.rest().starts_with('(') {
            return self.deeper(Self::parenthesised);
        }
        self.test().map(Expression::Test)
    }

    fn parenthesised(&mut self) -> Result<Expression, Error> {
        self.at += 1;
        self.skip_space();
        let inner = self.expression()?;
        if !self.rest().starts_with(')') {
            return Err(self.here("`AND`, `OR` or `)` must stand here".to_owned()));
        }
        self.at += 1;
        self.skip_space();
        Ok(inner)
    }

    fn deeper(
        &mut self,
        rule: impl FnOnce(&mut Self) -> Result<Expression, Error>,
    ) -> Result<Expression, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.here(format!(
                "more than {DEPTH_MAX} negations and parentheses stand within each other"
            )));
        }
        let inner = rule(self);
        self.depth -= 1;
        inner
    }

    fn test(&mut self) -> Result<Test, Error> {
        self.tests += 1;
        if self.tests > TESTS_MAX {
            return Err(self.here(format!("a filter has at most {TESTS_MAX} comparisons")));
        }
        let start = self.at;
        let field = self.field()?;
        self.skip_space();
        if self.rest().starts_with(':') {
            self.at += 1;
            self.skip_space();
            return self.has(start, field);
        }
        let Some(field) = field else {
            let problem =
                "a key must be named: `labels.KEY`, or `labels:KEY` for whether there is one";
            return Err(self.error(start, self.at, problem));
        };
        let found = COMPARISONS
            .iter()
            .find(|(symbol, _)| self.rest().starts_with(symbol));
        let Some((symbol, comparison)) = found else {
            return Err(
                self.here("one of `=` `!=` `<` `<=` `>` `>=` `:` must stand here".to_owned())
            );
        };
        let operator = self.at;
        self.at += symbol.len();
        self.skip_space();
        match field {
            Field::State => {
                let is = match comparison {
                    Comparison::Equal => true,
                    Comparison::NotEqual => false,
                    _ => {
                        let end = operator + symbol.len();
                        let problem = "states have no order: `state` takes `=` and `!=`";
                        return Err(self.error(operator, end, problem));
                    }
                };
                let value = self.value()?;
                let state = self.state(&value)?;
                Ok(Test::State { is, state })
            }
            Field::Text(field) => Ok(Test::Text {
                field,
                comparison: *comparison,
                value: self.value()?.text,
            }),
            Field::Number(field) => {
                let value = self.value()?;
                Ok(Test::Number {
                    field,
                    comparison: *comparison,
                    value: self.number(field, &value)?,
                })
            }
        }
    }

    /// Behind `field:`; no field stands for `labels` as a whole.
    fn has(&mut self, start: usize, field: Option<Field>) -> Result<Test, Error> {
        let value = self.value()?;
        let any = !value.quoted && value.text == "*";
        match field {
            None if any || value.text.is_empty() => {
                Err(self.error(value.at, value.end, "`labels:` takes the key of a label"))
            }
            None => Ok(Test::HasText(TextField::Label(value.text))),
            Some(Field::Text(field)) if any => Ok(Test::HasText(field)),
            Some(Field::Text(field)) => Ok(Test::Contains {
                field,
                text: value.text,
            }),
            Some(Field::Number(field)) if any => Ok(Test::HasNumber(field)),
            Some(Field::Number(_)) => {
                let problem = "behind `:` a number or a time takes `*`, for whether there is one; compare it with `=` `<` `>`";
                Err(self.error(value.at, value.end, problem))
            }
            Some(Field::State) => {
                let problem = "`state` takes `=` and `!=`";
                Err(self.error(start, value.end, problem))
            }
        }
    }

    /// `None` for `labels` without a key.
    fn field(&mut self) -> Result<Option<Field>, Error> {
        let start = self.at;
        let length = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
        let end = start + self.rest().find(length).unwrap_or(self.rest().len());
        let name = &self.text[start..end];
        self.at = end;
        if name == "labels." && self.rest().starts_with(['"', '\'']) {
            let key = self.quoted()?;
            return Ok(Some(Field::Text(TextField::Label(key.text))));
        }
        match name.strip_prefix("labels") {
            Some("") => return Ok(None),
            Some(key) if key.len() > 1 && key.starts_with('.') => {
                let key = key[1..].to_owned();
                return Ok(Some(Field::Text(TextField::Label(key))));
            }
            _ => {}
        }
        if name.is_empty() || matches!(name, "AND" | "OR" | "NOT") {
            self.at = start;
            let fields = NAMES.join(", ");
            return Err(self.here(format!("a field must stand here: {fields}")));
        }
        match Field::named(name) {
            Some(field) => Ok(Some(field)),
            None => Err(self.error(start, end, unknown(name))),
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted();
        }
        let at = self.at;
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'' | '=' | '<' | '>' | '!')
        };
        let end = at + self.rest().find(ends).unwrap_or(self.rest().len());
        if at == end {
            return Err(
                self.here("a value must stand here, like \"text\", 5 or RUNNING".to_owned())
            );
        }
        self.at = end;
        self.skip_space();
        Ok(Value {
            text: self.text[at..end].to_owned(),
            quoted: false,
            at,
            end,
        })
    }

    /// A text in quotes; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<Value, Error> {
        let at = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((offset, c)) = chars.next() {
            if Some(c) == quote {
                let end = at + offset + 1;
                self.at = end;
                self.skip_space();
                return Ok(Value {
                    text,
                    quoted: true,
                    at,
                    end,
                });
            }
            let c = if c == '\\' {
                chars.next().map(|(_, escaped)| escaped)
            } else {
                Some(c)
            };
            text.extend(c);
        }
        Err(self.error(at, self.text.len(), "the closing quote is missing"))
    }

    fn state(&self, value: &Value) -> Result<StateKind, Error> {
        let named = StateKind::ALL
            .into_iter()
            .find(|state| state.name() == value.text);
        named.ok_or_else(|| {
            let names = StateKind::ALL.map(StateKind::name);
            let upper = value.text.to_uppercase();
            let near = near_names(&upper, names);
            let problem = match near.as_slice() {
                [near] => format!("is no state; did you mean {near}?"),
                _ => format!("is no state: {}", names.join(", ")),
            };
            self.error(value.at, value.end, problem)
        })
    }

    fn number(&self, field: NumberField, value: &Value) -> Result<i64, Error> {
        let (number, rule) = match field {
            NumberField::Priority => (
                value.text.parse().ok(),
                format!(
                    "`priority` is a number, 0 (last) to {} (first)",
                    Priority::MAX
                ),
            ),
            NumberField::CreateTime | NumberField::EndTime => (
                parse_rfc3339(&value.text),
                "a time must stand here as RFC 3339 has it, like \"2026-01-31T12:00:00Z\""
                    .to_owned(),
            ),
        };
        number.ok_or_else(|| self.error(value.at, value.end, rule))
    }

    /// What stands here is wrong: the word, or the one character.
    fn here(&self, problem: String) -> Error {
        let rest = self.rest();
        let word = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')'))
            .unwrap_or(rest.len());
        let one = rest.chars().next().map_or(0, char::len_utf8);
        self.error(self.at, self.at + word.max(one), problem)
    }

    fn error(&self, start: usize, end: usize, problem: impl Into<String>) -> Error {
        self.error_at(start, self.text[start..end].trim_end(), problem.into())
    }

    fn error_at(&self, at: usize, token: &str, problem: String) -> Error {
        const TOKEN_CHARS_MAX: usize = 60;
        let mut shown: String = token.chars().take(TOKEN_CHARS_MAX).collect();
        if shown.len() < token.len() {
            shown.push('…');
        }
        Error {
            position: self.text[..at].chars().count() + 1,
            token: shown,
            problem,
        }
    }
}

fn single_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

fn unknown(name: &str) -> String {
    if name.starts_with("labels") {
        return "is no field; a label is `labels.KEY`".to_owned();
    }
    let near = near_names(name, NAMES);
    let known = NAMES.join(", ");
    if near.len() == NAMES.len() {
        return format!("is no field; the fields are {known}");
    }
    let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "is no field; did you mean {}? The fields are {known}",
        near.join(" or ")
    )
}
