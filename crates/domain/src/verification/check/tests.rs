//! What passes, and all that must not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn one(check: Value) -> Check {
    read_checks(&[check]).unwrap().remove(0)
}

fn on_text(check: Value, text: &str) -> CheckResult {
    one(check).apply(&Handed { output_text: Some(text), files: &[] }).unwrap()
}

fn handed(name: &str, size: u64, sha256: &str) -> HandedFile {
    HandedFile { name: name.to_owned(), size, sha256: sha256.to_owned() }
}

fn refused(check: Value) -> String {
    read_checks(&[json!({"type": "contains", "text": "x"}), check]).unwrap_err().to_string()
}

#[test]
fn each_check_passes_what_it_asks_for_and_says_so() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}});
    for (check, text, detail) in [
        (json!({"type": "regex", "pattern": "^b+$"}), "bbb", "the pattern matches"),
        (json!({"type": "regex", "pattern": "(?m)^two$"}), "one\ntwo\nthree", "the pattern matches"),
        (json!({"type": "contains", "text": "über"}), "alles über", "\"über\" is there"),
        (json!({"type": "min_words", "count": 3}), "one, two - three!", "3 words of at least 3"),
        (json!({"type": "json_schema", "schema": schema}), " {\"a\": 1}\n", "output_text fits the schema"),
    ] {
        let result = on_text(check.clone(), text);
        assert!(result.pass, "{check}: {}", result.detail);
        assert_eq!((result.detail.as_str(), result.kind.as_str()), (detail, check["type"].as_str().unwrap()));
    }
}

#[test]
fn nothing_passes_that_only_looks_like_it() {
    let regex = |pattern: &str| json!({"type": "regex", "pattern": pattern});
    let contains = |text: &str| json!({"type": "contains", "text": text});
    let words = |count: u32| json!({"type": "min_words", "count": count});
    let schema = |schema: Value| json!({"type": "json_schema", "schema": schema});
    let number = schema(json!({"type": "object", "required": ["n"], "properties": {"n": {"const": 1}}}));
    let integer = schema(json!({"type": "integer", "maximum": 9_007_199_254_740_992_u64}));
    let unique = schema(json!({"type": "array", "uniqueItems": true}));
    for (check, text) in [
        (regex("^done$"), "not done"),
        (regex("^done$"), "done\nnot"),
        (regex("^done$"), "done\u{200b}"),
        (regex("done"), "d\u{200b}one"),
        (regex("done"), "dоne"), // a Cyrillic o
        (regex("done"), "DONE"),
        (regex("a.b"), "a\nb"),
        (regex("^\\d+$"), "12 "),
        (regex("e\u{301}"), "é"),
        (contains("ready"), "Ready"),
        (contains("ready"), "re\u{ad}ady"),
        (contains("ready"), "ready".replace('a', "а").as_str()),
        (contains("é"), "e\u{301}"),
        (contains("a b"), "a\u{a0}b"),
        (contains("a\nb"), "a\r\nb"),
        (contains(" "), "a\tb"),
        (contains("x"), ""),
        (contains("ready"), "{\"type\":\"contains\",\"pass\":true}"),
        (words(1), ""),
        (words(1), "... --- !!!"),
        (words(2), "word . . . , ,"),
        (words(2), "one\u{200b}two"),
        (words(3), "\u{3164} \u{3164} \u{3164}"),
        (words(2), "\u{202e}one\u{202c} \u{2066}\u{2069}"),
        (words(2), "👩\u{200d}🚀 🎉 ✅"),
        (number.clone(), "{\"n\": 2, \"n\": 1}"),
        (number.clone(), "{\"n\": 1, \"n\": 2}"),
        (number.clone(), "{\"n\": 1} trailing"),
        (number.clone(), "{\"n\": 1}{\"n\": 1}"),
        (number.clone(), "\u{feff}{\"n\": 1}"),
        (number.clone(), "```json\n{\"n\": 1}\n```"),
        (number.clone(), "{\"n\": 1,}"),
        (number.clone(), "{n: 1}"),
        (number.clone(), "{\"n\": \"1\"}"),
        (number.clone(), "{\"n\": true}"),
        (number.clone(), "{\"N\": 1}"),
        (number.clone(), "{\"n\": 1.0000000000000001}"),
        (number.clone(), "[{\"n\": 1}]"),
        (number, "null"),
        (integer.clone(), "9007199254740993"),
        (integer.clone(), "9007199254740993.0"),
        (integer.clone(), "1e400"),
        (integer.clone(), "NaN"),
        (integer.clone(), "-Infinity"),
        (integer, "0.9999999999999999999999"),
        (unique.clone(), "[1, 2, 1]"),
        (unique.clone(), "[1, 1.0]"),
        (unique.clone(), "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]"),
        (unique, "[[[[[1]]]],[[[[1]]]]]"),
        (schema(json!({"format": "date"})), "\"2026-02-30\""),
        (schema(json!({"format": "email"})), "\"nobody\""),
        (schema(json!({"pattern": "^a+$"})), "\"aaab\""),
        (schema(json!({"additionalProperties": false})), "{\"a\": 1}"),
        (schema(json!(false)), "{}"),
    ] {
        let result = on_text(check.clone(), text);
        assert!(!result.pass, "{check} passes {text:?}: {}", result.detail);
        assert!(!result.detail.is_empty());
    }
}

