//! Patterns, and whether they match in a text: found out within a bound of work, whatever both are.
//!
//! An automaton made while it reads takes a step for each byte, as long as few of its states are met. A pattern can be
//! such that each byte leads to a new one; then all its parts are followed at once, which takes as many steps for each
//! byte as it has parts. For 256 KiB of a pattern and a text of 1 MiB that would be half a minute, so it is not begun.

use regex_automata::Input;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;

use super::read;

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 256 * 1024;
/// How deep it may be nested.
const DEPTH: u32 = 50;
/// Bytes of states that are kept.
const STATES_BYTES: usize = 1 << 20;
/// So often they are all made anew before it is given up.
const FRESH_STARTS: usize = 8;
/// Parts of a pattern times bytes of a text that all are followed for: below a second.
pub(super) const WORK: usize = 100_000_000;

/// A pattern, compiled.
pub(super) struct Pattern {
    regex: regex::Regex,
    nfa: NFA,
}

impl Pattern {
    /// Compiles a pattern; or why it is none, as the end of a sentence.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut builder = regex::RegexBuilder::new(pattern);
        builder.size_limit(PATTERN_BYTES).dfa_size_limit(STATES_BYTES).nest_limit(DEPTH);
        let regex = builder.build().map_err(|error| read::why_no_pattern(&error))?;
        let mut compiler = thompson::Compiler::new();
        compiler.configure(thompson::Config::new().which_captures(WhichCaptures::None));
        compiler.syntax(syntax::Config::new().nest_limit(DEPTH));
        let nfa = compiler.build(pattern).map_err(|_| "is too large".to_owned())?;
        Ok(Self { regex, nfa })
    }

    /// Whether it matches somewhere in a text; none where that takes too much to find out.
    pub(super) fn matches(&self, text: &str) -> Option<bool> {
        self.by_states(text).or_else(|| {
            let work = self.nfa.states().len().saturating_mul(text.len());
            (work <= WORK).then(|| self.regex.is_match(text))
        })
    }

    /// Whether it matches, if few states tell; word boundaries tell it of ASCII alone.
    fn by_states(&self, text: &str) -> Option<bool> {
        let config = DFA::config()
            .unicode_word_boundary(true)
            .cache_capacity(STATES_BYTES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(FRESH_STARTS));
        let dfa = DFA::builder().configure(config).build_from_nfa(self.nfa.clone()).ok()?;
        let found = dfa.try_search_fwd(&mut dfa.create_cache(), &Input::new(text).earliest(true));
        found.ok().map(|place| place.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters in no order, so that each leads elsewhere.
    fn letters(bytes: usize) -> String {
        let mut x = 12_345_u64;
        let next = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            if x.is_multiple_of(2) { 'a' } else { 'b' }
        };
        (0..bytes).map(next).collect()
    }

    #[test]
    fn what_would_take_too_long_is_not_begun() {
        let long = letters(1 << 20);
        for pattern in [
            "(?-u)[ab]*a[ab]{3000}c",
            "(?-u)(?:[ab]{0,30}a){60}c",
            "(?-u)a(?:a?b?){1200}c",
            "a(?:\\b|a|b){1500}c",
            "[ab]*a[ab]{900}c",
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(pattern.matches(&long), None);
            // Of a short text it is told.
            assert_eq!(pattern.matches(&long[..4_000]), Some(false));
        }
    }

    #[test]
    fn a_plain_pattern_is_found_in_the_longest_text() {
        let (ascii, other) =
            ("Some words, 17 of them. ".repeat(43_690), "M\u{e4}nner und 17 gr\u{f6}\u{df}te ".repeat(38_000));
        for (pattern, is) in [
            (r".*.*.*=.*", [false, false]),
            (r"(a{0,500}){0,1}$", [true, true]),
            (r"\w+@\w+", [false, false]),
            (r"(?i)\d+ GR\u{D6}SSTE|of \w+\.\s$", [true, false]),
            (r"\p{Lu}\p{Ll}+ \d{2}", [false, false]),
            (r"\bund\b", [false, true]),
            (r"\bzwar\b", [false, false]),
            (r"(?m)^#+ .+$", [false, false]),
            (r".{50,}", [true, true]),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!([pattern.matches(&ascii), pattern.matches(&other)], is.map(Some), "{:?}", pattern.regex);
        }
    }
}
