//! What keeps a job's variables out of everything that is written down or shown of a verification.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A value this long is taken out wherever it stands, in bytes; a shorter one where it stands as a word.
const LONG: usize = 4;

/// Takes the values of variables out of texts; cheap to make for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrubber {
    /// Each form of a value and the variable's name; the longest first, so that no part of a longer one is left.
    forms: Vec<(String, String)>,
}

impl Scrubber {
    pub(crate) fn new(variables: &BTreeMap<String, String>) -> Self {
        let mut forms: Vec<(String, String)> = variables
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| forms(value).into_iter().map(|form| (form, name.clone())))
            .collect();
        forms.sort_by(|one, other| other.0.len().cmp(&one.0.len()).then_with(|| one.cmp(other)));
        forms.dedup_by(|one, other| one.0 == other.0);
        Self { forms }
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
        clean
    }
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
        forms.push(form_urlencoded::byte_serialize(value.as_bytes()).collect());
        let json = serde_json::to_string(value).expect("a string is JSON");
        forms.push(json[1..json.len() - 1].to_owned());
    }
    forms.retain(|form| !form.trim().is_empty());
    forms
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
        let scrub = scrubber(&[("DEBUG", "1"), ("NONE", "")]);
        assert_eq!(scrub.clean("1 of 10 is 1"), "[DEBUG] of 10 is [DEBUG]");
        assert_eq!(scrub.clean("11, x1"), "11, x1");
    }
}
