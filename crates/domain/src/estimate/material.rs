//! How to know what is only handed along: data, code, letters and texts inside a prompt.
//!
//! The rules look at one line and its neighbors. They err towards material: a demand missed is added
//! by the sender in a moment, a demand made up from someone's letter is judged by.

use std::collections::HashMap;

use super::criteria::announces;
use super::manners::GREETINGS;
use super::reading::{Kind, marked};
use super::text::searchable;

/// Splits "count the words in the following text: …" where the material begins, if it does.
pub(super) fn hand_over(text: &str) -> (&str, Option<&str>) {
    const MATERIAL: [&str; 24] = [
        "article",
        "code",
        "content",
        "csv",
        "data",
        "document",
        "email",
        "e-mail",
        "file",
        "input",
        "invoices",
        "json",
        "list",
        "log",
        "logs",
        "message",
        "numbers",
        "paragraph",
        "passage",
        "source",
        "string",
        "text",
        "transcript",
        "words",
    ];
    const DEMANDS: [&str; 9] =
        ["criteria", "format", "guideline", "include", "must", "output", "requirement", "rule", "should"];
    let Some((head, rest)) = text.split_once(':').filter(|(_, rest)| rest.is_empty() || rest.starts_with(' ')) else {
        return (text, None);
    };
    let words = searchable(head);
    let all: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    let named = |words: &[&str]| words.iter().any(|word| MATERIAL.contains(word));
    // "The following text" is material; "code that does the following" is a demand.
    let follows =
        all.iter().position(|word| *word == "following").is_some_and(|at| named(&all[at..all.len().min(at + 3)]));
    let points = ["below", "here is", "here are", "here's", "this is", "these"];
    let points = follows || named(&all) && points.iter().any(|cue| words.contains(&format!(" {cue} ")));
    let label = all.len() <= 2 && named(&all);
    if (points || label) && !DEMANDS.iter().any(|cue| words.contains(cue)) {
        return (if label && !points { "" } else { head }, Some(rest.trim()));
    }
    (text, None)
}

/// Whether an unfenced line is data or code by its looks.
pub(super) fn is_data(line: &str, previous: &str, next: &str) -> bool {
    let json = line.starts_with(['{', '}'])
        || line.starts_with('[') && !line.contains("](")
        || line.starts_with('"') && line.contains("\":");
    let table = line.starts_with('|') || line.contains('\t');
    let markup = line.starts_with('<') && line.ends_with('>');
    let code = line.ends_with(['{', '}'])
        || line.ends_with(';') && line.contains(['(', '='])
        || ["def ", "#include", "fn ", "const ", "let ", "var ", "import ", "//", "#!/"]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.ends_with('.');
    let rule = line.chars().all(|c| !c.is_alphanumeric() && c.is_ascii());
    let numbers = line.chars().all(|c| c.is_ascii_digit() || " ,.;-+$€".contains(c)) && line.contains([' ', ',']);
    json || table
        || markup
        || code
        || rule
        || numbers
        || line.starts_with('>')
        || has_csv_commas(line) && (has_csv_commas(next) || has_csv_commas(previous))
}

/// Commas with nothing behind them, other than those of "10,000", mark fields rather than clauses.
fn has_csv_commas(line: &str) -> bool {
    let tight = |(at, _): &(usize, &str)| {
        let (before, after) = (&line[..*at], &line[at + 1..]);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let thousands = digits == 3 && before.ends_with(|c: char| c.is_ascii_digit());
        !after.starts_with(char::is_whitespace) && !after.is_empty() && !thousands
    };
    let commas = line.matches(',').count();
    let tight = line.match_indices(',').filter(tight).count();
    tight > 0 && tight * 2 >= commas && !line.ends_with(['.', '?', ':'])
}

/// What a line stands in: a fence, a tag, a letter, or the text that was announced.
pub(super) struct Enclosure<'a> {
    closing_tags: HashMap<&'a str, usize>,
    fence: Option<char>,
    /// The line up to which a tagged document goes.
    tagged_until: Option<usize>,
    /// Whether "the text below:" stood before, and whether its text has begun.
    announced: Option<bool>,
    letter: bool,
}

