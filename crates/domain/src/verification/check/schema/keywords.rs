//! The words of a schema. The standard has a validator ignore those that it does not know: one that is misspelt, or of
//! another draft, would let everything pass. Here they are refused.

use jsonschema::Draft::{self, Draft4, Draft6, Draft7, Draft201909, Draft202012};
use serde_json::{Map, Value};

use crate::verification::check::text::quoted;

/// Words that say something about values, and the first and the last draft that knows each.
const ASSERTING: [(&str, Draft, Draft); 46] = [
    ("$ref", Draft4, Draft202012),
    ("additionalItems", Draft4, Draft201909),
    ("additionalProperties", Draft4, Draft202012),
    ("allOf", Draft4, Draft202012),
    ("anyOf", Draft4, Draft202012),
    ("const", Draft6, Draft202012),
    ("contains", Draft6, Draft202012),
    ("contentEncoding", Draft7, Draft202012),
    ("contentMediaType", Draft7, Draft202012),
    ("contentSchema", Draft201909, Draft202012),
    ("dependencies", Draft4, Draft202012),
    ("dependentRequired", Draft201909, Draft202012),
    ("dependentSchemas", Draft201909, Draft202012),
    ("else", Draft7, Draft202012),
    ("enum", Draft4, Draft202012),
    ("exclusiveMaximum", Draft4, Draft202012),
    ("exclusiveMinimum", Draft4, Draft202012),
    ("format", Draft4, Draft202012),
    ("if", Draft7, Draft202012),
    ("items", Draft4, Draft202012),
    ("maxContains", Draft201909, Draft202012),
    ("maxItems", Draft4, Draft202012),
    ("maxLength", Draft4, Draft202012),
    ("maxProperties", Draft4, Draft202012),
    ("maximum", Draft4, Draft202012),
    ("minContains", Draft201909, Draft202012),
    ("minItems", Draft4, Draft202012),
    ("minLength", Draft4, Draft202012),
    ("minProperties", Draft4, Draft202012),
    ("minimum", Draft4, Draft202012),
    ("multipleOf", Draft4, Draft202012),
    ("not", Draft4, Draft202012),
    ("oneOf", Draft4, Draft202012),
    ("pattern", Draft4, Draft202012),
    ("patternProperties", Draft4, Draft202012),
    ("prefixItems", Draft202012, Draft202012),
    ("properties", Draft4, Draft202012),
    ("propertyNames", Draft6, Draft202012),
    ("required", Draft4, Draft202012),
    ("then", Draft7, Draft202012),
    ("type", Draft4, Draft202012),
    ("uniqueItems", Draft4, Draft202012),
    // Known, and refused for what they take.
    ("$dynamicRef", Draft202012, Draft202012),
    ("$recursiveRef", Draft201909, Draft201909),
    ("unevaluatedItems", Draft201909, Draft202012),
    ("unevaluatedProperties", Draft201909, Draft202012),
];

/// Words that say nothing about values, in whatever draft.
const SILENT: [&str; 18] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$recursiveAnchor",
    "$schema",
    "$vocabulary",
    "default",
    "definitions",
    "deprecated",
    "description",
    "example",
    "examples",
    "id",
    "readOnly",
    "title",
    "writeOnly",
];

/// Refuses what the draft would ignore in a part of a schema.
pub(super) fn known(fields: &Map<String, Value>, draft: Draft) -> Result<(), String> {
    for name in fields.keys().map(String::as_str).filter(|name| !SILENT.contains(name) && !name.starts_with("x-")) {
        match ASSERTING.iter().find(|(word, ..)| *word == name) {
            Some((_, first, last)) if (first..=last).contains(&&draft) => {}
            Some(_) => return Err(format!("uses {name}, which its draft of JSON Schema does not know")),
            None => return Err(format!("uses {}, which is no word of JSON Schema{}", quoted(name), meant(name))),
        }
    }
    // Until 2019 a reference stands alone.
    if draft < Draft201909 && fields.contains_key("$ref") {
        let beside = fields.keys().find(|name| *name != "$ref" && asserts(name));
        if let Some(name) = beside {
            return Err(format!("has {name} beside $ref, where its draft of JSON Schema ignores it"));
        }
    }
    Ok(())
}

fn asserts(name: &str) -> bool {
    ASSERTING.iter().any(|(word, ..)| *word == name)
}

