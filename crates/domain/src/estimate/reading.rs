//! A prompt, told apart into what is asked and what is only handed along.
//!
//! Fenced code, quoted lines, tables, CSV, JSON, tagged documents, letters and what follows "the text
//! below:" are material. Everything else is headings, list items and paragraphs, with the marks of
//! Markdown taken off.

use super::material::{Enclosure, fence_mark, hand_over, is_data};
use super::text::{clean, searchable};

/// What a block of the prompt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Heading,
    Item,
    Paragraph,
    Material,
}

/// Consecutive lines that belong together. Instructions are clean: one line, no control characters.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// A whole prompt, block by block.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) blocks: Vec<Block>,
    /// All instructions for searching: lower case, words between single blanks, a `;` between blocks.
    pub(super) words: String,
    /// How many words the prompt has, material included.
    pub(super) size_words: usize,
}

impl Reading {
    pub(super) fn of(prompt: &str) -> Self {
        let blocks = blocks(prompt);
        let mut words = String::from(" ");
        for block in blocks.iter().filter(|block| block.kind != Kind::Material) {
            words.push_str(searchable(&block.text).trim_start());
            words.push_str("; ");
        }
        words.push_str(searchable(&languages_of_fences(prompt)).trim_start());
        // A long unbroken run is more than one word's work: CJK text, encoded files.
        let size_words = prompt.split_whitespace().map(|word| 1 + word.len() / 24).sum();
        Self { blocks, words, size_words }
    }

    /// Headings, items and paragraphs, in order.
    pub(super) fn instructions(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.kind != Kind::Material)
    }
}

fn blocks(prompt: &str) -> Vec<Block> {
    let raw: Vec<&str> = prompt.lines().collect();
    let lines: Vec<&str> = raw.iter().map(|line| line.trim()).collect();
    let mut enclosure = Enclosure::of(&lines);
    let mut blocks: Vec<Block> = Vec::new();
    let mut joins = false;
    let material = |text: &str| Block { kind: Kind::Material, text: text.to_owned() };
    for (at, line) in lines.iter().copied().enumerate() {
        let enclosed = enclosure.holds(at, line, blocks.is_empty());
        let next = lines.get(at + 1).copied().unwrap_or_default();
        let previous = at.checked_sub(1).map_or("", |before| lines[before]);
        if line.is_empty() || fence_mark(line).is_some() {
            joins = false;
            continue;
        }
        if enclosed || is_data(line, previous, next) {
            blocks.push(material(line));
            joins = false;
            continue;
        }
        let (kind, text) = marked(line);
        let (asked, given) = hand_over(text);
        let asked = clean(asked);
        // The rest of an item is indented; what is not stands on its own.
        let indented = raw[at].starts_with([' ', '\t']);
        let continues = |last: &Block| {
            let same = kind == Kind::Paragraph && (last.kind != Kind::Item || indented);
            joins && same && goes_on(&last.text, &asked)
        };
        match blocks.last_mut() {
            _ if asked.is_empty() => {}
            Some(last) if continues(last) => {
                last.text.push(' ');
                last.text.push_str(&asked);
            }
            _ => blocks.push(Block { kind, text: asked }),
        }
        joins = kind != Kind::Heading && given.is_none();
        match given {
            Some("") => enclosure.announce(),
            Some(given) => blocks.push(material(given)),
            None => {}
        }
    }
    blocks
}

/// Whether a line is the rest of the line before it, wrapped by hand.
fn goes_on(before: &str, line: &str) -> bool {
    !before.ends_with(['.', '!', '?', ':', ';', '。', '！', '？'])
        && (line.starts_with(|c: char| c.is_lowercase() || c.is_numeric()) || before.len() >= 60)
}

