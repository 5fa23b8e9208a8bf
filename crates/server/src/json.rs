//! JSON bodies, read strictly: what two parsers could take for two things is refused, unknown fields or not.
//!
//! One cheap pass looks at the whole: that it is an object, at most [`DEPTH`] deep, without a key twice, its texts
//! whole characters, its numbers no infinities. A second one reads the type straight from the bytes. Only when that
//! fails is it read once more, to say what does not fit.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::{Error, misfit};

/// How many objects and arrays may stand inside each other.
const DEPTH: usize = 32;

/// Up to here an object's keys are compared with each other; beyond, a set is made of them.
const FEW_KEYS: usize = 16;

/// Reads a body; an empty one counts as `{}`.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let bytes = if is_blank(bytes) { b"{}" } else { bytes };
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|_| unfit::<T>(bytes))
}

/// Says what of the body does not fit the type.
fn unfit<T: DeserializeOwned>(bytes: &[u8]) -> Error {
    match value(bytes).map(misfit::read::<T>) {
        Ok(Err(misfit)) => Error::malformed(misfit),
        Ok(Ok(_)) => Error::malformed("The request body cannot be read"),
        Err(error) => error,
    }
}

/// A body that was read, in one form for all that say the same: white space and the order of keys are gone.
pub(crate) fn canonical(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = if is_blank(bytes) { b"{}" } else { bytes };
    Ok(serde_json::to_vec(&value(bytes)?).expect("a JSON value is JSON"))
}

fn value(bytes: &[u8]) -> Result<serde_json::Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| no_json(&error))
}

/// Says where the bytes are no JSON, or none that is taken.
fn no_json(error: &serde_json::Error) -> Error {
    let said = error.to_string();
    let place = format!("at line {} column {} of the request body", error.line(), error.column());
    Error::malformed(match error.classify() {
        serde_json::error::Category::Data => format!("The request body has {said}"),
        serde_json::error::Category::Eof => "The request body is not JSON: it ends too early".to_owned(),
        _ if said.starts_with("number out of range") => format!("The number {place} is too large"),
        _ if said.starts_with("invalid unicode code point") => {
            format!("The text {place} is not valid Unicode: its bytes are not UTF-8")
        }
        _ if said.starts_with("lone leading surrogate") || said.starts_with("unexpected end of hex escape") => {
            format!("The text {place} is not valid Unicode: a surrogate is escaped without its other half")
        }
        _ => format!("The request body is not JSON: {said}"),
    })
}

/// Whether there is nothing but what is white space in JSON: a form feed is not.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| b" \t\r\n".contains(byte))
}

/// Refuses what is not an object in strict JSON.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let whole = Strict { depth: DEPTH, keys: &mut Vec::new() }.deserialize(&mut deserializer);
    whole.and_then(|()| deserializer.end()).map_err(|error| no_json(&error))?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        Ok(())
    } else {
        Err(Error::malformed("The request body must be a JSON object"))
    }
}

/// Takes any JSON value that is strict enough, and keeps nothing of it.
struct Strict<'k, 'de> {
    /// Objects and arrays that may still be opened.
    depth: usize,
    /// The keys so far of all objects that are open: the last one's are at the end.
    keys: &'k mut Vec<Cow<'de, str>>,
}

impl<'de> Strict<'_, 'de> {
    fn inside<E: serde::de::Error>(&mut self) -> Result<Strict<'_, 'de>, E> {
        let depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("more than {DEPTH} objects and arrays inside each other")))?;
        Ok(Strict { depth, keys: self.keys })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while items.next_element_seed(Strict { depth: inside.depth, keys: &mut *inside.keys })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        let (depth, keys) = (inside.depth, inside.keys);
        let first = keys.len();
        let mut many: Option<HashSet<Cow<'de, str>>> = None;
        while let Some(key) = fields.next_key_seed(KeyOf)? {
            let is_double = match &mut many {
                Some(many) => !many.insert(key.clone()),
                None => keys[first..].contains(&key),
            };
            if is_double {
                return Err(A::Error::custom(format_args!("the key {:?} twice", short(&key))));
            }
            if many.is_none() {
                keys.push(key);
                if keys.len() - first > FEW_KEYS {
                    many = Some(keys.drain(first..).collect());
                }
            }
            fields.next_value_seed(Strict { depth, keys: &mut *keys })?;
        }
        keys.truncate(first);
        Ok(())
    }
}

/// A key as it stands in the bytes, or without its escapes.
struct KeyOf;

