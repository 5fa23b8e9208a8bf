//! What keeps a job's variables out of everything that is written down or shown of a verification.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A value this long is taken out wherever it stands, in bytes; a shorter one where it stands as a word.
const LONG: usize = 4;
/// One that is shorter than this is no secret: it would be taken out everywhere, and what is left would mislead.
const SHORTEST: usize = 3;
/// A run of letters of base64 this long that stands in an encoded value is a part of it, such as one of its lines.
const RUN: usize = 16;

/// Takes the values of variables out of texts; cheap to make for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrubber {
    /// Each form of a value and the variable's name; the longest first, so that no part of a longer one is left.
    forms: Vec<(String, String)>,
    /// Each value as it stands in base64 behind none, one or two other bytes, and the variable's name.
    encoded: Vec<(String, String)>,
}

impl Scrubber {
    pub(crate) fn new(variables: &BTreeMap<String, String>) -> Self {
        let mut forms: Vec<(String, String)> = variables
            .iter()
            .filter(|(_, value)| value.len() >= SHORTEST)
            .flat_map(|(name, value)| forms(value).into_iter().map(|form| (form, name.clone())))
            .collect();
        forms.sort_by(|one, other| other.0.len().cmp(&one.0.len()).then_with(|| one.cmp(other)));
        forms.dedup_by(|one, other| one.0 == other.0);
        let long = variables.iter().filter(|(_, value)| value.len() >= RUN);
        let encoded = long.flat_map(|(name, value)| within_base64(value).map(|form| (form, name.clone())));
        Self { forms, encoded: encoded.collect() }
    }

    /// The text with each value replaced by its variable's name.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for (form, name) in &self.forms {
            if form.len() >= LONG {
                if clean.contains(form.as_str()) {
                    clean = clean.replace(form.as_str(), &format!("[{name}]"));
                }
            } else {
                clean = without_word(&clean, form, name);
            }
        }
        if self.encoded.is_empty() { clean } else { self.without_parts(&clean) }
    }

    /// The text without runs of base64 that are parts of an encoded value: programs break it into lines.
    fn without_parts(&self, text: &str) -> String {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(is_base64) {
            let end = rest[at..].find(|c| !is_base64(c)).map_or(rest.len(), |length| at + length);
            let run = &rest[at..end];
            let plain = run.replace('-', "+").replace('_', "/");
            let found = (run.len() >= RUN).then(|| self.encoded.iter().find(|(form, _)| form.contains(&plain)));
            clean.push_str(&rest[..at]);
            match found.flatten() {
                Some((_, name)) => clean.push_str(&format!("[{name}]")),
                None => clean.push_str(run),
            }
            rest = &rest[end..];
        }
        clean + rest
    }
}

/// What of a value's base64 is the same whatever stands before and behind it, for each place that it can begin at.
fn within_base64(value: &str) -> [String; 3] {
    [0, 1, 2].map(|before| {
        let encoded = STANDARD_NO_PAD.encode([vec![0; before], value.as_bytes().to_vec()].concat());
        // A letter is six bits: those that share some with other bytes are not the value's alone.
        let first = (before * 8).div_ceil(6);
        let last = (before + value.len()) * 8 / 6;
        encoded[first..last].to_owned()
    })
}

/// A value as it is, each of its longer lines, and as it is commonly encoded.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    let lines = value.lines().map(str::trim).filter(|line| line.len() >= LONG);
    forms.extend(lines.map(str::to_owned));
    if value.len() >= LONG {
        forms.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(value)));
        let hex = hex::encode(value);
        forms.extend([hex.to_uppercase(), hex]);
        let percent: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let plain = percent.replace('+', "%20");
        forms.extend([in_lower_hex(&percent), in_lower_hex(&plain), percent, plain]);
        let json = serde_json::to_string(value).expect("a string is JSON");
        let json = &json[1..json.len() - 1];
        forms.extend([json.to_owned(), in_ascii(json), value.replace('\\', "\\\\")]);
        forms.extend(within_base64(value).into_iter().filter(|form| form.len() >= RUN));
        forms.extend(
            within_base64(value)
                .into_iter()
                .filter(|form| form.len() >= RUN)
                .map(|form| form.replace('+', "-").replace('/', "_")),
        );
    }
    forms.retain(|form| !form.trim().is_empty());
    forms
}

