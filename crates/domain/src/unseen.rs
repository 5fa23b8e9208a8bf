//! Characters that are not seen by themselves, or that steer how others are shown: what is taken out of names and written
//! as an escape wherever people read what strangers wrote.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Whether a character is drawn as nothing, turns or hides others, or is drawn as nobody knows what: controls, formats,
/// separators of lines, private and unassigned ones, whatever Unicode calls ignorable, and the blank pattern of Braille.
pub fn is_unseen(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return false;
    }
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(
            CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::Unassigned
                | GeneralCategory::PrivateUse
        )
        || c == '\u{2800}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_or_steers_is_told_from_what_people_write() {
        for unseen in [
            '\0',
            '\n',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fff0}',
            '\u{e000}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{f0000}',
            '\u{10ffff}',
        ] {
            assert!(is_unseen(unseen), "{unseen:?}");
        }
        for seen in ['a', ' ', '~', 'é', '\u{301}', 'ß', '日', 'ㅋ', '👩', '☃', '€', '\u{a0}', '\u{3000}', '–']
        {
            assert!(!is_unseen(seen), "{seen:?}");
        }
    }
}
