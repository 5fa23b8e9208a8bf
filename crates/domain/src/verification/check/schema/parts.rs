//! The parts of a schema, and how often each looks at a value: the arithmetic that bounds a validator's work.

use std::collections::{BTreeMap, HashMap};

use jsonschema::Draft;
use jsonschema_regex::Search;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use serde_json::{Map, Value};

use super::keywords;
use super::{BUDGET, PATTERN_BYTES};
use crate::verification::check::pattern::WORK;
use crate::verification::check::text::quoted;

/// Parts that a schema may have.
const PARTS: usize = 4_000;
/// Parts inside each other, by nesting and by reference: a validator is built by recursion.
const CHAIN: usize = 100;
/// Looks at one value that one part may take.
const LOOKS: u64 = 10_000;
/// Steps of a pattern through a text that count as a look: the budget is as many steps as a pattern by itself may take.
const STEPS: u64 = WORK as u64 / BUDGET;
/// Steps for a byte of a pattern that cannot be told beforehand: more than any takes that may be compiled.
const MOST_STEPS: u64 = PATTERN_BYTES as u64 / 16;
/// Looks inside each other: a validator is a recursion.
const STACK: usize = 400;

/// The parts of a schema that a validator goes to, each a schema itself.
pub(super) struct Parts {
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
    /// What the patterns that are held against names take for each of their bytes.
    name_steps: u64,
    /// What the pattern that is held against a text takes for each of its bytes.
    text_steps: u64,
    /// Whether a pattern, a format or a length is held against a text.
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
    pub(super) fn of(schema: &Value, draft: Draft) -> Result<Self, String> {
        let mut reader = Reader { root: schema, draft, list: Vec::new(), known: HashMap::new() };
        reader.part(schema, CHAIN)?;
        let mut whole: Vec<Option<Whole>> = reader.list.iter().map(|_| None).collect();
        for id in 0..reader.list.len() {
            close(&reader.list, &mut whole, id, CHAIN)?;
        }
        let whole = whole.into_iter().map(|whole| whole.expect("each was closed")).collect();
        Ok(Self { list: reader.list, whole })
    }

    /// How many looks it takes to hold the value against the schema; none when it is too many.
    pub(super) fn looks(&self, value: &Value) -> Option<u64> {
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
        let steps = |text: &str, steps: u64| steps.saturating_mul(text.len() as u64) / STEPS;
        1 + self.weight
            + match value {
                Value::String(text) if self.reads_text => bytes(text) + steps(text, self.text_steps),
                Value::Array(_) if self.compares => size(value),
                Value::Object(fields) => fields.keys().map(|name| steps(name, self.name_steps)).sum(),
                _ => 0,
            }
    }
}

/// What a pattern takes for each byte of a text at the worst, when all its parts are followed at once.
fn steps(pattern: &str) -> u64 {
    let Ok(translated) = jsonschema_regex::to_rust_regex(pattern) else { return MOST_STEPS };
    // What a validator holds against a text in place of the pattern.
    let sought = match jsonschema_regex::search_form(pattern, &translated) {
        Some(Search::RepeatedClass(_)) => return 1,
        Some(Search::Collapsed(shorter)) => shorter.into(),
        None => translated,
    };
    let mut compiler = thompson::Compiler::new();
    let config = thompson::Config::new().which_captures(WhichCaptures::None);
    compiler.configure(config.nfa_size_limit(Some(PATTERN_BYTES)));
    compiler.build(&sought).map_or(MOST_STEPS, |nfa| nfa.states().len() as u64)
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
    draft: Draft,
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
        keywords::known(fields, self.draft)?;
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
            for (pattern, schema) in patterns {
                part.name_steps += steps(pattern);
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
        part.text_steps = fields.get("pattern").and_then(Value::as_str).map_or(0, steps);
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