/// Percent-encoding with small letters in its numbers.
fn in_lower_hex(percent: &str) -> String {
    let mut pieces = percent.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| format!("{text}%{}{}", piece[..2].to_lowercase(), &piece[2..]))
}

/// JSON without a letter that is not ASCII.
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")));
        }
    }
    ascii
}

/// The text without a short value where it stands as a word: inside of words it would be everywhere.
fn without_word(text: &str, value: &str, name: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let previous = before.chars().next_back().or_else(|| clean.chars().next_back());
        clean.push_str(before);
        if is_word(previous) || is_word(after.chars().next()) {
            clean.push_str(value);
        } else {
            clean.push_str(&format!("[{name}]"));
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(variables: &[(&str, &str)]) -> Scrubber {
        Scrubber::new(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_value_is_taken_out_however_it_is_written() {
        let secret = "s3cr?t/v\u{e4}lue=1";
        let scrub = scrubber(&[("TOKEN", secret)]);
        for form in forms(secret) {
            let clean = scrub.clean(&format!("before {form} after"));
            assert!(!clean.contains(&form), "{clean}");
            assert!(clean.contains("before ") && clean.contains("[TOKEN]") && clean.contains(" after"), "{clean}");
        }
    }

    #[test]
    fn the_longer_value_goes_first_and_lines_go_by_themselves() {
        let scrub = scrubber(&[("A", "secret"), ("B", "secret-and-more"), ("KEY", "first line\nsecond line\n")]);
        assert_eq!(scrub.clean("secret-and-more, secret"), "[B], [A]");
        assert_eq!(scrub.clean("the second line of it"), "the [KEY] of it");
    }

    #[test]
    fn a_short_value_goes_where_it_is_a_word() {
        let scrub = scrubber(&[("DEBUG", "101"), ("NONE", "")]);
        assert_eq!(scrub.clean("101 of 1010 is 101"), "[DEBUG] of 1010 is [DEBUG]");
        assert_eq!(scrub.clean("1101, x101"), "1101, x101");
    }

    #[test]
    fn a_value_is_found_in_base64_wherever_it_begins_and_in_lines() {
        let secret = "UNIQ-vx81-Secret-Pa55";
        let scrub = scrubber(&[("TOKEN", secret)]);
        for before in ["", "u", "us", "user:", "name:x"] {
            for behind in ["", "\n", ":more"] {
                let encoded = STANDARD.encode(format!("{before}{secret}{behind}"));
                let clean = scrub.clean(&format!("it is {encoded}."));
                let stable = &STANDARD_NO_PAD.encode(secret)[8..16];
                assert!(clean.contains("[TOKEN]") && !clean.contains(stable), "{before}: {encoded}: {clean}");
            }
        }
        let pem = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----\n", "abcdefgh12345678".repeat(12));
        let scrub = scrubber(&[("PEM", &pem)]);
        let encoded = STANDARD.encode(&pem);
        for line in encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()) {
            // What is left of the last line is too short to be told from other words.
            assert!(line.len() < RUN || !scrub.clean(line).contains(&line[..line.len() - 4]), "{line}");
        }
        assert_eq!(scrub.clean("a/path/of/some/length and words"), "a/path/of/some/length and words");
    }

    #[test]
    fn a_value_is_found_as_programs_print_it_and_a_letter_is_no_secret() {
        let scrub = scrubber(&[("NAME", "caf\u{e9} \"x\" \\ y"), ("N", "5"), ("E", "on"), ("PIN", "123")]);
        assert_eq!(scrub.clean("caf\\u00e9 \\\"x\\\" \\\\ y"), "[NAME]");
        assert_eq!(scrub.clean("caf\u{e9} \"x\" \\\\ y"), "[NAME]");
        assert_eq!(scrub.clean("5 on 123"), "5 on [PIN]");
        let scrub = scrubber(&[("PATH_KEY", "my key/of it")]);
        for form in ["my+key%2Fof+it", "my%20key%2Fof%20it", "my%20key%2fof%20it"] {
            assert_eq!(scrub.clean(form), "[PATH_KEY]");
        }
    }
}