/// The word that is meant, if one is near enough.
fn meant(name: &str) -> String {
    if name.len() > 40 {
        return String::new();
    }
    let words = ASSERTING.iter().map(|(word, ..)| *word).chain(SILENT);
    let nearest = words.map(|word| (distance(&name.to_lowercase(), &word.to_lowercase()), word)).min();
    nearest.filter(|(distance, _)| *distance <= 2).map(|(_, word)| format!(": {word} is")).unwrap_or_default()
}

/// How many letters must be put in, taken out or changed to come from one to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (place, its) in other.iter().enumerate() {
            let change = before + usize::from(letter != *its);
            before = row[place + 1];
            row[place + 1] = change.min(before + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verification::check::schema::Schema;

    fn refused(schema: &Value) -> String {
        Schema::new(schema).err().unwrap_or_else(|| panic!("{schema} is taken"))
    }

    #[test]
    fn a_word_that_would_be_ignored_is_refused() {
        let seven = "http://json-schema.org/draft-07/schema#";
        for (schema, why) in [
            (json!({"minLenght": 5}), "uses \"minLenght\", which is no word of JSON Schema: minLength is"),
            (json!({"Required": ["a"]}), "uses \"Required\", which is no word of JSON Schema: required is"),
            (json!({"min_length": 5}), "uses \"min_length\", which is no word of JSON Schema: minLength is"),
            (json!({"anything": 5}), "uses \"anything\", which is no word of JSON Schema"),
            (
                json!({"items": {"properties": {"a": {"typ": "string"}}}}),
                "uses \"typ\", which is no word of JSON Schema: type is",
            ),
            (
                json!({"$schema": seven, "prefixItems": []}),
                "uses prefixItems, which its draft of JSON Schema does not know",
            ),
            (json!({"additionalItems": false}), "uses additionalItems, which its draft of JSON Schema does not know"),
            (
                json!({"$schema": seven, "definitions": {"a": {}}, "$ref": "#/definitions/a", "minLength": 5}),
                "has minLength beside $ref, where its draft of JSON Schema ignores it",
            ),
        ] {
            assert_eq!(refused(&schema), why, "{schema}");
        }
    }

    #[test]
    fn words_for_people_and_names_of_properties_are_no_words_of_schemas() {
        for schema in [
            json!({"title": "A", "description": "b", "examples": [1], "$comment": "c", "x-mine": 1, "type": "integer"}),
            json!({"properties": {"minLenght": {"type": "integer"}}, "$defs": {"typ": {"type": "string"}}}),
            json!({"const": {"typ": 1}}),
            json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a", "minLength": 5}),
        ] {
            assert!(Schema::new(&schema).is_ok(), "{schema}");
        }
    }

    #[test]
    fn each_word_that_is_known_is_one_that_the_validator_holds_to() {
        // A value that fits nothing of the sort: a word that is ignored would let it pass.
        for (schema, value) in [
            (json!({"dependencies": {"a": ["b"]}}), json!({"a": 1})),
            (json!({"dependentRequired": {"a": ["b"]}}), json!({"a": 1})),
            (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), json!({"a": 1})),
            (json!({"contains": {"const": 1}, "minContains": 2}), json!([1])),
            (json!({"contains": {"const": 1}, "maxContains": 1}), json!([1, 1])),
            (json!({"if": {"type": "integer"}, "then": {"minimum": 5}}), json!(4)),
            (json!({"if": {"type": "string"}, "else": {"minimum": 5}}), json!(4)),
            (json!({"propertyNames": {"maxLength": 1}}), json!({"ab": 1})),
            (json!({"exclusiveMinimum": 5}), json!(5)),
            (json!({"exclusiveMaximum": 5}), json!(5)),
            (json!({"multipleOf": 2}), json!(3)),
            (json!({"maxProperties": 0}), json!({"a": 1})),
            (json!({"minProperties": 1}), json!({})),
            (json!({"patternProperties": {"^a": false}}), json!({"ab": 1})),
            (json!({"not": {}}), json!(1)),
            (json!({"oneOf": [{}, {}]}), json!(1)),
            (json!({"uniqueItems": true}), json!([1, 1])),
            (
                json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "items": [{}], "additionalItems": false}),
                json!([1, 2]),
            ),
        ] {
            let schema = Schema::new(&schema).unwrap_or_else(|why| panic!("{schema} {why}"));
            assert!(schema.fits(&value).is_err(), "{value}");
        }
    }
}
