//! What people write around a request: greetings, politeness, thanks; and the request without them.

/// "Hi Bob, hello, could you please kindly": nobody means more than this.
const MANNERS_IN_A_ROW: usize = 8;

/// The sentence without manners at either end and with a capital at the front.
pub(super) fn bare(sentence: &str) -> String {
    let mut rest = sentence.trim_matches(|c: char| c.is_whitespace() || ",;:.!?…-–—#>*".contains(c));
    for _ in 0..MANNERS_IN_A_ROW {
        let shorter = without_greeting(rest).or_else(|| without_manners(rest));
        let Some(shorter) = shorter.filter(|shorter| !shorter.is_empty()) else {
            break;
        };
        rest = shorter;
    }
    let mut trimmed = rest;
    for _ in 0..MANNERS_IN_A_ROW {
        let Some(shorter) = ENDINGS.iter().find_map(|ending| without_end(trimmed, ending)) else {
            break;
        };
        trimmed = shorter;
    }
    let rest = if trimmed.is_empty() { rest } else { trimmed };
    let mut letters = rest.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// "Hi Bob, …" and "Hello! …": the greeting ends at the first comma or exclamation mark nearby.
fn without_greeting(text: &str) -> Option<&str> {
    let rest = GREETINGS.iter().find_map(|greeting| without_start(text, greeting))?;
    let nearby = rest.char_indices().take(60).find(|(_, c)| matches!(c, ',' | '!' | '–' | '-')).map(|(at, _)| at);
    let named = nearby.filter(|at| rest[..*at].split_whitespace().count() <= 3);
    Some(
        named
            .map_or(rest, |at| &rest[at..])
            .trim_start_matches(|c: char| !c.is_alphanumeric() && !"\"'“.#$(".contains(c)),
    )
}

fn without_manners(text: &str) -> Option<&str> {
    let rest = MANNERS.iter().find_map(|manner| without_start(text, manner))?;
    Some(rest.trim_start_matches(|c: char| c.is_whitespace() || ",:;-–!".contains(c)))
}

/// The text behind a phrase it starts with, letters compared without case, at the end of a word.
fn without_start<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let head = text.get(..phrase.len())?;
    let same = head.replace('\u{2019}', "'").eq_ignore_ascii_case(phrase);
    let rest = &text[phrase.len()..];
    (same && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\'')).then(|| rest.trim_start())
}

fn without_end<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(phrase.len())?;
    let same = text.get(at..)?.eq_ignore_ascii_case(phrase);
    let kept = text.get(..at)?;
    (same && kept.ends_with([' ', ','])).then(|| kept.trim_end_matches([' ', ',', '?', '!', '.']))
}

/// What a letter starts with.
pub(super) const GREETINGS: [&str; 15] = [
    "hi",
    "hello",
    "hey",
    "dear",
    "greetings",
    "good morning",
    "good afternoon",
    "good evening",
    "good day",
    "howdy",
    "hola",
    "bonjour",
    "hallo",
    "ciao",
    "guten tag",
];

pub(super) const MANNERS: [&str; 56] = [
    "please",
    "kindly",
    "could you",
    "can you",
    "would you be so kind as to",
    "would you mind",
    "would you",
    "will you",
    "i need you to",
    "i need someone to",
    "i need help to",
    "i need help with",
    "i need an agent to",
    "i want you to",
    "i want someone to",
    "i'd like you to",
    "i would like you to",
    "i'd like someone to",
    "i'm looking for someone to",
    "i am looking for someone to",
    "looking for someone to",
    "i'm looking for",
    "i am looking for",
    "we need you to",
    "we need someone to",
    "we need",
    "i need",
    "help me to",
    "help me",
    "help us",
    "your task is to",
    "your job is to",
    "the task is to",
    "the task is",
    "the goal is to",
    "my task is to",
    "you are to",
    "you should",
    "task:",
    "job:",
    "request:",
    "goal:",
    "prompt:",
    "question:",
    "title:",
    "instructions:",
    "so,",
    "ok,",
    "okay,",
    "just",
    "quick one",
    "bitte",
    "por favor",
    "s'il vous plaît",
    "if you could",
    "also,",
];

pub(super) const ENDINGS: [&str; 12] = [
    "please",
    "for me",
    "for us",
    "thanks",
    "thank you",
    "thanks!",
    "thank you!",
    "thanks in advance",
    "thank you in advance",
    "many thanks",
    "asap",
    "bitte",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_left_without_its_manners_and_with_all_of_its_words() {
        let cases = [
            ("Hi Bob, could you please count to three for me, thanks!", "Count to three"),
            ("Please, count to three", "Count to three"),
            ("Please: count to three", "Count to three"),
            ("Hello, .net code is below", ".net code is below"),
            ("Hiking trails of Rome", "Hiking trails of Rome"),
            ("Justify the text", "Justify the text"),
            ("Rank the places I saw asap", "Rank the places I saw"),
            ("Count the tithanks", "Count the tithanks"),
            ("please", "Please"),
            ("…", ""),
        ];
        for (sentence, expected) in cases {
            assert_eq!(bare(sentence), expected, "{sentence}");
        }
    }
}
