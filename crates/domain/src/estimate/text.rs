//! Plain text: sentences, a form for searching, a form for showing, and a cut that fits.

use unicode_segmentation::UnicodeSegmentation;

use crate::unseen::is_unseen;

/// The sentences of a clean line. A sentence never ends within double quotes.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut open, mut quoted) = (0, false, 0);
    for (at, piece) in text.split_sentence_bound_indices() {
        for letter in piece.chars().filter(|c| matches!(c, '"' | '“' | '”')) {
            open = if letter == '"' { !open } else { letter == '“' };
        }
        let end = at + piece.len();
        let abbreviated = ["e.g.", "i.e.", "etc.", "vs.", "Mr.", "Mrs.", "Dr.", "No."]
            .iter()
            .any(|end| piece.trim_end().ends_with(end));
        quoted += usize::from(open);
        // A quote that is never closed must not swallow the whole prompt.
        if (open && quoted < 4) || abbreviated {
            continue;
        }
        sentences.push(text[start..end].trim());
        (start, quoted) = (end, 0);
    }
    sentences.push(text[start..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// A text for searching: lower case, quotations left out, words between single blanks on all sides.
pub(super) fn searchable(text: &str) -> String {
    let mut words = String::from(" ");
    for chunk in without_quotations(text).to_lowercase().replace('\u{2019}', "'").split_whitespace() {
        let word = chunk.trim_start_matches(|c: char| !c.is_alphanumeric() && !"$.".contains(c));
        let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && !"+#$%".contains(c));
        if word.is_empty() {
            continue;
        }
        words.push_str(word);
        words.push_str(if chunk.ends_with([';', '!', '?']) { " ; " } else { " " });
    }
    words
}

/// The text without what stands in double quotes; a quote that is never closed is no quotation.
fn without_quotations(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(open) = rest.find(['"', '“']) {
        let inside = open + rest[open..].chars().next().map_or(1, char::len_utf8);
        let Some(close) = rest[inside..].find(['"', '”']) else {
            break;
        };
        let close = inside + close;
        kept.push_str(&rest[..open]);
        kept.push(' ');
        rest = &rest[close + rest[close..].chars().next().map_or(1, char::len_utf8)..];
    }
    kept + rest
}

/// A line without control characters, direction overrides, doubled blanks and Markdown emphasis.
pub(super) fn clean(text: &str) -> String {
    let harmless: String = without_escapes(text).chars().map(|c| if is_hostile(c) { ' ' } else { c }).collect();
    let plain = harmless.replace("**", "").replace("~~", "").replace('`', "");
    let plain = unlink(&plain);
    let mut line = String::with_capacity(plain.len());
    for word in plain.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(unstar(word));
    }
    line.trim().to_owned()
}

/// The text without a terminal's commands, `ESC [ parameters letter`.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.trim_start_matches(|c: char| matches!(c, ' '..='?'));
        kept.push(' ');
        kept.push_str(end.strip_prefix(|c: char| matches!(c, '@'..='~')).unwrap_or(end));
    }
    kept
}

/// `*word*` is emphasis; a lone star or `*.csv` is not.
fn unstar(word: &str) -> &str {
    let inner = word.strip_prefix('*').filter(|inner| inner.starts_with(char::is_alphanumeric)).unwrap_or(word);
    inner.strip_suffix('*').filter(|inner| inner.ends_with(char::is_alphanumeric)).unwrap_or(inner)
}

/// `[text](address)` becomes the text.
fn unlink(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let open = rest[..middle].rfind('[');
        let close = rest[middle..].find(')').map(|close| middle + close);
        let (Some(open), Some(close)) = (open, close) else {
            break;
        };
        out.push_str(&rest[..open]);
        out.push_str(&rest[open + 1..middle]);
        rest = &rest[close + 1..];
    }
    out + rest
}

/// What is not seen or steers others; pictures and some scripts need joiners and selectors.
fn is_hostile(c: char) -> bool {
    is_unseen(c) && !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
}

/// A text of at most `longest` characters, cut between words where that leaves enough of it.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut room = longest - 1;
    let mut end = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        let letters = grapheme.chars().count();
        if letters > room {
            break;
        }
        room -= letters;
        end = at + grapheme.len();
    }
    let cut = &text[..end];
    let word_end =
        if text[end..].starts_with(' ') { end } else { cut.rfind(' ').filter(|at| *at * 2 > end).unwrap_or(end) };
    let kept = cut[..word_end].trim_end_matches(|c: char| c.is_whitespace() || ",;:-–(".contains(c));
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_within_no_quotation_unless_that_never_ends() {
        let cases = [
            ("Say \"Go. Stop.\" twice. Rest.", &["Say \"Go. Stop.\" twice.", "Rest."][..]),
            ("Say “Go. Stop.” twice. Rest.", &["Say “Go. Stop.” twice.", "Rest."]),
            ("Ask Dr. Who, e.g. today. Rest.", &["Ask Dr. Who, e.g. today.", "Rest."]),
            ("A \"One. Two. Three. Four. Five.", &["A \"One. Two. Three. Four.", "Five."]),
        ];
        for (text, expected) in cases {
            assert_eq!(sentences(text), expected);
        }
    }

    #[test]
    fn a_terminals_commands_and_the_marks_of_markdown_are_not_shown() {
        let cases = [
            ("\u{1b}[1;31mred\u{1b}[0m \u{1b}[?25lhidden\u{1b}[2J", "red hidden"),
            ("*so* **bold** ~~old~~ `code` *.csv 2 * 3", "so bold old code *.csv 2 * 3"),
            ("see [the page](http://a.example), [this](b)!", "see the page, this!"),
            ("a](b and [c](d", "a](b and [c](d"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn a_text_is_cut_behind_a_word_where_that_leaves_more_than_half() {
        let cases = [
            ("fits as it is", "fits as it is"),
            ("abcdef ghijklmno", "abcdef ghijk…"),
            ("abcdef, ghijklmno", "abcdef…"),
            ("abcdef ghijk mno", "abcdef ghijk…"),
            ("abcdefghijklmnop", "abcdefghijkl…"),
            ("ab cdefghijklmno", "ab cdefghijk…"),
            ("abcdefg hijklmno", "abcdefg…"),
        ];
        for (text, expected) in cases {
            assert_eq!(shortened(text, 13), expected, "{text}");
        }
    }
}
