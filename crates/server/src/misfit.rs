//! What does not fit the fields it was sent for, in words for people: which field, what it must be, what it is.
//!
//! A body that could not be read is read once more with this error, a query always is. What it is, is a kind and
//! never the value: that may be a secret in the wrong place.

use std::borrow::Cow;
use std::fmt;
use std::num::IntErrorKind;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

/// So much of the way to a field is told, in characters: an answer does not repeat a megabyte.
const WAY: usize = 128;

/// Reads the value, or says what does not fit.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    told(serde_path_to_error::deserialize(Given(value)))
}

/// Reads the names and texts of a query, or says what does not fit.
pub(crate) fn read_texts<'a, T: DeserializeOwned>(
    texts: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, String> {
    let texts = texts.map(|(name, text)| (name.into_owned(), Text(text.into_owned())));
    told(serde_path_to_error::deserialize(MapDeserializer::new(texts)))
}

fn told<T>(read: Result<T, serde_path_to_error::Error<Misfit>>) -> Result<T, String> {
    read.map_err(|error| {
        let way = error.path().to_string();
        let way = way.char_indices().nth(WAY).map_or(way.as_str(), |(end, _)| &way[..end]);
        match error.inner() {
            Misfit::Field(field, is) => format!("{field} {is}"),
            // Everything that is read is an object, so this is a field of one.
            Misfit::Here(is) => format!("{way} {is}"),
        }
    })
}

/// What is wrong, as the end of a sentence.
#[derive(Debug)]
enum Misfit {
    /// With the value that was being read.
    Here(String),
    /// With this field.
    Field(&'static str, &'static str),
}

impl Misfit {
    fn must_be(expected: impl fmt::Display, given: &str) -> Self {
        Self::Here(format!("must be {expected}, not {given}"))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(is) => f.write_str(is),
            Self::Field(field, is) => write!(f, "{field} {is}"),
        }
    }
}

impl std::error::Error for Misfit {}

impl Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Here(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::must_be(Wanted(&expected.to_string()), kind(unexpected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        match bounds(&expected) {
            Some((least, most)) => Self::Here(format!("must be a whole number from {least} to {most}")),
            None => Self::must_be(Wanted(&expected), kind(unexpected)),
        }
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::must_be(OneOf(variants), "another text")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Field(field, "is missing")
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Field(field, "is there twice")
    }
}

/// What something is, for people.
fn kind(unexpected: Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
        Unexpected::Float(_) => "a number with a fraction or an exponent",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "a text",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

/// What serde says that it expects, in our words.
struct Wanted<'a>(&'a str);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            "a string" => "a text",
            "a boolean" => "true or false",
            "a sequence" => "an array",
            "a map" => "an object",
            name if bounds(name).is_some() => "a whole number",
            name if name.starts_with("struct ") => "an object",
            other => other,
        })
    }
}

/// The least and the largest number of a type that serde names.
fn bounds(name: &str) -> Option<(i64, u64)> {
    match name {
        "i64" => Some((i64::MIN, i64::MAX.unsigned_abs())),
        "u32" => Some((0, u32::MAX.into())),
        _ => None,
    }
}

/// Words of which one is meant.
struct OneOf(&'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            let before = if at == 0 {
                ""
            } else if at + 1 == self.0.len() {
                " or "
            } else {
                ", "
            };
            write!(f, "{before}{word:?}")?;
        }
        Ok(())
    }
}

/// A value that came in a body.
struct Given(Value);

