//! What keeps a job's variables out of everything that is written down or shown of a verification.

use std::collections::{BTreeMap, HashMap};

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A value this long is taken out wherever it stands, in bytes; a shorter one where it stands as a word.
const LONG: usize = 4;
/// One that is shorter than this is no secret: it would be taken out everywhere, and what is left would mislead.
const SHORTEST: usize = 3;
/// A run of letters of base64 or hexadecimal this long that stands in an encoded value is a part of it, such as a line.
const RUN: usize = 16;
/// By so much of it: where a part ends within the value, its last letter holds fewer bits than that of the whole.
const PIECE: usize = RUN - 1;
/// A line of a value that is this long is looked for as it is commonly encoded, too, in bytes.
const LONG_LINE: usize = 12;

/// Takes the values of variables out of texts, in time that hangs on the text alone.
#[derive(Default)]
pub(crate) struct Scrubber {
    /// None where there is nothing to take out.
    forms: Option<Forms>,
    /// Values that go where they are words, and the variable's name.
    words: Vec<(String, String)>,
    /// Each piece of this length of the values in base64 and hexadecimal, and the variable's name.
    pieces: HashMap<[u8; PIECE], String>,
}

/// All forms of all values, to be found in one pass.
struct Forms {
    automaton: NFA,
    /// Each form and the variable's name, by the form's number.
    forms: Vec<(String, String)>,
}

impl Scrubber {
    pub(crate) fn new(variables: &BTreeMap<String, String>) -> Self {
        let mut all: Vec<(String, String)> = variables
            .iter()
            .filter(|(_, value)| value.len() >= SHORTEST)
            .flat_map(|(name, value)| forms(value).into_iter().map(|form| (form, name.clone())))
            .collect();
        all.sort();
        all.dedup_by(|one, other| one.0 == other.0);
        let (forms, words) = all.into_iter().partition(|(form, _)| form.len() >= LONG);
        let mut pieces = HashMap::new();
        for (name, value) in variables.iter().filter(|(_, value)| value.len() >= RUN / 2) {
            for encoded in within_base64(value).into_iter().chain([hex::encode(value)]) {
                for piece in encoded.as_bytes().windows(PIECE) {
                    let piece = piece.try_into().expect("it is as long as a piece");
                    pieces.entry(piece).or_insert_with(|| name.clone());
                }
            }
        }
        Self { forms: Forms::new(forms), words, pieces }
    }

    /// The text with each value replaced by its variable's name.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean = self.forms.as_ref().map_or_else(|| text.to_owned(), |forms| forms.clean(text));
        for (value, name) in &self.words {
            clean = without_word(&clean, value, name);
        }
        if self.pieces.is_empty() { clean } else { self.without_parts(&clean) }
    }

    /// The text without runs of base64 or hexadecimal that hold a part of an encoded value: programs break it into lines,
    /// encode lines of a value by themselves, and put it within other text before.
    fn without_parts(&self, text: &str) -> String {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(is_base64) {
            let end = rest[at..].find(|c| !is_base64(c)).map_or(rest.len(), |length| at + length);
            let run = &rest[at..end];
            clean.push_str(&rest[..at]);
            match self.part_of(run) {
                Some(name) => clean.push_str(&format!("[{name}]")),
                None => clean.push_str(run),
            }
            rest = &rest[end..];
        }
        clean + rest
    }

    /// The variable of which a run holds an encoded part.
    fn part_of(&self, run: &str) -> Option<&String> {
        if run.len() < RUN {
            return None;
        }
        let found = |text: &str| text.as_bytes().windows(PIECE).find_map(|piece| self.pieces.get(piece));
        let is_hex = run.bytes().all(|byte| byte.is_ascii_hexdigit());
        let base64 = found(&run.replace('-', "+").replace('_', "/"));
        base64.or_else(|| is_hex.then(|| found(&run.to_ascii_lowercase())).flatten())
    }
}

impl Forms {
    fn new(forms: Vec<(String, String)>) -> Option<Self> {
        if forms.is_empty() {
            return None;
        }
        let automaton = NFA::new(forms.iter().map(|(form, _)| form)).expect("a form is far smaller than an automaton");
        Some(Self { automaton, forms })
    }