impl<'a> Enclosure<'a> {
    pub(super) fn of(lines: &[&'a str]) -> Self {
        Self { closing_tags: last_closing_tags(lines), fence: None, tagged_until: None, announced: None, letter: false }
    }

    /// The next lines are material, up to the first empty line behind them.
    pub(super) fn announce(&mut self) {
        self.announced = Some(false);
    }

    /// Moves on to a line and says whether it is enclosed. Fences and empty lines belong to no block.
    pub(super) fn holds(&mut self, at: usize, line: &str, is_first: bool) -> bool {
        if let Some(mark) = fence_mark(line) {
            match self.fence {
                None => self.fence = Some(mark),
                Some(open) if open == mark => self.fence = None,
                Some(_) => {}
            }
            self.announced = None;
            return true;
        }
        if line.is_empty() {
            self.announced = self.announced.filter(|begun| !begun);
            return true;
        }
        let closing = opening_tag(line).and_then(|name| self.closing_tags.get(name)).copied();
        self.tagged_until = self.tagged_until.max(closing);
        self.announced = self.announced.map(|_| true);
        self.letter = if self.letter { !ends_a_letter(line) } else { !is_first && starts_a_letter(line) };
        let tagged = self.tagged_until.is_some_and(|end| at <= end);
        self.fence.is_some() || tagged || self.announced.is_some() || self.letter
    }
}

/// A greeting anywhere but at the top belongs to a letter that was handed along.
fn starts_a_letter(line: &str) -> bool {
    let words = searchable(line);
    let greets = GREETINGS.iter().any(|greeting| words.trim_start().starts_with(&format!("{greeting} ")));
    greets && line.ends_with([',', '!', ':']) && line.split_whitespace().count() <= 6
}

fn ends_a_letter(line: &str) -> bool {
    let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_'));
    rule || marked(line).0 == Kind::Heading || line.ends_with(':') && announces(line)
}

/// The name in a line that opens a document, `<document id="1">`; a tag around instructions does not.
fn opening_tag(line: &str) -> Option<&str> {
    const ASKED: [&str; 14] = [
        "constraints",
        "criteria",
        "format",
        "goal",
        "instruction",
        "instructions",
        "job",
        "output",
        "prompt",
        "question",
        "requirements",
        "rules",
        "task",
        "tasks",
    ];
    let inside = line.strip_prefix('<')?.strip_suffix('>')?;
    let name = inside.split_whitespace().next()?;
    let opens = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !inside.contains('<');
    (opens && !ASKED.contains(&name.to_ascii_lowercase().as_str())).then_some(name)
}

/// The last line that closes each tag.
fn last_closing_tags<'a>(lines: &[&'a str]) -> HashMap<&'a str, usize> {
    let closing =
        lines.iter().enumerate().filter_map(|(at, line)| Some((line.strip_prefix("</")?.strip_suffix('>')?, at)));
    closing.collect()
}