impl<'de> DeserializeSeed<'de> for KeyOf {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyOf {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The key, or its beginning: an answer does not repeat a megabyte.
fn short(key: &str) -> &str {
    key.char_indices().nth(64).map_or(key, |(end, _)| &key[..end])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Body {
        number: Option<i64>,
        text: Option<String>,
    }

    fn body(text: &str) -> Result<Body, Error> {
        read(text.as_bytes())
    }

    #[test]
    fn nothing_is_an_empty_object_and_unknown_fields_are_ignored() {
        let empty = Body { number: None, text: None };
        assert_eq!(body(" \r\n").unwrap(), empty);
        assert_eq!(body(r#"{"other":[{"a":1e300,"b":"\u0000"}]}"#).unwrap(), empty);
        let full = body(r#"{"number":-9223372036854775808,"text":"\ud83d\ude00"}"#).unwrap();
        assert_eq!(full, Body { number: Some(i64::MIN), text: Some("😀".to_owned()) });
    }

    #[test]
    fn what_two_parsers_could_take_for_two_things_is_refused_wherever_it_stands() {
        for json in [
            r#"{"text":"a","text":"b"}"#,
            r#"{"other":{"a":1,"b":2,"\u0061":3}}"#,
            r#"{"text":"\ud800"}"#,
            r#"{"other":"\udc00\ud800"}"#,
            r#"{"\ud800":1}"#,
            r#"{"number":9223372036854775808}"#,
            r#"{"number":-9223372036854775809}"#,
            r#"{"number":1e3}"#,
            r#"{"number":1.0}"#,
            r#"{"other":1e999}"#,
            r#"{"other":01}"#,
            r#"{"other":NaN}"#,
            r#"{"other":1} {}"#,
            r#"{"other":1,}"#,
            "{\"text\":\"\u{1}\"}",
            r#"["number"]"#,
            "1",
            "\u{c}",
        ] {
            assert!(body(json).is_err(), "{json}");
        }
        assert!(read::<Body>(b"{\"other\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_has_a_bound_for_objects_and_arrays_alike() {
        let nested = |depth: usize| {
            let (objects, arrays) = (depth / 2, depth - depth / 2 - 1);
            let open = r#"{"a":"#.repeat(objects) + &"[".repeat(arrays);
            format!(r#"{{"b":{open}1{}{}}}"#, "]".repeat(arrays), "}".repeat(objects))
        };
        assert!(body(&nested(DEPTH)).is_ok());
        assert!(body(&nested(DEPTH + 1)).is_err());
        assert!(body(&"[".repeat(1 << 20)).is_err());
    }

    #[test]
    fn a_key_is_found_twice_among_many() {
        let keys = |count: usize| (0..count).map(|n| format!("\"k{n}\":{{}}")).collect::<Vec<_>>().join(",");
        for count in [1, FEW_KEYS - 1, FEW_KEYS, FEW_KEYS + 1, 1000] {
            let all = keys(count);
            assert!(body(&format!("{{{all}}}")).is_ok(), "{count}");
            for twice in [0, count / 2, count - 1] {
                assert!(body(&format!("{{{all},\"k{twice}\":1}}")).is_err(), "{twice} of {count}");
            }
        }
        // The same key in objects beside or inside each other is another one.
        assert!(body(r#"{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn what_is_refused_is_named() {
        let said = |json: &str| format!("{:?}", body(json).unwrap_err());
        assert!(said(r#"{"number":"x"}"#).contains("\"number must be a whole number, not a text\""));
        assert!(said(r#"{"a":1,"a":2}"#).contains(r#"the key \"a\" twice"#), "{}", said(r#"{"a":1,"a":2}"#));
        assert!(said("[]").contains("must be a JSON object"));
        assert!(said(r#"{"number":"#).contains("it ends too early"));
    }

    #[test]
    fn numbers_that_are_too_large_and_texts_that_are_not_unicode_are_named() {
        let said = |json: &str| format!("{:?}", body(json).unwrap_err());
        for number in ["1e400", "-1e400", &"9".repeat(400)] {
            let place =
                format!("\"The number at line 1 column {} of the request body is too large\"", 9 + number.len());
            let told = said(&format!(r#"{{"other":{number}}}"#));
            assert!(told.contains(&place), "{told}");
        }
        for text in [r"\ud800", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\ud800\ud800", r"\udc00", r"\udc00\ud800"] {
            for body in [format!(r#"{{"text":"{text}"}}"#), format!(r#"{{"{text}":1}}"#)] {
                let told = said(&body);
                assert!(
                    told.contains("\"The text at line 1 column ") && told.contains("is not valid Unicode"),
                    "{told}"
                );
            }
        }
        let told = format!("{:?}", read::<Body>(b"{\"other\":\"\xff\"}").unwrap_err());
        assert!(told.contains("is not valid Unicode: its bytes are not UTF-8"), "{told}");
        // An escape that is no escape is another mistake.
        for text in [r"\ud8", r"\ud80g", r"\x"] {
            let told = said(&format!(r#"{{"text":"{text}"}}"#));
            assert!(told.contains("is not JSON"), "{told}");
        }
    }
}
