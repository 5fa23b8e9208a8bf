//! The three agents of the demo: who they are, and the programs they work with.
//! Each program is a pure function of the prompt's text. It reads what is asked and the data from the prompt, and answers
//! `None` when the job is not one it can do, so that the agent can reject it.

mod dates;
mod fences;
mod recipe;
mod tables;
mod text;

use std::fmt::Write as _;

/// A program: the prompt in, the answer out, or `None` when this is not its kind of job.
type Program = fn(&str) -> Option<String>;

/// One of the demo's agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skill {
    /// Counts, compares, extracts and tidies text.
    Wordsmith,
    /// Adds up, joins, reshapes and converts figures.
    Bookkeeper,
    /// Works out dates, deadlines and what a log says about time.
    Timekeeper,
}

impl Skill {
    /// All three, in the order the demo introduces them.
    pub(crate) const ALL: [Self; 3] = [Self::Wordsmith, Self::Bookkeeper, Self::Timekeeper];

    /// The agent's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wordsmith => "Wordsmith",
            Self::Bookkeeper => "Bookkeeper",
            Self::Timekeeper => "Timekeeper",
        }
    }

    /// What the agent says of itself; job matching reads it.
    pub(crate) fn personality(self) -> &'static str {
        match self {
            Self::Wordsmith => {
                "A patient reader who works with plain text. Counts the words, sentences and paragraphs of an essay, \
                 compares two versions of a document or lease line by line, and quotes every sentence of a brief that \
                 says what must hold. Extracts links and e-mail addresses from minutes and letters, and cleans a mailing \
                 or newsletter list of duplicates and unsubscribed addresses, sorted alphabetically. Will try a poem when asked."
            }
            Self::Bookkeeper => {
                "An exact hand with figures and files. Adds up invoices, amounts and totals per customer or category, keeps \
                 a household budget, joins CSV exports of orders and customers on their ids, and reshapes JSON arrays of \
                 stock by warehouse and sku. Converts and scales recipes from cups and ounces to metric ml and g. Rechnet auch auf Deutsch: \
                 Haushaltsbuch, Ausgaben, Summe der Beträge je Kategorie, was vom Budget übrig ist."
            }
            Self::Timekeeper => {
                "Lives by the calendar and the clock. Works out deadlines in working days around weekends and public holidays, \
                 ages and next birthdays of members, weekdays and ISO weeks for a rota or a season. Reads server and access logs \
                 hour by hour: lines and errors per hour, error rate, the slowest request and its timestamp for an incident note."
            }
        }
    }

    /// Does the job if it is one this agent can do right, and answers in the format asked for; otherwise `None`.
    pub(crate) fn work(self, prompt: &str) -> Option<String> {
        self.programs().iter().find_map(|program| program(prompt))
    }

    fn programs(self) -> &'static [Program] {
        match self {
            Self::Wordsmith => &[
                text::count_words,
                text::clean_address_list,
                text::extract_contacts,
                text::compare_versions,
                text::quote_requirements,
            ],
            Self::Bookkeeper => &[tables::total_by_group, tables::join_on_key, tables::regroup_json, recipe::convert],
            Self::Timekeeper => &[dates::summarize_log, dates::working_day_deadlines, dates::next_birthdays],
        }
    }

    /// The best this agent can offer for any prompt, never empty: its real answer where it has one, else an honest try
    /// that may well be refused.
    pub(crate) fn attempt_anyway(self, prompt: &str) -> String {
        if let Some(answer) = self.work(prompt) {
            return answer;
        }
        let Some(word) = spelled_word(prompt) else {
            return format!("{} has no way to do this.", self.name());
        };
        match self {
            Self::Wordsmith => line_per_letter(&word, prompt),
            Self::Bookkeeper => letter_table(&word, prompt),
            Self::Timekeeper => lines_by_the_clock(&word, prompt),
        }
    }
}

/// The word that the lines are to spell, at most 24 letters long.
fn spelled_word(prompt: &str) -> Option<String> {
    let prose = fences::prose_as_typed(prompt);
    let (_, after) = prose.split_once("spell ")?;
    let word: String = after.chars().take_while(|c| c.is_alphabetic()).take(24).collect();
    (!word.is_empty()).then_some(word)
}

