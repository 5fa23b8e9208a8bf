//! The Wordsmith's programs: counting, comparing, extracting and tidying plain text.

use std::collections::BTreeSet;

use super::fences::{fences, prose, says_all};

/// Counts words, sentences and paragraphs and finds the longest word, whichever of them is asked for.
pub(super) fn count_words(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    if !says_all(&ask, &["count", "words: n"]) {
        return None;
    }
    let text = fences(prompt).into_iter().next()?.body;
    let words: Vec<&str> = text.split_whitespace().filter(|w| w.contains(char::is_alphanumeric)).collect();
    let mut lines = vec![format!("words: {}", words.len())];
    if ask.contains("sentences: n") {
        lines.push(format!("sentences: {}", text.split_whitespace().filter(|w| ends_sentence(w)).count()));
    }
    if ask.contains("paragraphs: n") {
        lines.push(format!("paragraphs: {}", paragraphs(&text).len()));
    }
    if ask.contains("longest word: x") {
        lines.push(format!("longest word: {}", longest(&words)?));
    }
    Some(lines.join("\n"))
}

/// The longest of the words without the punctuation around it; the first of equals.
fn longest<'a>(words: &[&'a str]) -> Option<&'a str> {
    let bare = words.iter().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()));
    bare.reduce(|best, word| if word.chars().count() > best.chars().count() { word } else { best })
}

fn ends_sentence(word: &str) -> bool {
    word.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']).ends_with(['.', '!', '?'])
}

/// The blocks between empty lines, each as one line.
fn paragraphs(text: &str) -> Vec<String> {
    let mut blocks = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            blocks.push(Vec::new());
        } else if let Some(block) = blocks.last_mut() {
            block.extend(line.split_whitespace());
        }
    }
    blocks.iter().filter(|block| !block.is_empty()).map(|block| block.join(" ")).collect()
}

/// Cleans a mailing list: each address once, lower case, sorted, without those of the unsubscribed.
pub(super) fn clean_address_list(prompt: &str) -> Option<String> {
    if !says_all(&prose(prompt), &["address", "once", "alphabetic", "one per line"]) {
        return None;
    }
    let mut keep = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for fence in fences(prompt) {
        let found = addresses(&fence.body).into_iter().map(|address| address.to_lowercase());
        if fence.intro.contains("unsubscribed") { gone.extend(found) } else { keep.extend(found) }
    }
    let rest: Vec<&str> = keep.difference(&gone).map(String::as_str).collect();
    (!rest.is_empty()).then(|| rest.join("\n"))
}

/// Every e-mail address in the text, as written and as often as written.
fn addresses(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || "._%+-@".contains(c)))
        .map(|token| token.trim_matches(['.', '-']))
        .filter(|token| {
            token.split_once('@').is_some_and(|(name, domain)| {
                !name.is_empty()
                    && !domain.contains('@')
                    && domain.split('.').filter(|label| !label.is_empty()).count() > 1
            })
        })
        .collect()
}

/// Lists the web links and the e-mail addresses of a text, each once, in order of appearance.
pub(super) fn extract_contacts(prompt: &str) -> Option<String> {
    if !says_all(&prose(prompt), &["`links:`", "`e-mails:`", "in the order"]) {
        return None;
    }
    let text = fences(prompt).into_iter().next()?.body;
    let links = links(&text);
    // An address inside a link belongs to the link.
    let without_links = links.iter().fold(text.clone(), |rest, link| rest.replace(link, " "));
    let mut lines = vec!["Links:".to_owned()];
    lines.extend(once_each(links).iter().map(|link| format!("- {link}")));
    lines.push("E-mails:".to_owned());
    lines.extend(once_each(addresses(&without_links)).iter().map(|address| format!("- {address}")));
    Some(lines.join("\n"))
}

fn once_each(items: Vec<&str>) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(*item)).collect()
}

/// Every http(s) link as written, without the punctuation that follows it.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for token in text.split(|c: char| c.is_whitespace() || "<>\"".contains(c)) {
        let Some(start) = [token.find("https://"), token.find("http://")].into_iter().flatten().min() else {
            continue;
        };
        let mut link = &token[start..];
        loop {
            let shorter = link.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'']);
            // A closing bracket is part of the link only if the link opened it.
            let unopened = shorter.ends_with(')') && shorter.matches(')').count() > shorter.matches('(').count();
            let shorter = if unopened { &shorter[..shorter.len() - 1] } else { shorter };
            if shorter.len() == link.len() {
                break;
            }
            link = shorter;
        }
        found.push(link);
    }
    found
}

/// Compares two versions line by line and lists what was removed and what was added.
pub(super) fn compare_versions(prompt: &str) -> Option<String> {
    if !says_all(&prose(prompt), &["line by line", "version", "removed", "added"]) {
        return None;
    }
    let blocks = fences(prompt);
    let [old, new] = blocks.as_slice() else {
        return None;
    };
    let old: Vec<&str> = old.body.lines().collect();
    let new: Vec<&str> = new.body.lines().collect();
    // The table below is quadratic; a document of this size is no job for it.
    if old.len().saturating_mul(new.len()) > 4_000_000 {
        return None;
    }
    let common = common_lengths(&old, &new);
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// For each pair of positions, how many lines the two rests have in common.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i][j] = if old[i] == new[j] { table[i + 1][j + 1] + 1 } else { table[i + 1][j].max(table[i][j + 1]) };
        }
    }
    table
}

/// Quotes every sentence that contains the word "must", numbered and counted.
pub(super) fn quote_requirements(prompt: &str) -> Option<String> {
    if !says_all(&prose(prompt), &["every sentence", "the word \"must\"", "numbered", "requirements"]) {
        return None;
    }
    let text = fences(prompt).into_iter().next()?.body;
    let found: Vec<String> = paragraphs(&text)
        .iter()
        .flat_map(|paragraph| sentences(paragraph))
        .filter(|sentence| {
            sentence
                .split_whitespace()
                .any(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case("must"))
        })
        .collect();
    let mut lines = vec![format!("{} requirements", found.len())];
    lines.extend(found.iter().enumerate().map(|(i, sentence)| format!("{}. {sentence}", i + 1)));
    Some(lines.join("\n"))
}

fn sentences(paragraph: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = Vec::new();
    for word in paragraph.split_whitespace() {
        words.push(word);
        if ends_sentence(word) {
            found.push(words.join(" "));
            words.clear();
        }
    }
    if !words.is_empty() {
        found.push(words.join(" "));
    }
    found
}