impl Given {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(truth) => Unexpected::Bool(*truth),
            Value::Number(number) => number.as_f64().map_or(Unexpected::Other("number"), Unexpected::Float),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl IntoDeserializer<'_, Misfit> for Given {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Given {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(truth),
            Value::Number(number) => visit(&number, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Given))),
            Value::Object(fields) => {
                visitor.visit_map(MapDeserializer::new(fields.into_iter().map(|(name, value)| (name, Given(value)))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(Misfit::must_be(OneOf(variants), kind(self.unexpected()))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

fn visit<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Misfit> {
    /// Beyond it a whole number has no other form than this one.
    const LARGE: f64 = 9.2e18;
    if let Some(number) = number.as_u64() {
        visitor.visit_u64(number)
    } else if let Some(number) = number.as_i64() {
        visitor.visit_i64(number)
    } else {
        match number.as_f64() {
            Some(large) if large.abs() > LARGE => Err(Error::invalid_value(Unexpected::Float(large), &visitor)),
            number => visitor.visit_f64(number.unwrap_or(f64::NAN)),
        }
    }
}

/// A text that came in a query, where a whole number is one too.
struct Text(String);

impl IntoDeserializer<'_, Misfit> for Text {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number),
            Err(error) => Err(match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                    Error::invalid_value(Unexpected::Str(&self.0), &visitor)
                }
                IntErrorKind::Empty => Misfit::must_be("a whole number", "empty"),
                _ => Error::invalid_type(Unexpected::Str(&self.0), &visitor),
            }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "they are read, and that is all")]
    struct Fields {
        name: String,
        price_cents: Option<i64>,
        attempt: Option<u32>,
        confirmed: Option<bool>,
        verdict: Option<clawrk_domain::Verdict>,
        variables: Option<BTreeMap<String, String>>,
        criteria: Option<Vec<String>>,
        expires_at: Option<clawrk_domain::Timestamp>,
    }

    #[test]
    fn a_misfit_names_the_field_what_it_must_be_and_what_it_is() {
        for (field, value, is) in [
            ("name", json!(5), "name must be a text, not a number"),
            ("name", json!(null), "name must be a text, not null"),
            ("price_cents", json!("5"), "price_cents must be a whole number, not a text"),
            ("price_cents", json!(true), "price_cents must be a whole number, not true or false"),
            ("price_cents", json!([5]), "price_cents must be a whole number, not an array"),
            ("price_cents", json!({}), "price_cents must be a whole number, not an object"),
            (
                "price_cents",
                json!(1.0),
                "price_cents must be a whole number, not a number with a fraction or an exponent",
            ),
            (
                "price_cents",
                json!(u64::MAX),
                "price_cents must be a whole number from -9223372036854775808 to 9223372036854775807",
            ),
            (
                "price_cents",
                json!(1e30),
                "price_cents must be a whole number from -9223372036854775808 to 9223372036854775807",
            ),
            ("attempt", json!(-1), "attempt must be a whole number from 0 to 4294967295"),
            ("attempt", json!("1"), "attempt must be a whole number, not a text"),
            ("confirmed", json!("yes"), "confirmed must be true or false, not a text"),
            ("verdict", json!("maybe"), "verdict must be \"pass\" or \"fail\", not another text"),
            ("verdict", json!({"pass": 1}), "verdict must be \"pass\" or \"fail\", not an object"),
            ("variables", json!("A=b"), "variables must be an object, not a text"),
            ("variables", json!({"A": 5}), "variables.A must be a text, not a number"),
            ("criteria", json!("good"), "criteria must be an array, not a text"),
            ("criteria", json!(["good", {}]), "criteria[1] must be a text, not an object"),
            ("expires_at", json!("tomorrow"), "expires_at must be a time such as 2025-01-01T00:00:00.000Z"),
            ("expires_at", json!(5), "expires_at must be a text, not a number"),
        ] {
            let mut body = json!({"name": "x"});
            body[field] = value;
            assert_eq!(read::<Fields>(body).unwrap_err(), is);
        }
        assert_eq!(read::<Fields>(json!({})).unwrap_err(), "name is missing");
    }

    #[test]
    fn a_query_is_spoken_of_in_the_same_words() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Page {
            limit: Option<i64>,
            after: Option<String>,
        }
        let page = |query: &str| read_texts::<Page>(form_urlencoded::parse(query.as_bytes()));
        assert_eq!(page("limit=-5&after=a%20b&x=1&x=2"), Ok(Page { limit: Some(-5), after: Some("a b".to_owned()) }));
        assert_eq!(page(""), Ok(Page { limit: None, after: None }));
        for (query, is) in [
            ("limit=many", "limit must be a whole number, not a text"),
            ("limit=1.5", "limit must be a whole number, not a text"),
            ("limit=", "limit must be a whole number, not empty"),
            (
                "limit=9223372036854775808",
                "limit must be a whole number from -9223372036854775808 to 9223372036854775807",
            ),
            ("limit=1&limit=2", "limit is there twice"),
        ] {
            assert_eq!(page(query).unwrap_err(), is);
        }
    }

    #[test]
    fn no_value_is_repeated_and_no_long_name() {
        let body = json!({"name": "x", "variables": {"a".repeat(1000): ["hush"]}});
        let said = read::<Fields>(body).unwrap_err();
        assert!(said.len() < 200 && !said.contains("hush") && said.ends_with("must be a text, not an array"), "{said}");
    }

    #[test]
    fn what_fits_is_read_as_serde_json_reads_it() {
        let body = json!({"name": "x", "price_cents": -5, "attempt": 3, "confirmed": true, "verdict": "fail",
            "variables": {"A": "b"}, "criteria": ["c", "d"], "expires_at": "2025-01-01T00:00:00Z", "more": [1.5, null]});
        let direct: Fields = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(format!("{:?}", read::<Fields>(body).unwrap()), format!("{direct:?}"));
    }
}