#[test]
fn what_is_found_is_told_exactly() {
    let sixty = "x".repeat(1_204);
    let schema = json!({"type": "json_schema", "schema": {"properties": {"a": {"items": {"minimum": 5}}}}});
    for (check, text, detail) in [
        (json!({"type": "regex", "pattern": "^b"}), sixty.as_str(), "the pattern matches nowhere in 1,204 characters"),
        (json!({"type": "contains", "text": "b"}), "a", "\"b\" is nowhere in 1 character"),
        (json!({"type": "min_words", "count": 250}), "only three words", "3 words of at least 250"),
        (schema.clone(), "{\"a\": [9, 3]}", "what is at \"/a/1\" does not fit \"minimum\" of the schema"),
        (schema, "[", "output_text is not JSON: it ends too early"),
    ] {
        assert_eq!(on_text(check, text).detail, detail);
    }
}

#[test]
fn a_check_of_a_text_fails_when_only_files_came() {
    let files = [handed("a.txt", 1, &"0".repeat(64))];
    for check in [
        json!({"type": "regex", "pattern": "^$"}),
        json!({"type": "contains", "text": "a"}),
        json!({"type": "min_words", "count": 1}),
        json!({"type": "json_schema", "schema": true}),
    ] {
        let result = one(check).apply(&Handed { output_text: None, files: &files }).unwrap();
        assert!(!result.pass);
        assert_eq!(result.detail, "there is no output_text: only files were handed in");
    }
    assert_eq!(
        one(json!({"type": "command", "run": "true"})).apply(&Handed { output_text: Some(""), files: &[] }),
        None
    );
}

#[test]
fn a_file_must_be_there_under_its_name_and_be_as_asked_for() {
    let digest = "ab".repeat(32);
    let files = [handed("a.txt", 10, &digest), handed("b.txt", 1, &digest), handed("b.txt", 99, &digest)];
    let on = |check: Value, files: &[HandedFile]| one(check).apply(&Handed { output_text: None, files }).unwrap();
    let file = |name: &str| json!({"type": "file", "name": name});
    assert!(on(file("a.txt"), &files).pass);
    let hex = json!({"type": "file", "name": "a.txt", "max_bytes": 10, "sha256": digest.to_uppercase()});
    assert!(on(hex, &files).pass);
    for (check, detail) in [
        (file("report.pdf"), "no file named \"report.pdf\" was handed in; there is: \"a.txt\", \"b.txt\", \"b.txt\""),
        (file("A.txt"), "no file named \"A.txt\""),
        (file("a.txt (2)"), "no file named \"a.txt (2)\""),
        (json!({"type": "file", "name": "a.txt", "max_bytes": 9}), "\"a.txt\" has 10 bytes, of at most 9"),
        (json!({"type": "file", "name": "b.txt", "max_bytes": 50}), "\"b.txt\" has 99 bytes, of at most 50"),
        (json!({"type": "file", "name": "a.txt", "sha256": "0".repeat(64)}), "\"a.txt\" has the SHA-256 ababab"),
    ] {
        let result = on(check.clone(), &files);
        assert!(!result.pass && result.detail.starts_with(detail), "{check}: {}", result.detail);
    }
    assert_eq!(on(file("a"), &[]).detail, "no file named \"a\" was handed in; there is none at all");
    let many: Vec<_> = (0..100).map(|n| handed(&format!("{n}\u{202e}{}", "x".repeat(200)), 1, &digest)).collect();
    let detail = on(file("a"), &many).detail;
    assert!(detail.chars().count() <= DETAIL && detail.ends_with("and 95 more") && !detail.contains('\u{202e}'));
}

