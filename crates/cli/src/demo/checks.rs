//! How the demo's senders review what they get: each kind of answer is checked against the prompt it answers.
//! Nothing here is shared with the programs. Where they compute, the checks test properties or count another way, so that
//! a mistake made there is found here.

mod dates;
mod poem;
mod tables;
mod text;

/// The outcome of a check: the reason it passed, or the reason it failed, in the sender's words.
type Outcome = Result<String, String>;

/// What the sender asked for.
struct Asked<'a> {
    /// The whole prompt on one line, in lower case.
    text: String,
    /// The prompt as typed.
    typed: &'a str,
    /// The data blocks.
    blocks: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn read(prompt: &'a str) -> Self {
        let text = prompt.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        // Every second piece between fences is data; its first line is the fence's label.
        let pieces = prompt.split("```").skip(1).step_by(2);
        let blocks = pieces.filter_map(|piece| piece.split_once('\n')).map(|(_, body)| body.trim_end()).collect();
        Self { text, typed: prompt, blocks }
    }

    fn block(&self, index: usize) -> Result<&'a str, String> {
        self.blocks.get(index).copied().ok_or_else(|| "My prompt lacks the data I wanted worked on.".to_owned())
    }
}

/// A check: what was asked and what came back, in; the outcome, out.
type Check = fn(&Asked<'_>, &str) -> Outcome;

/// Each kind of job: the phrases that tell it, and its check.
const KINDS: [(&[&str], Check); 14] = [
    (&["an acrostic", "rhyme"], poem::review),
    (&["longest word", "sentences: n"], text::counts),
    (&["newsletter list", "unsubscribed"], text::address_list),
    (&["web link", "e-mail address"], text::contacts),
    (&["old version", "new version"], text::changes),
    (&["every sentence", "\"must\""], text::requirements),
    (&["per customer", "total:"], tables::open_invoices),
    (&["haushaltsbuch", "je kategorie"], tables::household_budget),
    (&["join the orders", "customer_id"], tables::joined_orders),
    (&["json", "warehouse", "sku"], tables::stock),
    (&["recipe", "metric"], tables::recipe),
    (&["working days", "case,due,weekday"], dates::deadlines),
    (&["next birthday", "iso week"], dates::birthdays),
    (&["log", "error rate", "slowest"], dates::log_summary),
];

/// Reviews an answer as its sender would: `Ok` with the reason for a pass, `Err` with the reason for a fail.
pub(crate) fn review(prompt: &str, output: &str) -> Result<String, String> {
    let asked = Asked::read(prompt);
    if output.trim().is_empty() {
        return Err("The answer is empty.".to_owned());
    }
    match KINDS.iter().find(|(phrases, _)| phrases.iter().all(|phrase| asked.text.contains(phrase))) {
        Some((_, check)) => check(&asked, output.trim_end()),
        None => Err("I have no way to check an answer to this.".to_owned()),
    }
}

/// A stranger's text inside a reason: in quotes, at most 60 characters, control characters made harmless.
fn shown(text: &str) -> String {
    let harmless: String = text.chars().take(60).map(|c| if c.is_control() { '·' } else { c }).collect();
    let more = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("“{harmless}{more}”")
}

/// Fails with this reason unless the condition holds.
fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

/// The text that must follow this label on this line of the answer.
fn labeled<'a>(line: Option<&'a str>, label: &str) -> Result<&'a str, String> {
    let line = line.ok_or_else(|| format!("The line that starts with {} is missing.", shown(label)))?;
    line.strip_prefix(label).ok_or_else(|| format!("{} should start with {}.", shown(line), shown(label)))
}

/// The cells of a line of CSV; quoted cells may hold separators and doubled quotes.
fn csv_cells(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, cells.last_mut()) {
            ('"', Some(cell)) if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            ('"', _) => quoted = !quoted,
            (c, _) if c == separator && !quoted => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells
}

