//! JSON Schema, for schemas and values that strangers wrote.
//!
//! Drafts 4 to 2020-12, the last one where `$schema` names none. A validator has no clock, so its work is bounded by
//! arithmetic beforehand, in two steps:
//!
//! | When                  | What is bounded                                                                     |
//! |-----------------------|-------------------------------------------------------------------------------------|
//! | the job is created    | how deep the schema goes, that no reference leads back to itself on the same value,  |
//! |                       | and how often one value is looked at by one part                                     |
//! | a value is looked at  | the looks at all parts of the value together, and how deep they are inside each other |
//!
//! What is counted is what a validator does that never stops early, so none does more. A value that takes too much does
//! not pass. Patterns run on the engine without backtracking, and count as if each of their parts were followed through
//! all of a text; `format` is held to, and one that nobody knows is refused, as is a word that the draft would ignore.

mod keywords;
mod parts;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::text::{quoted, shown};
use parts::Parts;

/// Objects and arrays of a schema may stand so deep inside each other.
const DEPTH: usize = 32;
/// Looks at all parts of a value.
const BUDGET: u64 = 5_000_000;
/// A value that takes fewer is looked at again to say what is wrong with it.
const EXPLAINED: u64 = BUDGET / 20;
/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 128 * 1024;

/// A schema that can be held against values, at a cost that is known.
pub(super) struct Schema {
    validator: Validator,
    parts: Parts,
}

/// What a value does not do that a schema asks for.
pub(super) enum Unfit {
    /// It is not what is asked for; where, by what keyword, as far as that is known.
    Differs(Option<(String, String)>),
    /// To find out takes too much.
    TooMuch,
}

impl Schema {
    /// Compiles a schema, or says what is wrong with it: the end of a sentence that begins with its name.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err("must be an object, or true or false".to_owned());
        }
        let draft = draft(schema)?;
        alone(schema, draft, DEPTH, true)?;
        let parts = Parts::of(schema, draft)?;
        let options = jsonschema::options()
            .with_draft(draft)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES));
        let validator = options.build(schema).map_err(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { String::new() } else { format!(" at {}", quoted(&at)) };
            format!("is no JSON Schema{at}: {}", shown(&error.to_string(), 200))
        })?;
        Ok(Self { validator, parts })
    }

    /// Whether the value fits; it is not nested deeper than [`super::json::DEPTH`].
    pub(super) fn fits(&self, value: &Value) -> Result<(), Unfit> {
        let looks = self.parts.looks(value).ok_or(Unfit::TooMuch)?;
        if looks <= EXPLAINED {
            return self.validator.validate(value).map_err(|error| {
                let keyword = error.kind().keyword().to_owned();
                Unfit::Differs(Some((error.instance_path().to_string(), keyword)))
            });
        }
        if self.validator.is_valid(value) { Ok(()) } else { Err(Unfit::Differs(None)) }
    }
}

fn draft(schema: &Value) -> Result<Draft, String> {
    let Some(name) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    Ok(match name.as_str().map(|name| name.trim_end_matches('#')) {
        Some("https://json-schema.org/draft/2020-12/schema") => Draft::Draft202012,
        Some("https://json-schema.org/draft/2019-09/schema") => Draft::Draft201909,
        Some("http://json-schema.org/draft-07/schema") => Draft::Draft7,
        Some("http://json-schema.org/draft-06/schema") => Draft::Draft6,
        Some("http://json-schema.org/draft-04/schema") => Draft::Draft4,
        _ => return Err("has a $schema that is not known: draft-04, -06, -07, 2019-09 and 2020-12 are".to_owned()),
    })
}

/// Refuses what would change where a reference leads, wherever it stands, and numbers that are compared inexactly.
fn alone(value: &Value, draft: Draft, deeper: usize, is_root: bool) -> Result<(), String> {
    let inside = || deeper.checked_sub(1).ok_or_else(|| format!("is nested more than {DEPTH} levels deep"));
    match value {
        Value::Array(items) => {
            let inside = inside()?;
            items.iter().try_for_each(|item| alone(item, draft, inside, false))
        }
        Value::Object(fields) => {
            let inside = inside()?;
            for (name, value) in fields {
                let names_itself = matches!(name.as_str(), "$id" | "$schema") || name == "id" && draft == Draft::Draft4;
                if names_itself && !is_root && value.is_string() {
                    return Err(format!("has a {name} inside: only the whole schema may have one"));
                }
                alone(value, draft, inside, false)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