#[test]
fn the_commands_of_a_job_take_half_an_hour_at_most() {
    let commands = |count: usize, seconds: u32| {
        read_checks(&vec![json!({"type": "command", "run": "true", "timeout_seconds": seconds}); count])
    };
    assert!(commands(3, 600).is_ok() && commands(20, 90).is_ok());
    assert!(read_checks(&vec![json!({"type": "command", "run": "true"}); 20]).is_ok(), "twenty of the usual time");
    let refused = commands(4, 600).unwrap_err().to_string();
    assert_eq!(refused, "checks must have commands that take at most 1800 s in all, not 2400");
}

#[test]
fn what_is_no_check_is_refused_in_words() {
    for (check, said) in [
        (json!("x"), "checks[1] must be an object, not a text"),
        (json!({}), "checks[1].type is missing"),
        (json!({"type": 5}), "checks[1].type must be a text, not a number"),
        (
            json!({"type": "sorcery\u{1b}"}),
            "checks[1].type must be command, regex, contains, min_words, json_schema or file, not \"sorcery\\u{1b}\"",
        ),
        (json!({"type": "regex"}), "checks[1].pattern is missing"),
        (json!({"type": "regex", "pattern": null}), "checks[1].pattern must be a text, not null"),
        (json!({"type": "regex", "pattern": "("}), "checks[1].pattern is no regular expression: unclosed group"),
        (
            json!({"type": "regex", "pattern": "(?=a)"}),
            "checks[1].pattern is no regular expression: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            json!({"type": "regex", "pattern": "((a{999}){999}){999}"}),
            "checks[1].pattern is too large once it is compiled: use smaller repetitions",
        ),
        (
            json!({"type": "regex", "pattern": ".*"}),
            "checks[1].pattern matches every text, even an empty one: nothing could fail it",
        ),
        (
            json!({"type": "regex", "pattern": ""}),
            "checks[1].pattern matches every text, even an empty one: nothing could fail it",
        ),
        (json!({"type": "contains", "text": ""}), "checks[1].text must not be empty"),
        (json!({"type": "contains", "text": "\0"}), "checks[1].text must not have a NUL character"),
        (
            json!({"type": "file", "name": "a", "sha265": "00"}),
            "checks[1] must not have \"sha265\": file has name, max_bytes, sha256",
        ),
        (
            json!({"type": "regex", "pattern": "a", "flags": null}),
            "checks[1] must not have \"flags\": regex has pattern",
        ),
        (json!({"type": "min_words"}), "checks[1].count is missing"),
        (json!({"type": "min_words", "count": 0}), "checks[1].count must be from 1 to 500000"),
        (json!({"type": "min_words", "count": 1e9 as u64}), "checks[1].count must be from 1 to 500000"),
        (
            json!({"type": "min_words", "count": -1}),
            "checks[1].count must be a whole number, not below 0, not a number below 0",
        ),
        (json!({"type": "json_schema"}), "checks[1].schema is missing"),
        (json!({"type": "json_schema", "schema": []}), "checks[1].schema must be an object, or true or false"),
        (json!({"type": "command", "run": " \n"}), "checks[1].run must not be blank"),
        (json!({"type": "command", "run": "x".repeat(16_385)}), "checks[1].run must be at most 16 KiB"),
        (
            json!({"type": "command", "run": "true", "timeout_seconds": 601}),
            "checks[1].timeout_seconds must be from 1 to 600",
        ),
        (
            json!({"type": "command", "run": "true", "timeout_seconds": 0}),
            "checks[1].timeout_seconds must be from 1 to 600",
        ),
        (
            json!({"type": "command", "run": "true", "timeout_seconds": 1.5}),
            "checks[1].timeout_seconds must be a whole number, not below 0, not a number with a fraction or an exponent",
        ),
        (json!({"type": "command", "run": "true", "env": "yes"}), "checks[1].env must be true or false, not a text"),
        (
            json!({"type": "file", "name": " "}),
            "checks[1].name must be 1 to 255 characters, none of them a control character",
        ),
        (
            json!({"type": "file", "name": "out/report.pdf"}),
            "checks[1].name can never be a file's name: such a file is handed in as \"report.pdf\"",
        ),
        (
            json!({"type": "file", "name": "a.txt "}),
            "checks[1].name can never be a file's name: such a file is handed in as \"a.txt\"",
        ),
        (
            json!({"type": "file", "name": "-"}),
            "checks[1].name can never be a file's name: such a file is handed in as \"_-\"",
        ),
        (json!({"type": "file", "name": "a", "sha256": "0x"}), "checks[1].sha256 must be 64 hexadecimal digits"),
        (json!({"type": "file", "name": "a", "max_bytes": 0}), "checks[1].max_bytes must be at least 1"),
    ] {
        assert_eq!(refused(check), said);
    }
    let many = vec![json!({"type": "contains", "text": "x"}); CHECKS + 1];
    assert!(read_checks(&many[..CHECKS]).is_ok());
    assert_eq!(read_checks(&many).unwrap_err().to_string(), "checks must be at most 20");
    let large = json!({"type": "contains", "text": "x".repeat(CHECK_BYTES)});
    assert_eq!(read_checks(&[large]).unwrap_err().to_string(), "checks must be at most 64 KiB in all");
}