/// The kind of a line and its text without the marks in front.
pub(super) fn marked(line: &str) -> (Kind, &str) {
    let heading = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#'));
    if let Some(heading) = heading.filter(|heading| heading.starts_with(' ')) {
        return (Kind::Heading, heading.trim());
    }
    if let Some(bold) = line.strip_prefix("**").and_then(|rest| rest.strip_suffix("**"))
        && !bold.contains("**")
    {
        return (Kind::Heading, bold);
    }
    if let Some(item) = line.strip_prefix(['-', '*', '+', '•', '–', '·']).filter(|item| item.starts_with(' ')) {
        let item = item.trim_start();
        let boxed = ["[ ]", "[x]", "[X]"].iter().find_map(|mark| item.strip_prefix(mark));
        return (Kind::Item, boxed.unwrap_or(item).trim_start());
    }
    let numbered = line.strip_prefix('(').unwrap_or(line).trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - numbered.len();
    if let Some(item) =
        numbered.strip_prefix(['.', ')']).filter(|item| (1..=4).contains(&digits) && item.starts_with(' '))
    {
        return (Kind::Item, item.trim_start());
    }
    (Kind::Paragraph, line)
}

/// What stands behind the opening fences: `python`, `csv`.
fn languages_of_fences(prompt: &str) -> String {
    let fences = prompt.lines().map(str::trim).filter(|line| fence_mark(line).is_some());
    let names = fences.map(|line| line.trim_start_matches(['`', '~'])).filter(|name| name.len() <= 20);
    names.map(|name| format!("{name} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a prompt, each with the first letter of its kind in front.
    fn read(prompt: &str) -> Vec<String> {
        Reading::of(prompt)
            .blocks
            .iter()
            .map(|block| format!("{:.1} {}", format!("{:?}", block.kind), block.text))
            .collect()
    }

    #[test]
    fn lines_that_belong_together_become_one_block() {
        let [sixty, less] = [60, 59].map(|letters| format!("Say {}", "x".repeat(letters - 4)));
        let (long, short) = (format!("{sixty}\nThen rest"), format!("{less}\nThen rest"));
        let (joined, apart) = (format!("P {sixty} Then rest"), format!("P {less}"));
        let cases: [(&str, &[&str]); 14] = [
            ("Count the\nwords of it", &["P Count the words of it"]),
            ("Buy me\n3 apples", &["P Buy me 3 apples"]),
            ("Count it.\nthen rest", &["P Count it.", "P then rest"]),
            ("Count it\nThen rest", &["P Count it", "P Then rest"]),
            (&long, &[&joined]),
            (&short, &[&apart, "P Then rest"]),
            ("Count it\n\nthen rest", &["P Count it", "P then rest"]),
            ("- a list\n  that goes on\n- more\nand its end", &["I a list that goes on", "I more", "P and its end"]),
            ("# Tea\nand cake", &["H Tea", "P and cake"]),
            ("Colors: red,green,blue\nCount them", &["P Colors: red,green,blue", "P Count them"]),
            ("Count in\nthe text below:\nSo be it.", &["P Count in the text below", "M So be it."]),
            ("Count the vowels\nText: abc\nand more", &["P Count the vowels", "M abc", "P and more"]),
            ("Count\n```\nabc\n```\nand rest", &["P Count", "M abc", "P and rest"]),
            ("", &[]),
        ];
        for (prompt, expected) in cases {
            assert_eq!(read(prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn the_marks_in_front_of_a_line_say_what_it_is() {
        let cases = [
            ("## Rules", (Kind::Heading, "Rules")),
            ("#1 in the charts", (Kind::Paragraph, "#1 in the charts")),
            ("**Rules**", (Kind::Heading, "Rules")),
            ("**Draw** a **logo**", (Kind::Paragraph, "**Draw** a **logo**")),
            ("* sorted", (Kind::Item, "sorted")),
            ("- [x] sorted", (Kind::Item, "sorted")),
            ("-5 degrees", (Kind::Paragraph, "-5 degrees")),
            ("1. sorted", (Kind::Item, "sorted")),
            ("(12) sorted", (Kind::Item, "sorted")),
            ("1.5 liters", (Kind::Paragraph, "1.5 liters")),
            ("20250. sorted", (Kind::Paragraph, "20250. sorted")),
        ];
        for (line, expected) in cases {
            assert_eq!(marked(line), expected, "{line}");
        }
    }
}
