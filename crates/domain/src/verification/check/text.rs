//! Texts of strangers in what a check says, and what counts as a word.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::unseen::is_unseen;

/// Characters of a detail, at most.
pub(super) const DETAIL: usize = 500;
/// Characters of one quotation in it, at most.
const QUOTE: usize = 60;

/// How many words a text has: pieces between word boundaries (UAX #29) that hold a letter or a digit to be seen.
///
/// Marks, pictures and blanks alone are no words. What is drawn as nothing is as good as absent: it is no letter, and
/// parts no words. A hyphen parts two; an apostrophe or a full stop between letters does not.
pub(super) fn words(text: &str) -> usize {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let seen: String = text.chars().filter(|c| !ignorable.contains(*c)).collect();
    let category = CodePointMapData::<GeneralCategory>::new();
    let is_mark = |c: char| {
        use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
        matches!(category.get(c), EnclosingMark | NonspacingMark | SpacingMark)
    };
    // Some marks count as letters, and are none by themselves.
    seen.unicode_words().filter(|word| word.chars().any(|c| c.is_alphanumeric() && !is_mark(c))).count()
}

/// A piece of somebody's text between quotation marks: short, and with nothing in it that steers a terminal or a reader.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, QUOTE))
}

/// A text without anything that steers, at most so many characters long.
pub(super) fn shown(text: &str, most: usize) -> String {
    use std::fmt::Write as _;
    let (mut out, mut length) = (String::new(), 0);
    for c in text.chars() {
        let mut piece = String::new();
        if is_unseen(c) {
            let _ = write!(piece, "\\u{{{:x}}}", u32::from(c));
        } else {
            piece.push(c);
        }
        length += piece.chars().count();
        if length >= most {
            out.push('…');
            break;
        }
        out.push_str(&piece);
    }
    out
}

/// A number as people read it: 1,204.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The number and the noun that goes with it.
pub(super) fn many(number: usize, one: &str, more: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_a_letter_or_a_digit_that_is_seen() {
        for (text, is) in [
            ("", 0),
            ("one", 1),
            ("one two  three\n", 3),
            ("don't", 1),
            ("3.14", 1),
            ("e-mail", 2),
            (". , ! ? - – … ( ) \" '", 0),
            ("👩\u{200d}🚀 ☃ →", 0),
            ("\u{3164} \u{3164} \u{115f} \u{1160} \u{ffa0}", 0),
            ("\u{200b} \u{2060} \u{feff} \u{202e}", 0),
            ("\u{2800} \u{2800}", 0),
            ("a\u{200b}b", 1),
            ("___ _ __", 0),
            ("東京", 2),
            ("été à Århus", 3),
        ] {
            assert_eq!(words(text), is, "{text:?}");
        }
    }

    #[test]
    fn what_is_quoted_is_short_and_steers_nothing() {
        assert_eq!(quoted("a\u{1b}[2Jb\u{202e}c\n"), r#""a\u{1b}[2Jb\u{202e}c\u{a}""#);
        assert_eq!(quoted(&"x".repeat(1 << 20)).chars().count(), QUOTE + 2);
        assert!(quoted(&"\u{e0041}".repeat(500)).chars().count() <= QUOTE + 2);
        assert_eq!(count(1_204), "1,204");
        assert_eq!((count(0), count(999), count(1_048_576)), ("0".into(), "999".into(), "1,048,576".into()));
    }
}
