//! That nothing from others reaches the terminal as anything but text.

use super::*;

#[test]
fn paragraphs_are_broken_between_words() {
    assert_eq!(broken("one two three", 7), ["one two", "three"]);
    assert_eq!(broken("one extraordinarily long", 7), ["one", "extraordinarily", "long"]);
    assert_eq!(broken("", 7), [""]);
}

const PAYLOADS: &[&str] = &[
    "\u{1b}[2J\u{1b}[31mred",
    "\u{1b}]0;title\u{7}\u{1b}]52;c;aGk=\u{1b}\\",
    "a\rb\u{8}\u{8}c\u{b}\u{c}",
    "\u{9b}31m\u{90}q\u{9c}\u{85}",
    "\u{7f}\0",
    "\u{202e}txt.exe\u{202c}\u{2066}x\u{2069}\u{200e}\u{200f}\u{61c}",
    "pay\u{200b}pal\u{200d}\u{200c}\u{2060}\u{feff}\u{ad}",
    "\u{e0001}\u{e0041}\u{e007f}hidden\u{e0100}",
    "line\u{2028}line\u{2029}",
    "\u{3164}\u{115f}\u{fff9}\u{180e}\u{fe00}",
];

/// What must never be printed; written down apart from the code it checks.
fn forbidden(character: char) -> bool {
    const SINGLE: [u32; 16] = [
        0xad, 0x61c, 0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x2060, 0xfeff, 0x3164, 0x115f,
        0xfff9, 0xfe00,
    ];
    let code = u32::from(character);
    (code < 0x20 && !matches!(character, '\n' | '\t'))
        || (0x7f..=0x9f).contains(&code)
        || SINGLE.contains(&code)
        || (0x202a..=0x202e).contains(&code)
        || (0x2066..=0x2069).contains(&code)
        || (0xe0000..=0xe01ef).contains(&code)
}

#[test]
fn no_payload_gets_through() {
    for payload in PAYLOADS {
        assert!(payload.chars().any(forbidden), "{payload:?} is no payload");
        for shape in [Shape::Lines, Shape::Line] {
            let cleaned = clean(payload, shape);
            assert!(!cleaned.chars().any(forbidden), "{payload:?} became {cleaned:?}");
            assert!(cleaned.contains("\\u{"), "{payload:?} must be seen, not vanish");
            assert_eq!(clean(&cleaned, shape), cleaned, "cleaning twice changes nothing");
        }
    }
}

#[test]
fn every_forbidden_character_is_stopped() {
    for character in ('\0'..=char::MAX).filter(|character| forbidden(*character)) {
        assert!(!clean(&character.to_string(), Shape::Lines).contains(character), "{character:?}");
    }
}

#[test]
fn harmless_text_stays() {
    for text in ["Grüße, 世界 🦀 ❤\u{fe0f}", "a\tb\nc", "\\u{1b}", "שלום"] {
        assert_eq!(clean(text, Shape::Lines), text);
    }
    assert_eq!(clean("a\r\nb", Shape::Lines), "a\nb");
    assert_eq!(clean("a\r\nb\tc\n", Shape::Line), "a b c ");
}

#[test]
fn json_escapes_them_and_means_the_same() {
    for payload in PAYLOADS {
        let document = serde_json::json!({ *payload: [payload] });
        for pretty in [true, false] {
            let text = json_text(&document, pretty);
            assert!(!text.chars().any(forbidden), "{payload:?} became {text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
        }
    }
    assert_eq!(json_text(&Value::from("\u{9b}\u{e0041}"), false), r#""\u009b\udb40\udc41""#);
}

#[test]
fn cards_and_tables_are_clean_too() {
    for payload in PAYLOADS {
        let mut card = Card::new(payload).tag(payload, Tone::Good);
        card.field("field", payload);
        card.text("text", Some(payload));
        card.list("list", &[(*payload).to_owned()]);
        let mut table = Table::new(&[left("ID"), wide("TITLE")]);
        table.row([Cell::new(payload), Cell::toned(payload, Tone::Bad)]);
        for text in [card.render(), table.render()] {
            // Only the program's own styles are taken out; the payload has none left.
            let text = anstream::adapter::strip_str(&text).to_string();
            assert!(!text.chars().any(forbidden), "{payload:?} became {text:?}");
            assert!(text.contains("\\u{"), "{payload:?} is gone: {text:?}");
        }
    }
}

#[test]
fn a_line_break_in_a_field_forges_no_field() {
    let mut card = Card::new("title\n  status  verified");
    card.field("name", "x\n  price  $0.00");
    card.text("Prompt", Some("one\nOutput\ntwo"));
    let text = anstream::adapter::strip_str(&card.render()).to_string();
    let lines: Vec<&str> = text.lines().collect();
    let wanted = ["title   status  verified", "  name  x   price  $0.00", "", "Prompt", "  one", "  Output", "  two"];
    assert_eq!(lines, wanted);
}