/// The mark of a line that opens or closes fenced code.
pub(super) fn fence_mark(line: &str) -> Option<char> {
    ['`', '~'].into_iter().find(|mark| line.chars().take_while(|c| c == mark).count() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_begins_behind_a_colon_where_the_words_before_it_say_so() {
        let handed_over = [
            ("Count the vowels in the following text: abc", "Count the vowels in the following text", "abc"),
            ("Following text: abc", "Following text", "abc"),
            ("Sum these numbers: 1", "Sum these numbers", "1"),
            ("Count the words of the text below:", "Count the words of the text below", ""),
            ("Text below: abc", "Text below", "abc"),
            ("Text: abc", "", "abc"),
            ("Input data:", "", ""),
        ];
        for (text, head, rest) in handed_over {
            assert_eq!(hand_over(text), (head, Some(rest)), "{text}");
        }
        let asked = [
            "Do the following: sort",
            "Do the following steps on the text: sort",
            "Sum these: 1",
            "Sort my data: by name",
            "Be brief: rest",
            "The text below must rhyme: be strict",
            "Sort the text below:now",
            "Count the words",
        ];
        for text in asked {
            assert_eq!(hand_over(text), (text, None), "{text}");
        }
    }

    #[test]
    fn a_line_is_data_or_code_by_its_looks() {
        let data = [
            "{ a: 1",
            "} or so",
            "[1, 2]",
            "\"a\": 1",
            "| a | b",
            "a\tb",
            "<p>hello</p>",
            "while x {",
            "x = 5;",
            "go(x);",
            "let x",
            "---",
            "1 2 3",
            "10,50",
            "€5, $6",
            "> quoted",
        ];
        let words = [
            "[the page](http://a.example)",
            "\"Go!\" is short",
            "a \"b\": c",
            "<b> is a tag",
            "A tag is <b>",
            "Be brief; then rest;",
            "f(x) = y",
            "let us know.",
            "———",
            "12345",
            "1 apple",
            "a,b alone",
        ];
        for line in data {
            assert!(is_data(line, "", ""), "{line}");
        }
        for line in words {
            assert!(!is_data(line, "", ""), "{line}");
        }
        assert!(is_data("a,b", "c,d", "") && is_data("a,b", "", "c,d"));
        assert!(!is_data("Sort it", "a,b", "c,d"));
    }

    #[test]
    fn commas_without_a_blank_behind_them_part_fields() {
        for fields in ["a,b", "a,100", "10,00", "1,0000", "a,b and c, d"] {
            assert!(has_csv_commas(fields), "{fields}");
        }
        for words in ["a, b", "10,000 apples", "a,b and c, d, e", "a,b.", "a,b?", "a,b:", "a,", "a"] {
            assert!(!has_csv_commas(words), "{words}");
        }
    }

    /// The lines that are enclosed, parted by `|`.
    fn enclosed(lines: &str, announced: bool) -> String {
        let lines: Vec<&str> = lines.split('|').collect();
        let mut enclosure = Enclosure::of(&lines);
        if announced {
            enclosure.announce();
        }
        let held = lines.iter().enumerate().filter(|(at, line)| enclosure.holds(*at, line, *at == 0));
        held.map(|(_, line)| *line).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn fences_enclose_up_to_their_own_mark() {
        assert_eq!(enclosed("a|```|b|```|c", false), "```|b|```");
        assert_eq!(enclosed("a|~~~~|```|b|~~~|c", false), "~~~~|```|b|~~~");
        assert_eq!(enclosed("``|b|`~`", false), "");
    }

    #[test]
    fn what_was_announced_goes_up_to_the_first_empty_line_behind_it() {
        assert_eq!(enclosed("|x|y||z", true), "|x|y|");
        assert_eq!(enclosed("```|x|```|y", true), "```|x|```");
        assert_eq!(enclosed("x||y", false), "");
    }

    #[test]
    fn tags_enclose_a_document_but_no_instructions() {
        let documents = [
            ("<doc>|a|</doc>|b", "<doc>|a|</doc>"),
            ("<doc id=\"1\">|a|</doc>|b", "<doc id=\"1\">|a|</doc>"),
            ("<a>|<b>|x|</b>|y|</a>|z", "<a>|<b>|x|</b>|y|</a>"),
            ("<Task>|a|</Task>", ""),
            ("<doc>|a", ""),
            ("</doc>|<doc>|a", ""),
            ("<1>|a|</1>", ""),
            ("<a><b>|x|</a><b>", ""),
        ];
        for (lines, expected) in documents {
            assert_eq!(enclosed(lines, false), expected, "{lines}");
        }
    }

    #[test]
    fn letters_go_from_a_greeting_to_a_rule_a_heading_or_an_announcement() {
        let letters = [
            ("a|Dear Bob,|x|y", "Dear Bob,|x|y"),
            ("a|Hi to all of you there!|x", "Hi to all of you there!|x"),
            ("a|Hi,|x|---|y", "Hi,|x"),
            ("a|Hi,|x|# Then|y", "Hi,|x"),
            ("a|Hi,|x|Requirements:|y", "Hi,|x"),
            ("a|Hi,|--|abc|News:|by the rules|y", "Hi,|--|abc|News:|by the rules|y"),
            ("Hi Bob,|x", ""),
            ("a|Hi Bob|x", ""),
            ("a|Hi to all of you out there!|x", ""),
            ("a|Hidden,|x", ""),
        ];
        for (lines, expected) in letters {
            assert_eq!(enclosed(lines, false), expected, "{lines}");
        }
    }
}
