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
//! not pass. Patterns run on the engine without backtracking; `format` is held to, and one that nobody knows is refused.

use std::collections::{BTreeMap, HashMap};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use super::text::{quoted, shown};

/// Objects and arrays of a schema may stand so deep inside each other.
const DEPTH: usize = 32;
/// Parts that a schema may have.
const PARTS: usize = 4_000;
/// Parts inside each other, by nesting and by reference: a validator is built by recursion.
const CHAIN: usize = 100;
/// Looks at one value that one part may take.
const LOOKS: u64 = 10_000;
/// Looks at all parts of a value.
const BUDGET: u64 = 5_000_000;
/// A value that takes fewer is looked at again to say what is wrong with it.
const EXPLAINED: u64 = BUDGET / 20;
/// Looks inside each other: a validator is a recursion.
const STACK: usize = 400;
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
        let parts = Parts::of(schema)?;
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

/// The parts of a schema that a validator goes to, each a schema itself.
struct Parts {
    list: Vec<Part>,
    /// For each part, how often it and others look at a value that it looks at once.
    whole: Vec<Whole>,
}

#[derive(Default)]
struct Part {
    /// Parts that look at the same value.
    same: Vec<usize>,
    /// Parts that look at the property of that name.
    property: BTreeMap<String, usize>,
    /// Parts that may look at any property.
    properties: Vec<usize>,
    /// Parts that look at names of properties.
    names: Vec<usize>,
    /// Parts that may look at any item.
    items: Vec<usize>,
    /// How much it takes apart from the value: values that are compared, names that are asked for.
    weight: u64,
    /// How many patterns are held against names.
    patterns: u64,
    /// Whether a pattern or a format is held against a text.
    reads_text: bool,
    /// Whether items are compared with each other.
    compares: bool,
}

struct Whole {
    /// Looks of each part, itself among them.
    looks: Vec<(usize, u64)>,
    /// How many of them are inside each other.
    chain: usize,
}

/// Keywords under which a part stands that looks at the same value.
const SAME: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords under which a list of such parts stands.
const SAME_EACH: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords under which such parts stand by name.
const SAME_NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords whose work cannot be told beforehand.
const REFUSED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"];

impl Parts {
    fn of(schema: &Value) -> Result<Self, String> {
        let mut reader = Reader { root: schema, list: Vec::new(), known: HashMap::new() };
        reader.part(schema, CHAIN)?;
        let mut whole: Vec<Option<Whole>> = reader.list.iter().map(|_| None).collect();
        for id in 0..reader.list.len() {
            close(&reader.list, &mut whole, id, CHAIN)?;
        }
        let whole = whole.into_iter().map(|whole| whole.expect("each was closed")).collect();
        Ok(Self { list: reader.list, whole })
    }

    /// How many looks it takes to hold the value against the schema; none when it is too many.
    fn looks(&self, value: &Value) -> Option<u64> {
        let mut left = BUDGET;
        self.spend(value, &[(0, 1)], STACK, &mut left)?;
        Some(BUDGET - left)
    }

    fn spend(&self, value: &Value, active: &[(usize, u64)], stack: usize, left: &mut u64) -> Option<()> {
        let chain = active.iter().map(|(part, _)| self.whole[*part].chain).max().unwrap_or(0);
        let stack = stack.checked_sub(chain)?;
        let flat = merged(active.iter().flat_map(|(part, times)| {
            self.whole[*part].looks.iter().map(move |(part, looks)| (*part, looks.saturating_mul(*times)))
        }));
        for (part, times) in &flat {
            *left = left.checked_sub(self.list[*part].takes(value).saturating_mul(*times))?;
        }
        let of = |pick: &dyn Fn(&Part) -> &[usize]| {
            let to = |(part, times): &(usize, u64)| {
                let times = *times;
                pick(&self.list[*part]).iter().map(move |part| (*part, times))
            };
            merged(flat.iter().flat_map(to))
        };
        match value {
            Value::Array(items) => {
                let active = of(&|part| &part.items);
                items.iter().try_for_each(|item| self.spend(item, &active, stack, left))
            }
            Value::Object(fields) => {
                let (any, names) = (of(&|part| &part.properties), of(&|part| &part.names));
                fields.iter().try_for_each(|(name, value)| {
                    if !names.is_empty() {
                        self.spend(&Value::String(name.clone()), &names, stack, left)?;
                    }
                    let named = flat
                        .iter()
                        .filter_map(|(part, times)| self.list[*part].property.get(name).map(|part| (*part, *times)));
                    *left = left.checked_sub(flat.len() as u64)?;
                    self.spend(value, &merged(named.chain(any.iter().copied())), stack, left)
                })
            }
            _ => Some(()),
        }
    }
}