    fn clean(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut told = 0;
        for (start, end, form) in self.found(text) {
            clean.push_str(&text[told..start]);
            clean.push_str(&format!("[{}]", self.forms[form].1));
            told = end;
        }
        clean.push_str(&text[told..]);
        clean
    }

    /// Where forms stand, each from here to there, and which. Those that overlap are one, by the name of the longest: of
    /// none is anything left.
    fn found(&self, text: &str) -> Vec<(usize, usize, usize)> {
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        let search = Anchored::No;
        let mut state = self.automaton.start_state(search).expect("it may begin anywhere");
        for (end, byte) in (1..).zip(text.bytes()) {
            state = self.automaton.next_state(search, state, byte);
            if !self.automaton.is_match(state) {
                continue;
            }
            // The first is the longest of those that end here: the others are its ends.
            let mut form = self.automaton.match_pattern(state, 0).as_usize();
            let length = |form: usize| self.forms[form].0.len();
            let mut start = end - length(form);
            while let Some((before, _, other)) = found.pop_if(|(_, before, _)| *before > start) {
                start = start.min(before);
                form = if length(other) > length(form) { other } else { form };
            }
            found.push((start, end, form));
        }
        found
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

/// A value and each of its longer lines, as they are and as they are commonly encoded.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    if value.len() >= LONG {
        forms.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(value)));
        let hex = hex::encode(value);
        forms.extend([hex.to_uppercase(), hex]);
        forms.extend(written(value));
        let within = within_base64(value).into_iter().filter(|form| form.len() >= RUN);
        forms.extend(within.flat_map(|form| [form.replace('+', "-").replace('/', "_"), form]));
    }
    for line in value.lines().map(str::trim).filter(|line| line.len() >= LONG) {
        forms.push(line.to_owned());
        if line.len() >= LONG_LINE {
            forms.extend(written(line).into_iter().filter(|form| form != line));
        }
    }
    forms.retain(|form| !form.trim().is_empty());
    forms
}

/// As addresses and programs write a text: its letters stay, and what else there is is escaped.
fn written(text: &str) -> [String; 7] {
    let percent: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let plain = percent.replace('+', "%20");
    let json = serde_json::to_string(text).expect("a string is JSON");
    let json = &json[1..json.len() - 1];
    let backslashes = text.replace('\\', "\\\\");
    [in_lower_hex(&percent), in_lower_hex(&plain), percent, plain, json.to_owned(), in_ascii(json), backslashes]
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
        assert_eq!(scrub.clean("secret-and-more, secret, secretsecret"), "[B], [A], [A][A]");
        assert_eq!(scrub.clean("the second line of it"), "the [KEY] of it");
    }

    #[test]
    fn a_line_of_a_value_is_found_however_it_is_written() {
        let lines = ["abcdef \"x\"/ghi", "the 2nd: \u{e4}\u{f6}\u{fc} and 17", "no more than this"];
        let pem = format!("-----BEGIN-----\n{}\n", lines.join("\r\n"));
        let scrub = scrubber(&[("PEM", &pem)]);
        for line in lines {
            let hex = hex::encode(line);
            let encoded = [STANDARD.encode(line), URL_SAFE_NO_PAD.encode(line), hex.to_uppercase(), hex];
            for form in written(line).into_iter().chain(encoded) {
                let clean = scrub.clean(&format!("it is {form}, this line"));
                assert!(clean.contains("[PEM]") && !clean.contains(&form), "{form}: {clean}");
            }
        }
        let foreign = "0123456789abcdef0123456789abcdef and abcdefghijklmnop";
        assert_eq!(scrub.clean(foreign), foreign);
    }

    #[test]
    fn of_values_that_overlap_nothing_is_left() {
        let scrub = scrubber(&[
            ("URL", "https://host/path"),
            ("REST", "host/path?key=hush"),
            ("END", "path?key"),
            ("Q", "hush!"),
        ]);
        assert_eq!(scrub.clean("at https://host/path?key=hush, and"), "at [REST], and");
        assert_eq!(scrub.clean("at https://host/path?key=hush!!"), "at [REST]!");
        assert_eq!(scrub.clean("a path?key=hush"), "a [END]=hush");
        let scrub = scrubber(&[("A", "aaaa"), ("B", "aaaaaaaa")]);
        assert_eq!(scrub.clean("aaaaaaaaaaab aaaaa aaa"), "[B]b [A] aaa");
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
