use std::time::{Duration, Instant};

use serde_json::{Map, json};

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
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 5, "exclusiveMinimum": true});
    assert!(fits(&four, &json!(6)) && !fits(&four, &json!(5)));
    let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]});
    assert!(fits(&seven, &json!(["a", 5])) && !fits(&seven, &json!([5])));
    let newest = json!({"prefixItems": [{"type": "string"}], "items": false});
    assert!(fits(&newest, &json!(["a"])) && !fits(&newest, &json!(["a", 5])));
    assert!(!fits(&json!(false), &json!({})) && fits(&json!(true), &json!({})));
}

#[test]
fn a_pattern_that_would_take_too_long_on_a_text_is_not_begun() {
    let long = "ab".repeat(1 << 19);
    for pattern in ["[ab]*a[ab]{900}c", "(?:[ab]{0,30}a){30}c", "a(?:a?b?){600}c", "c[ab]{500}a[ab]*$"] {
        let text = Schema::new(&json!({"pattern": pattern})).unwrap_or_else(|why| panic!("{why}"));
        assert!(matches!(text.fits(&json!(long)), Err(Unfit::TooMuch)), "{pattern}");
        // Of a short text it is told, and many short ones are one long one.
        assert!(matches!(text.fits(&json!(&long[..400])), Err(Unfit::Differs(_))), "{pattern}");
        let each = Schema::new(&json!({"items": {"pattern": pattern}})).unwrap_or_else(|why| panic!("{why}"));
        let many: Vec<&str> = (0..2_600).map(|at| &long[at..at + 400]).collect();
        assert!(matches!(each.fits(&json!(many)), Err(Unfit::TooMuch)), "{pattern}");
        let named = Schema::new(&json!({"patternProperties": {pattern: false}})).unwrap_or_else(|why| panic!("{why}"));
        assert!(matches!(named.fits(&json!({&long: 1})), Err(Unfit::TooMuch)), "{pattern}");
    }
}

#[test]
fn a_plain_pattern_is_held_against_the_longest_text() {
    let long = "Some words, 17 of them. ".repeat(43_690);
    for (pattern, is) in [
        ("^[A-Za-z ]{1,200}$", false),
        ("^.{1,500}$", false),
        ("^.*$", true),
        (r"\w+@\w+\.\w+", false),
        (r"^\d{4}-\d\d-\d\d$", false),
        ("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", false),
        (r"\d+ of \S+\s$", true),
        ("^Some", true),
    ] {
        let schema = Schema::new(&json!({"pattern": pattern})).unwrap_or_else(|why| panic!("{why}"));
        match schema.fits(&json!(long)) {
            Ok(()) => assert!(is, "{pattern}"),
            Err(Unfit::Differs(_)) => assert!(!is, "{pattern}"),
            Err(Unfit::TooMuch) => panic!("{pattern} takes too much"),
        }
    }
}