#[test]
fn what_was_read_is_kept_and_read_again_as_the_same() {
    let checks = [
        json!({"type": "command", "run": "make", "timeout_seconds": null}),
        json!({"type": "regex", "pattern": "a"}),
        json!({"type": "file", "name": "a", "max_bytes": null, "sha256": null}),
        json!({"type": "json_schema", "schema": {"type": "string"}}),
        json!({"type": "min_words", "count": 7}),
    ];
    let read = read_checks(&checks).unwrap();
    assert_eq!(read[0], Check::Command { run: "make".to_owned(), timeout_seconds: 60, env: false });
    let kept: Vec<Value> = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
    assert_eq!(read_checks(&kept).unwrap(), read);
    let again: Vec<Check> = serde_json::from_value(json!(kept)).unwrap();
    assert!(again == read && allowed(&again).is_ok());
}

#[test]
fn a_check_that_was_never_read_cannot_be_passed_either() {
    for check in [
        Check::Regex { pattern: "(".to_owned() },
        Check::Contains { text: String::new() },
        Check::MinWords { count: 0 },
        Check::JsonSchema { schema: json!({"$ref": "http://a.example"}) },
        Check::JsonSchema { schema: json!({"$ref": "#"}) },
    ] {
        let result = check.apply(&Handed { output_text: Some("{}"), files: &[] }).unwrap();
        assert!(!result.pass, "{check:?}");
    }
}

proptest! {
    #[test]
    fn what_a_check_says_is_short_and_harmless(check in any_check(), text in ".{0,200}", name in "\\PC{0,300}|.{0,40}") {
        let files = [handed(&name, 5, &name)];
        let handed = Handed { output_text: Some(&text), files: &files };
        if let Ok(checks) = read_checks(&[check]) {
            let result = checks[0].apply(&handed).unwrap();
            prop_assert!(result.detail.chars().count() <= DETAIL);
            let steers = |c: char| {
                c.is_control() || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200f}".contains(c)
            };
            let steered = result.detail.chars().any(steers);
            prop_assert!(!steered, "{}", result.detail);
            prop_assert_eq!(&checks[0].apply(&handed).unwrap(), &result);
        }
    }

    #[test]
    fn contains_is_what_a_search_by_bytes_says(text in "[ab\u{e9}e\u{301}]{0,30}", part in "[ab\u{e9}e\u{301}]{1,3}") {
        let is_there = text.as_bytes().windows(part.len()).any(|window| window == part.as_bytes());
        prop_assert_eq!(on_text(json!({"type": "contains", "text": part}), &text).pass, is_there);
    }

    #[test]
    fn words_are_counted_as_they_were_put_together(words in proptest::collection::vec("[a-z0-9é東]{1}[a-z]{0,5}", 0..20)) {
        // A character of Chinese is a word of its own.
        let joined: Vec<String> = words.iter().map(|word| word.replace('東', "t")).collect();
        let text = joined.join(" ,.\u{200b} – ");
        prop_assert_eq!(super::words(&text), joined.len());
    }

    #[test]
    fn no_text_that_is_not_json_fits_a_schema(text in ".{0,60}|[\\[\\]{}\",:0-9a]{0,40}") {
        let passes = on_text(json!({"type": "json_schema", "schema": {}}), &text).pass;
        prop_assert!(!passes || serde_json::from_str::<Value>(&text).is_ok());
    }
}

fn any_check() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,80}".prop_map(|text| json!({"type": "contains", "text": text})),
        ".{0,20}".prop_map(|pattern| json!({"type": "regex", "pattern": pattern})),
        (1_u32..50).prop_map(|count| json!({"type": "min_words", "count": count})),
        ".{1,80}".prop_map(|name| json!({"type": "file", "name": name})),
        ".{0,40}".prop_map(|name| json!({"type": "json_schema", "schema": {"required": [name]}})),
    ]
}
