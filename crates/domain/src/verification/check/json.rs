//! JSON as a check reads it: one value, nothing after it, no key twice, not too deep, and no number that would be
//! taken for another one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::text::quoted;

/// Objects and arrays may stand so deep inside each other.
pub(super) const DEPTH: usize = 64;
/// Significant digits that a number with a fraction may have.
const DIGITS: usize = 17;
/// Below it every whole number has a floating-point form of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The value that a text is, or why it is none.
pub(super) fn strict(text: &str) -> Result<Value, String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = At(DEPTH).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ours(&error),
        serde_json::error::Category::Eof => "it ends too early".to_owned(),
        _ => format!("the mistake is in line {}, column {}", error.line(), error.column()),
    })?;
    numbers(text)?;
    Ok(value)
}

/// What we said ourselves, without the place that serde_json adds to it.
fn ours(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.rsplit_once(" at line ").map_or(said.clone(), |(said, _)| said.to_owned())
}

/// Refuses numbers that are read as another one. The text is JSON.
fn numbers(text: &str) -> Result<(), String> {
    let (mut rest, mut in_string) = (text.bytes().enumerate(), false);
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'\\' if in_string => {
                rest.next();
            }
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let token = &text[at..];
                let end =
                    token.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                let token = &token[..end.unwrap_or(token.len())];
                if !is_exact(token) {
                    return Err(format!("the number {} is too large or too fine to be read exactly", quoted(token)));
                }
                if token.len() > 1 {
                    rest.nth(token.len() - 2);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a number is read as no other than itself, as far as people write them.
fn is_exact(token: &str) -> bool {
    let digits = token.trim_start_matches('-');
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if mantissa.len() == digits.len() && fraction.is_empty() {
        return token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
    }
    let (Ok(value), Ok(exponent)) = (token.parse::<f64>(), exponent.parse::<i64>()) else { return false };
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return true;
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    // The power of ten of the last digit that is not zero: below zero, the number has a fraction.
    let last = exponent.saturating_sub(fraction.len() as i64).saturating_add(zeros as i64);
    significant.len() <= DIGITS && value != 0.0 && value.abs() < EXACT && (last >= 0 || value.fract() != 0.0)
}

/// A value that may be so deep.
struct At(usize);

impl<'de> DeserializeSeed<'de> for At {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl At {
    fn inside<E: Error>(&self) -> Result<usize, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom(format!("it is nested more than {DEPTH} levels deep")))
    }
}

impl<'de> Visitor<'de> for At {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number in it is too large"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(At(inside))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("the key {} is in it twice", quoted(&name))));
            }
            let value = fields.next_value_seed(At(inside))?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_are_read_as_themselves_are_read() {
        for good in [
            "0",
            "-0",
            "0.0",
            "0e9",
            "1",
            "1.0",
            "1e3",
            "0.1",
            "0.30000000000000004",
            "18446744073709551615",
            "-9223372036854775808",
            "1.5e-300",
            "9007199254740991.0",
            "1E+2",
            "-2.50",
            "100e-2",
        ] {
            assert!(is_exact(good) && strict(good).is_ok(), "{good}");
        }
        for bad in [
            "18446744073709551616",
            "-9223372036854775809",
            "1.0000000000000001",
            "1e-400",
            "1e23",
            "1e400",
            "9007199254740993.0",
            "0.100000000000000000001",
            "1e999999999999999999999",
        ] {
            assert!(!is_exact(bad) && strict(bad).is_err() && strict(&format!(" [{bad}]")).is_err(), "{bad}");
        }
        assert!(strict(r#"{"a":"1e400 \" 1e400","1e400":[1,-2,3.5],"b\\":7}"#).is_ok(), "texts are no numbers");
    }

    #[test]
    fn what_is_nearly_json_is_none() {
        for (text, why) in [
            ("", "it ends too early"),
            ("{", "it ends too early"),
            ("{} {}", "the mistake is in line 1, column 4"),
            ("{}x", "the mistake is in line 1, column 3"),
            ("\u{feff}{}", "it begins with a byte order mark"),
            ("NaN", "the mistake is in line 1, column 1"),
            ("[Infinity]", "the mistake is in line 1, column 2"),
            ("{'a':1}", "the mistake is in line 1, column 2"),
            ("[1,]", "the mistake is in line 1, column 4"),
            ("// no\n{}", "the mistake is in line 1, column 1"),
            (r#"{"a":1,"a":2}"#, "the key \"a\" is in it twice"),
            (r#"{"a":1,"\u0061":2}"#, "the key \"a\" is in it twice"),
        ] {
            assert_eq!(strict(text).unwrap_err(), why, "{text:?}");
        }
        for bad in ["01", "+1", "\"\\ud800\"", "\"a\nb\"", "```json\n{}\n```", "\u{a0}1"] {
            assert!(strict(bad).is_err(), "{bad:?}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(strict(&deep(DEPTH)).is_ok());
        assert_eq!(strict(&deep(DEPTH + 1)).unwrap_err(), "it is nested more than 64 levels deep");
        assert!(strict(&"[".repeat(1 << 20)).is_err());
    }
}