impl Part {
    /// What one look at this value takes, what is inside of it aside.
    fn takes(&self, value: &Value) -> u64 {
        let bytes = |text: &str| 1 + text.len() as u64 / 16;
        1 + self.weight
            + match value {
                Value::String(text) if self.reads_text => bytes(text),
                Value::Array(_) if self.compares => size(value),
                Value::Object(fields) => self.patterns * fields.keys().map(|name| bytes(name)).sum::<u64>(),
                _ => 0,
            }
    }
}

/// How many values there are in one.
fn size(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        Value::String(text) => text.len() as u64 / 64,
        _ => 0,
    }
}

/// Each part once, with its times added up.
fn merged(parts: impl Iterator<Item = (usize, u64)>) -> Vec<(usize, u64)> {
    let mut list: Vec<(usize, u64)> = parts.collect();
    list.sort_unstable_by_key(|(part, _)| *part);
    list.dedup_by(|from, into| {
        let same = from.0 == into.0;
        if same {
            into.1 = into.1.saturating_add(from.1);
        }
        same
    });
    list
}

/// Adds up what a part and those that look at the same value do.
fn close(list: &[Part], whole: &mut [Option<Whole>], id: usize, deeper: usize) -> Result<(), String> {
    if whole[id].is_some() {
        return Ok(());
    }
    let Some(deeper) = deeper.checked_sub(1) else {
        return Err(format!("goes round in a circle, or through more than {CHAIN} parts, for one and the same value"));
    };
    let (mut looks, mut chain) = (vec![(id, 1)], 1);
    for part in &list[id].same {
        close(list, whole, *part, deeper)?;
        let part = whole[*part].as_ref().expect("it was just closed");
        looks.extend_from_slice(&part.looks);
        chain = chain.max(part.chain + 1);
        looks = merged(looks.into_iter());
        if looks.iter().map(|(_, times)| times).sum::<u64>() > LOOKS {
            return Err(format!("looks at one and the same value more than {LOOKS} times"));
        }
    }
    whole[id] = Some(Whole { looks, chain });
    Ok(())
}

struct Reader<'a> {
    root: &'a Value,
    list: Vec<Part>,
    known: HashMap<*const Value, usize>,
}

