//! Values of a case that have a short form (a text, a number) and a long one (a table). An unknown key
//! of the long form is an error that names it, which serde's untagged enums do not do.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// What has a short form.
pub(super) trait Short: Sized {
    /// What stands there, for errors.
    const EXPECTED: &'static str;

    /// The value of a text, if that is its short form.
    fn of_text(_text: &str) -> Option<Self> {
        None
    }

    /// The value of a number, if that is its short form.
    fn of_number(_number: u64) -> Option<Self> {
        None
    }
}

/// Reads either form.
pub(super) fn either<'de, D: Deserializer<'de>, T: Short + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Either(PhantomData))
}

/// Reads either form of what may be absent.
pub(super) fn maybe<'de, D: Deserializer<'de>, T: Short + Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    either(deserializer).map(Some)
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Short + Deserialize<'de>> Visitor<'de> for Either<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let unexpected = serde::de::Unexpected::Str(text);
        T::of_text(text).ok_or_else(|| E::invalid_type(unexpected, &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let value = u64::try_from(number).ok().and_then(T::of_number);
        value.ok_or_else(|| E::invalid_type(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