/// A data block as rows, each a lookup by column name.
struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    fn read(block: &str, separator: char) -> Self {
        let mut lines = block.lines().map(|line| csv_cells(line, separator));
        Self { header: lines.next().unwrap_or_default(), rows: lines.collect() }
    }

    /// The cell of that row and column, empty when there is none.
    fn cell(&self, row: usize, column: &str) -> &str {
        let column = self.header.iter().position(|name| name == column);
        column.and_then(|column| self.rows.get(row)?.get(column)).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::programs::Skill;
    use super::super::prompts::prompts;
    use super::review;

    const BEYOND_THEM: &str = "acrostic-poem";

    fn poem_prompt() -> &'static str {
        prompts().into_iter().find(|(name, _)| *name == BEYOND_THEM).expect("the poem is among the prompts").1
    }

    #[test]
    fn every_prompt_but_the_poem_is_worked_and_passes() {
        for (name, prompt) in prompts() {
            let answers: Vec<String> = Skill::ALL.iter().filter_map(|skill| skill.work(prompt)).collect();
            assert_eq!(answers.is_empty(), name == BEYOND_THEM, "{name}");
            for answer in answers {
                review(prompt, &answer).unwrap_or_else(|reason| panic!("{name}: {reason}\n{answer}"));
            }
        }
    }

    #[test]
    fn the_poem_fails_thrice_each_time_for_another_reason() {
        let prompt = poem_prompt();
        let mut reasons: Vec<String> =
            Skill::ALL.iter().filter_map(|skill| review(prompt, &skill.attempt_anyway(prompt)).err()).collect();
        reasons.sort();
        reasons.dedup();
        assert_eq!(reasons.len(), 3, "{reasons:?}");
    }

    #[test]
    fn any_digit_changed_fails() {
        for (name, prompt) in prompts() {
            for answer in Skill::ALL.iter().filter_map(|skill| skill.work(prompt)) {
                for (at, digit) in answer.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
                    let other = if digit == '9' { '8' } else { char::from(digit as u8 + 1) };
                    let corrupted = format!("{}{other}{}", &answer[..at], &answer[at + 1..]);
                    assert!(review(prompt, &corrupted).is_err(), "{name} passed with\n{corrupted}");
                }
            }
        }
    }

    #[test]
    fn any_line_dropped_doubled_or_swapped_fails() {
        for (name, prompt) in prompts() {
            for answer in Skill::ALL.iter().filter_map(|skill| skill.work(prompt)) {
                let lines: Vec<&str> = answer.lines().collect();
                for i in 0..lines.len() {
                    let mut dropped = lines.clone();
                    dropped.remove(i);
                    assert!(review(prompt, &dropped.join("\n")).is_err(), "{name} passed without line {}", i + 1);
                    let mut doubled = lines.clone();
                    doubled.insert(i, lines[i]);
                    assert!(review(prompt, &doubled.join("\n")).is_err(), "{name} passed with line {} twice", i + 1);
                    let mut swapped = lines.clone();
                    swapped.swap(i, (i + 1) % lines.len());
                    // Two closing braces differ by their indentation alone.
                    let same = lines[i].trim() == swapped[i].trim();
                    assert!(
                        same || review(prompt, &swapped.join("\n")).is_err(),
                        "{name} passed with {} swapped",
                        i + 1
                    );
                }
            }
        }
    }

    #[test]
    fn any_letter_changed_fails() {
        for (name, prompt) in prompts() {
            for answer in Skill::ALL.iter().filter_map(|skill| skill.work(prompt)) {
                for (at, _) in answer.char_indices().filter(|(_, c)| c.is_ascii_alphabetic()) {
                    let corrupted = format!("{}q{}", &answer[..at], &answer[at + 1..]);
                    let same = corrupted.eq_ignore_ascii_case(&answer);
                    assert!(same || review(prompt, &corrupted).is_err(), "{name} passed with\n{corrupted}");
                }
            }
        }
    }

    #[test]
    fn talk_around_the_answer_fails() {
        for (name, prompt) in prompts() {
            for answer in Skill::ALL.iter().filter_map(|skill| skill.work(prompt)) {
                assert!(review(prompt, &format!("Sure, here it is:\n{answer}")).is_err(), "{name}");
                assert!(review(prompt, &format!("{answer}\nHope this helps!")).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn the_answer_to_another_prompt_fails() {
        for (name, prompt) in prompts() {
            for (other_name, other) in prompts().into_iter().filter(|(other_name, _)| *other_name != name) {
                for answer in Skill::ALL.iter().filter_map(|skill| skill.work(other)) {
                    assert!(review(prompt, &answer).is_err(), "{name} passed with the answer to {other_name}");
                }
            }
        }
    }

    #[test]
    fn a_poem_that_keeps_the_rules_passes() {
        let prompt = poem_prompt();
        let poem = "Many a winter you kept the light\n\
                    And carried the lighthouse through the night\n\
                    Rain and gale came up from the shore\n\
                    Gannets cried and you only laughed more\n\
                    At eighty you still can row with the tide\n\
                    Roses and terrible jokes at your side\n\
                    Eight decades of weather have made you so strong\n\
                    The table is laid now come sing us a song";
        assert!(review(prompt, poem).is_ok(), "{:?}", review(prompt, poem));
        assert!(review(prompt, &poem.replace("song", "tune")).is_err());
        assert!(review(prompt, &poem.replace("the lighthouse", "the lantern")).is_err());
        assert!(review(prompt, &poem.replace("Roses", "Lilacs")).is_err());
        assert!(review(prompt, &poem.replace("the night", "the light")).is_err());
    }
}