impl<'a> Reader<'a> {
    /// The number of the part, which is read unless it is known.
    fn part(&mut self, schema: &'a Value, deeper: usize) -> Result<usize, String> {
        if let Some(id) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*id);
        }
        let Some(deeper) = deeper.checked_sub(1) else {
            return Err(format!("goes through more than {CHAIN} parts, one inside the other"));
        };
        let id = self.list.len();
        if id == PARTS {
            return Err(format!("has more than {PARTS} parts"));
        }
        self.known.insert(std::ptr::from_ref(schema), id);
        self.list.push(Part::default());
        if let Value::Object(fields) = schema {
            let part = self.read(fields, deeper)?;
            self.list[id] = part;
        }
        Ok(id)
    }

    fn read(&mut self, fields: &'a Map<String, Value>, deeper: usize) -> Result<Part, String> {
        if let Some(name) = REFUSED.iter().find(|name| fields.contains_key(**name)) {
            return Err(format!("uses {name}, which is not supported here"));
        }
        if fields.get("format").is_some_and(|format| format == "regex") {
            return Err("uses the format regex, which is not supported here".to_owned());
        }
        let mut part = Part::default();
        if let Some(to) = fields.get("$ref") {
            part.same.push(self.part(self.referred(to)?, deeper)?);
        }
        self.each(fields, &SAME, deeper, &mut part.same)?;
        self.each(fields, &SAME_EACH, deeper, &mut part.same)?;
        self.each(fields, &SAME_NAMED, deeper, &mut part.same)?;
        self.each(fields, &["items", "prefixItems", "additionalItems", "contains"], deeper, &mut part.items)?;
        self.each(fields, &["additionalProperties"], deeper, &mut part.properties)?;
        self.each(fields, &["propertyNames"], deeper, &mut part.names)?;
        if let Some(Value::Object(patterns)) = fields.get("patternProperties") {
            part.patterns = patterns.len() as u64;
            for schema in patterns.values() {
                part.properties.push(self.part(schema, deeper)?);
            }
        }
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (name, schema) in properties {
                part.property.insert(name.clone(), self.part(schema, deeper)?);
            }
        }
        let compared = ["enum", "const", "required", "dependentRequired", "dependencies"];
        part.weight = compared.iter().filter_map(|name| fields.get(*name)).map(size).sum();
        part.reads_text =
            ["pattern", "format", "minLength", "maxLength", "contentMediaType", "contentEncoding", "const", "enum"]
                .iter()
                .any(|name| fields.contains_key(*name));
        part.compares = fields.get("uniqueItems").is_some_and(|unique| unique == true);
        Ok(part)
    }

    /// Reads what stands under these keywords: a schema, a list of them, or some by name.
    fn each(
        &mut self,
        fields: &'a Map<String, Value>,
        names: &[&str],
        deeper: usize,
        into: &mut Vec<usize>,
    ) -> Result<(), String> {
        for name in names {
            match fields.get(*name) {
                Some(Value::Array(schemas)) => {
                    for schema in schemas {
                        into.push(self.part(schema, deeper)?);
                    }
                }
                Some(Value::Object(schemas)) if SAME_NAMED.contains(name) => {
                    for schema in schemas.values().filter(|schema| !schema.is_array()) {
                        into.push(self.part(schema, deeper)?);
                    }
                }
                Some(schema @ (Value::Object(_) | Value::Bool(_))) => into.push(self.part(schema, deeper)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// What a reference leads to, in the schema itself.
    fn referred(&self, to: &Value) -> Result<&'a Value, String> {
        let way = to.as_str().and_then(|to| to.strip_prefix('#'));
        let Some(way) = way.filter(|way| (way.is_empty() || way.starts_with('/')) && !way.contains('%')) else {
            return Err(
                "has a $ref that leads elsewhere: only such as \"#\" and \"#/$defs/name\" are followed".to_owned()
            );
        };
        let found = self.root.pointer(way).filter(|found| found.is_object() || found.is_boolean());
        found.ok_or_else(|| format!("has a $ref to {}, where there is no schema", quoted(way)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        Schema::new(schema).err().unwrap_or_else(|| panic!("{schema} is taken"))
    }

    fn fits(schema: &Value, value: &Value) -> bool {
        Schema::new(schema).unwrap_or_else(|why| panic!("{schema} {why}")).fits(value).is_ok()
    }

    /// Definitions of which each goes to the next one, twice, in this way.
    fn doubling(levels: usize, twice: impl Fn(Value) -> Value) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), twice(next));
        }
        defs.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn a_schema_that_would_explode_on_one_value_is_refused() {
        for keyword in ["anyOf", "allOf", "oneOf"] {
            let begun = Instant::now();
            let bomb = doubling(40, |next| json!({keyword: [next, next]}));
            assert_eq!(refused(&bomb), "looks at one and the same value more than 10000 times");
            let deep = doubling(101, |next| json!({keyword: [next]}));
            assert!(refused(&deep).contains("more than 100 parts"));
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
        assert!(Schema::new(&doubling(8, |next| json!({"anyOf": [next, next]}))).is_ok(), "what is small is not");
    }

    #[test]
    fn a_reference_that_goes_round_on_the_same_value_is_refused() {
        for circle in [
            json!({"$ref": "#"}),
            json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}),
            json!({"if": {"$ref": "#"}, "then": true}),
            json!({"dependentSchemas": {"a": {"$ref": "#"}}}),
        ] {
            assert!(refused(&circle).starts_with("goes round in a circle"), "{circle}");
        }
        let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["value"]});
        assert!(fits(&tree, &json!({"value": 1, "next": {"value": 2}})));
        assert!(!fits(&tree, &json!({"value": 1, "next": {"next": {"value": 2}}})));
    }

    #[test]
    fn a_value_that_makes_a_schema_explode_does_not_pass() {
        let schema = json!({"$defs": {"a": {"anyOf": [
            {"items": {"$ref": "#/$defs/a"}, "minItems": 9}, {"items": {"$ref": "#/$defs/a"}, "type": "array"}]}},
            "$ref": "#/$defs/a"});
        let schema = Schema::new(&schema).unwrap_or_else(|why| panic!("{why}"));
        let begun = Instant::now();
        let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
        assert!(matches!(schema.fits(&deep), Err(Unfit::TooMuch)));
        let wide = Value::Array((0..200_000).map(|n| json!([[n]])).collect());
        assert!(matches!(schema.fits(&wide), Err(Unfit::TooMuch)));
        assert!(schema.fits(&json!([[], [[]]])).is_ok());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn the_deepest_that_is_taken_fits_on_the_stack() {
        let chain = doubling(48, |next| json!({"allOf": [next]}));
        assert!(fits(&chain, &json!("x")) && !fits(&chain, &json!(5)));
        let round = json!({"items": {"anyOf": [{"allOf": [{"$ref": "#"}]}, {"not": {"$ref": "#"}}]}});
        let deep = (0..63).fold(json!([]), |inner, _| json!([inner]));
        let schema = Schema::new(&round).unwrap_or_else(|why| panic!("{why}"));
        assert!(matches!(schema.fits(&deep), Err(Unfit::TooMuch)));
    }

    #[test]
    fn nothing_is_fetched_and_nothing_is_ignored_that_asks_for_something() {
        for (schema, why) in [
            (json!({"$ref": "http://127.0.0.1/schema"}), "leads elsewhere"),
            (json!({"$ref": "file:///etc/passwd"}), "leads elsewhere"),
            (json!({"$ref": "other.json#/a"}), "leads elsewhere"),
            (json!({"properties": {"a": {"$ref": "#anchor"}}}), "leads elsewhere"),
            (json!({"$ref": 5}), "leads elsewhere"),
            (json!({"$ref": "#/$defs/none"}), "where there is no schema"),
            (json!({"$dynamicRef": "#a"}), "$dynamicRef"),
            (json!({"allOf": [{"unevaluatedProperties": false}]}), "unevaluatedProperties"),
            (json!({"$schema": "http://example.com/mine"}), "not known"),
            (json!({"$defs": {"a": {"$id": "http://a.example/"}}, "$ref": "#/$defs/a"}), "has a $id inside"),
            (json!({"format": "no-such-format"}), "is no JSON Schema"),
            (json!({"type": "strin"}), "is no JSON Schema"),
            (json!({"required": "a"}), "is no JSON Schema"),
            (json!({"pattern": "("}), "is no JSON Schema"),
            (json!({"pattern": "(a)\\1"}), "is no JSON Schema"),
            (json!({"pattern": "(?=a)b"}), "is no JSON Schema"),
            (json!({"pattern": "(((a{99}){99}){99}){99}"}), "is no JSON Schema"),
            (json!([]), "must be an object"),
            (json!("true"), "must be an object"),
        ] {
            assert!(refused(&schema).contains(why), "{schema}: {}", refused(&schema));
        }
    }

    #[test]
    fn each_draft_means_what_it_says() {
        let dated = json!({"format": "date"});
        assert!(fits(&dated, &json!("2026-11-26")) && !fits(&dated, &json!("2026-11-31")), "formats are held to");
        let four =
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 5, "exclusiveMinimum": true});
        assert!(fits(&four, &json!(6)) && !fits(&four, &json!(5)));
        let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]});
        assert!(fits(&seven, &json!(["a", 5])) && !fits(&seven, &json!([5])));
        let newest = json!({"prefixItems": [{"type": "string"}], "items": false});
        assert!(fits(&newest, &json!(["a"])) && !fits(&newest, &json!(["a", 5])));
        assert!(!fits(&json!(false), &json!({})) && fits(&json!(true), &json!({})));
    }
}
