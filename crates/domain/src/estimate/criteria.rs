//! Acceptance criteria: what the prompt itself says a good answer must be.

use std::collections::HashSet;

use super::manners::bare;
use super::reading::{Kind, Reading};
use super::stated::{stated_price, stated_time};
use super::text::{searchable, sentences, shortened};

const MOST: usize = 12;
/// Characters of one criterion.
const LONGEST: usize = 300;

/// The demands of a prompt in their order, each once.
pub(super) fn criteria(reading: &Reading) -> Vec<String> {
    let mut criteria = Criteria::default();
    let (mut under_demand, mut in_list, mut under_heading) = (false, false, false);
    let mut blocks = reading.blocks.iter().filter(|block| block.kind != Kind::Material).peekable();
    while let Some(block) = blocks.next() {
        match block.kind {
            Kind::Heading => {
                under_demand = announces(&block.text);
                (under_heading, in_list) = (under_demand, false);
            }
            Kind::Item if under_demand => {
                in_list = true;
                criteria.add(&block.text);
            }
            Kind::Paragraph if block.text.ends_with(':') => {
                under_demand = announces(&block.text);
                (under_heading, in_list) = (false, false);
                // What is to look "like this:" is a demand itself, unless it only leads to a list of them.
                if blocks.peek().is_none_or(|next| next.kind != Kind::Item) {
                    criteria.read(block.text.trim_end_matches(':'), false);
                }
            }
            _ => {
                // A list ends at the paragraph behind it; a section only at the next heading.
                under_demand &= !in_list || under_heading;
                criteria.read(&block.text, under_heading);
            }
        }
    }
    criteria.list
}

#[derive(Default)]
struct Criteria {
    list: Vec<String>,
    seen: HashSet<String>,
}

impl Criteria {
    /// Takes the demands among the sentences of a paragraph; all that follow a label, or all there are.
    fn read(&mut self, text: &str, mut all: bool) {
        for sentence in sentences(text) {
            let label = labelled(sentence);
            all |= label.is_some();
            let parts = label.unwrap_or(sentence).split(if all { ';' } else { '\n' });
            parts.filter(|part| all || demands(part)).for_each(|part| self.add(part));
        }
    }

    fn add(&mut self, text: &str) {
        if self.list.len() == MOST || is_about_the_deal(text) {
            return;
        }
        let text = shortened(&bare(text), LONGEST);
        let key: String = text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        if key.chars().count() >= 2 && self.seen.insert(key) {
            self.list.push(text);
        }
    }
}

/// Whether a heading or the line before a list says that demands follow.
pub(super) fn announces(text: &str) -> bool {
    const CUES: [&str; 28] = [
        " acceptance",
        " columns",
        " checklist",
        " condition",
        " constraint",
        " criteri",
        " deliverable",
        " do the following",
        " ensure",
        " exactly",
        " expect",
        " following steps",
        " follow these",
        " format",
        " guideline",
        " include",
        " make sure",
        " must",
        " needs to",
        " output",
        " requirement",
        " return ",
        " rule",
        " should",
        " specification",
        " it has to",
        " tasks",
        " these lines",
    ];
    let words = searchable(text);
    CUES.iter().any(|cue| words.contains(cue))
}

/// The demands in "Requirements: sorted; no blanks".
fn labelled(text: &str) -> Option<&str> {
    const LABELS: [&str; 11] = [
        "acceptance criteria",
        "constraints",
        "criteria",
        "deliverables",
        "expected output",
        "output",
        "output format",
        "requirements",
        "rules",
        "must have",
        "success criteria",
    ];
    let (label, demands) = text.split_once(':')?;
    LABELS.contains(&searchable(label).trim()).then_some(demands)
}

/// Whether a sentence states something that can be checked.
fn demands(sentence: &str) -> bool {
    const CUES: [&str; 49] = [
        " markdown table ",
        " must ",
        " mustn't ",
        " should ",
        " shouldn't ",
        " shall ",
        " needs to ",
        " need to be ",
        " has to ",
        " have to be ",
        " exactly ",
        " at least ",
        " at most ",
        " no more than ",
        " no fewer than ",
        " no less than ",
        " no longer than ",
        " fewer than ",
        " less than ",
        " more than ",
        " maximum ",
        " minimum ",
        " make sure ",
        " ensure ",
        " do not ",
        " don't ",
        " never ",
        " without any ",
        " as json ",
        " in json ",
        " as csv ",
        " as a csv ",
        " valid json ",
        " as markdown ",
        " in markdown ",
        " one per line ",
        " sorted by ",
        " sort by ",
        " ordered by ",
        " alphabetical",
        " ascending ",
        " descending ",
        " in the format ",
        " rounded to ",
        " use only ",
        " muss ",
        " müssen ",
        " doit ",
        " debe ",
    ];
    const STARTS: [&str; 12] = [
        " return ",
        " output ",
        " answer with ",
        " answer in ",
        " answer as ",
        " respond with ",
        " respond in ",
        " reply with ",
        " reply in ",
        " include ",
        " only ",
        " give the answer ",
    ];
    /// What people say of themselves is no demand on the answer.
    const ASIDES: [&str; 10] = [
        " i must ",
        " i should ",
        " we must ",
        " we should ",
        " i don't ",
        " i do not ",
        " we don't ",
        " we do not ",
        " i never ",
        " more than happy ",
    ];
    let mut words = searchable(sentence);
    // Nor is what the world asks of them.
    if [" my ", " our ", " by statute ", " by law "].iter().any(|start| words.starts_with(start)) {
        return false;
    }
    for aside in ASIDES {
        words = words.replace(aside, " ");
    }
    let asking = sentence.ends_with('?')
        && ![" could you ", " can you ", " would you ", " please "].iter().any(|cue| words.contains(cue));
    let starts = STARTS.iter().any(|start| {
        words.starts_with(start)
            || words.contains(&format!(" and{start}"))
            || words.contains(&format!(" please{start}"))
    });
    !asking && (starts || CUES.iter().any(|cue| words.contains(cue)) || has_length(&words))
}

/// "200 words", "3 paragraphs", "under 50 lines": a length that was asked for.
fn has_length(words: &str) -> bool {
    const UNITS: [&str; 12] = [
        "words",
        "word",
        "sentences",
        "sentence",
        "paragraphs",
        "characters",
        "lines",
        "bullets",
        "examples",
        "syllables",
        "stanzas",
        "items",
    ];
    let mut before_number = false;
    for word in words.split(' ') {
        // "200-word" is one word to people.
        let joined = word.split_once('-').is_some_and(|(count, unit)| is_count(count) && UNITS.contains(&unit));
        if joined || before_number && UNITS.contains(&word) {
            return true;
        }
        before_number = is_count(word);
    }
    false
}

fn is_count(word: &str) -> bool {
    const NAMES: [&str; 9] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let digits =
        word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || ",-–".contains(c));
    digits || NAMES.contains(&word)
}

/// Price and time limit are the exchange's business, not the answer's.
fn is_about_the_deal(text: &str) -> bool {
    let words = searchable(text);
    stated_price(text).is_some() || stated_time(text).is_some() && !has_length(&words)
}
