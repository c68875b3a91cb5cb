//! Numbers in a text, in the form that equal numbers share.

/// A number: `1,234.50` is sign `false`, whole `1234`, fraction `5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    /// Digits without leading zeros; empty for zero.
    whole: String,
    /// Digits without trailing zeros; empty for none.
    fraction: String,
}

impl Number {
    /// The number in digits, unless it has a fraction.
    pub(super) fn integer(self) -> Option<String> {
        self.fraction.is_empty().then(|| self.decimal())
    }

    /// The number in digits.
    pub(super) fn decimal(&self) -> String {
        let zero = self.whole.is_empty() && self.fraction.is_empty();
        let sign = if self.negative && !zero { "-" } else { "" };
        let whole = if self.whole.is_empty() {
            "0"
        } else {
            &self.whole
        };
        let point = if self.fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{}", self.fraction)
    }
}

/// The numbers of a text, in order.
///
/// Commas between groups of three digits are part of a number. A sign counts where no letter or
/// digit stands before it, so that `3-5` is 3 and 5. Digits inside a word (`x2`) are none.
pub(super) fn all(text: &str) -> impl Iterator<Item = Number> {
    Numbers {
        characters: text.chars().collect(),
        position: 0,
    }
}

struct Numbers {
    characters: Vec<char>,
    position: usize,
}

impl Numbers {
    fn at(&self, position: usize) -> Option<char> {
        self.characters.get(position).copied()
    }

    fn is_digit(&self, position: usize) -> bool {
        self.at(position).is_some_and(|c| c.is_ascii_digit())
    }

    /// The position behind the digits that begin here.
    fn digits_end(&self, mut position: usize) -> usize {
        while self.is_digit(position) {
            position += 1;
        }
        position
    }

    /// Whether a comma and exactly three digits stand here.
    fn is_group(&self, position: usize) -> bool {
        self.at(position) == Some(',') && self.digits_end(position + 1) == position + 4
    }

    fn text(&self, start: usize, end: usize) -> impl Iterator<Item = &char> {
        self.characters[start..end].iter().filter(|c| **c != ',')
    }

    fn is_negative(&self, start: usize) -> bool {
        let sign = start.checked_sub(1).and_then(|place| self.at(place));
        if !matches!(sign, Some('-' | '\u{2212}')) {
            return false;
        }
        let before = start.checked_sub(2).and_then(|place| self.at(place));
        !before.is_some_and(char::is_alphanumeric)
    }
}

impl Iterator for Numbers {
    type Item = Number;

    fn next(&mut self) -> Option<Number> {
        loop {
            let start = (self.position..self.characters.len()).find(|at| self.is_digit(*at))?;
            let mut end = self.digits_end(start);
            if end - start <= 3 {
                while self.is_group(end) {
                    end += 4;
                }
            }
            let whole_end = end;
            if self.at(end) == Some('.') && self.is_digit(end + 1) {
                end = self.digits_end(end + 1);
            }
            self.position = end;

            let before = start.checked_sub(1).and_then(|place| self.at(place));
            if before.is_some_and(|c| c.is_alphabetic() || c == '_') {
                continue;
            }
            let whole: String = self.text(start, whole_end).collect();
            let fraction: String = match whole_end == end {
                true => String::new(),
                false => self.text(whole_end + 1, end).collect(),
            };
            return Some(Number {
                negative: self.is_negative(start),
                whole: whole.trim_start_matches('0').to_owned(),
                fraction: fraction.trim_end_matches('0').to_owned(),
            });
        }
    }
}