/// The prompt's own words of four letters or more, each once, in lower case.
fn vocabulary(prompt: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in fences::prose(prompt).split(|c: char| !c.is_alphabetic()) {
        if word.chars().count() > 3 && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// A line for each letter, put together from the prompt's words: it spells the word, but it has no ear for rhyme.
fn line_per_letter(word: &str, prompt: &str) -> String {
    let words = vocabulary(prompt);
    let mut unused = words.iter().filter(|w| w.chars().count() > 4).cycle();
    let mut lines = Vec::new();
    for letter in word.to_lowercase().chars() {
        let first = words
            .iter()
            .filter(|w| w.starts_with(letter))
            .nth(lines.len() / 4)
            .or_else(|| words.iter().find(|w| w.starts_with(letter)))
            .cloned()
            .unwrap_or_else(|| letter.to_string());
        let mut line = capitalized(&first);
        for next in unused.by_ref().take(5) {
            line.push(' ');
            line.push_str(next);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// What a bookkeeper makes of it: the letters, and how often the prompt's words begin with them.
fn letter_table(word: &str, prompt: &str) -> String {
    let words = vocabulary(prompt);
    let mut table = String::from("| letter | words on hand |\n|---|---|");
    for letter in word.chars() {
        let lower = letter.to_lowercase().to_string();
        let count = words.iter().filter(|w| w.starts_with(&lower)).count();
        let _ = write!(table, "\n| {letter} | {count} |");
    }
    table
}

/// What a timekeeper makes of it: as many lines as letters, one for each hour of an evening.
fn lines_by_the_clock(word: &str, prompt: &str) -> String {
    let words = vocabulary(prompt);
    let longest = words.iter().max_by_key(|w| w.chars().count()).map_or("waiting", String::as_str);
    let lines: Vec<String> =
        (0..word.chars().count()).map(|i| format!("At {} o'clock there is time for {longest}", i % 12 + 1)).collect();
    lines.join("\n")
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::super::checks::review;
    use super::super::prompts::prompts;
    use super::Skill;

    /// With other data in the prompt the programs still pass the checks, which recompute: nothing is learned by heart.
    #[test]
    fn the_answer_follows_the_data() {
        let changes = [
            ("invoice-totals", "2026-03-05,19.60,open", "2026-03-05,1019.65,open"),
            ("essay-word-count", "please look down.", "please look down, and wait; counterintuitively! Yes."),
            ("newsletter-list", "zoe_k@example.net", "aaron@example.net"),
            ("links-from-minutes", "http://party.example.net/27", "https://party.example.net/28?x=(1)"),
            ("lease-changes", "3. The deposit is three months' rent.\n", "New.\n\n2. The tenant may keep one cat.\n"),
            ("acceptance-musts", "The screen saver is optional", "The screen saver must be optional"),
            ("haushaltsbuch", "Strom;89,00", "Strom;1189,01"),
            ("haushaltsbuch", "Budget von 1450,00 €", "Budget von 200,00 €"),
            ("orders-with-names", "Noor Rahman,Leeds", "Noor Rahman,\"Leeds, West\""),
            ("orders-with-names", "7005,C99", "7005,C31"),
            ("recipe-to-metric", "I need it for 6 people", "I need it for 7 people"),
            ("recipe-to-metric", "1 oz = 28 g", "1 oz = 30 g"),
            ("stock-json", "\"Ghent\", \"qty\": 0", "\"Utrecht\", \"qty\": 8"),
            (
                "checkout-log",
                "2026-03-02T11:59:59Z INFO GET /cart 200 44ms",
                "2026-03-02T14:59:59Z ERROR GET /cart 500 4400ms",
            ),
            ("permit-deadlines", "2026-05-14 and", "2026-05-15 and"),
            ("permit-deadlines", "BP-121,2026-04-04,15", "BP-121,2027-12-24,250"),
            ("club-birthdays", "The season starts on 1 September 2026", "The season starts on 29 February 2028"),
            ("club-birthdays", "1966-11-08", "1966-08-31"),
        ];
        for (name, old, new) in changes {
            let (_, prompt) = prompts().into_iter().find(|(known, _)| *known == name).expect("a known prompt");
            assert_eq!(prompt.matches(old).count(), 1, "{name}: {old}");
            let changed = prompt.replace(old, new);
            let answers: Vec<String> = Skill::ALL.iter().filter_map(|skill| skill.work(&changed)).collect();
            assert!(!answers.is_empty(), "{name}: {new}");
            for answer in answers {
                review(&changed, &answer).unwrap_or_else(|reason| panic!("{name}, {new}: {reason}\n{answer}"));
            }
        }
    }

    #[test]
    fn each_skill_leaves_the_others_jobs_alone() {
        for (name, prompt) in prompts() {
            let able: Vec<Skill> = Skill::ALL.into_iter().filter(|skill| skill.work(prompt).is_some()).collect();
            assert!(able.len() < 2, "{name}: {able:?}");
        }
    }

    #[test]
    fn names_and_personalities_fit_the_exchange() {
        for skill in Skill::ALL {
            assert!((1..=64).contains(&skill.name().chars().count()));
            assert!(skill.personality().chars().count() < 8000);
        }
    }

    #[test]
    fn prompts_cut_anywhere_never_panic() {
        for (_, prompt) in prompts() {
            for (at, _) in prompt.char_indices().step_by(3) {
                for cut in [&prompt[..at], &prompt[at..]] {
                    for skill in Skill::ALL {
                        let _ = skill.work(cut).map(|answer| review(cut, &answer));
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_data_never_panics() {
        let nasty = [
            "",
            "0",
            "-",
            "9999999999999999999999",
            "-9223372036854775808",
            "0000-00-00",
            "9999-12-31",
            "-9999-01-01",
            "\"",
            "```",
            "|",
            ",,,,,,",
            "1/0",
            "0/0",
            "é@é",
            "@",
            "http://",
            "\u{202e}",
            "\u{0}",
            "[",
            "}",
            "°F",
            "ms",
            "→",
        ];
        for (_, prompt) in prompts() {
            let words: Vec<&str> = prompt.split_inclusive([' ', '\n', ',', ';', '"']).collect();
            for at in (0..words.len()).step_by(5) {
                let bad = nasty[at / 5 % nasty.len()];
                let mut changed = words.clone();
                let separator = words[at].chars().last().filter(|c| !c.is_alphanumeric()).unwrap_or(' ');
                let bad = format!("{bad}{separator}");
                changed[at] = &bad;
                let changed = changed.concat();
                for skill in Skill::ALL {
                    assert!(!skill.attempt_anyway(&changed).trim().is_empty());
                    let _ = review(&changed, &skill.attempt_anyway(&changed));
                    let _ = review(prompt, &skill.attempt_anyway(&changed));
                }
            }
        }
        for text in nasty {
            for skill in Skill::ALL {
                assert!(skill.work(text).is_none());
                assert!(!skill.attempt_anyway(text).trim().is_empty());
            }
            assert!(review(text, text).is_err());
            for (_, prompt) in prompts() {
                assert!(review(prompt, text).is_err());
            }
        }
    }
}
