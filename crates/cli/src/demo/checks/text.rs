//! The checks of answers about text: counts, lists of addresses and links, changes between versions, quoted sentences.

use super::{Asked, Outcome, ensure, labeled, shown};

/// Recounts the essay letter by letter.
pub(super) fn counts(asked: &Asked<'_>, output: &str) -> Outcome {
    let text = asked.block(0)?;
    let mut lines = output.lines();
    let words = recount_words(text);
    let sentences = recount_sentences(text);
    let paragraphs = text.split("\n\n").filter(|part| !part.trim().is_empty()).count();
    for (label, count) in [("words: ", words.len()), ("sentences: ", sentences), ("paragraphs: ", paragraphs)] {
        let said = labeled(lines.next(), label)?;
        ensure(said == count.to_string(), || format!("{label}{} is wrong, I count {count}.", shown(said)))?;
    }
    let said = labeled(lines.next(), "longest word: ")?;
    let length = said.chars().count();
    let mut not_shorter = words.iter().filter(|word| word.chars().count() >= length);
    ensure(not_shorter.next().is_some_and(|first| first == said), || {
        format!("{} isn't the longest word.", shown(said))
    })?;
    ensure(not_shorter.all(|word| word.chars().count() == length), || {
        format!("There is a longer word than {}.", shown(said))
    })?;
    ensure(lines.next().is_none(), || "I asked for exactly four lines.".to_owned())?;
    Ok(format!("All four lines are right: {} words, {sentences} sentences, {paragraphs} paragraphs.", words.len()))
}

/// Every word from its first to its last letter or digit.
fn recount_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut trailing = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            trailing.clear();
        } else if c.is_alphanumeric() {
            word.push_str(&trailing);
            trailing.clear();
            word.push(c);
        } else if !word.is_empty() {
            trailing.push(c);
        }
    }
    words
}

/// Counts ends: a mark, then perhaps a closing quote or bracket, then a space or nothing.
fn recount_sentences(text: &str) -> usize {
    let ends = text.match_indices(['.', '!', '?']).filter(|(at, mark)| {
        let rest = text[at + mark.len()..].trim_start_matches(['"', '\'', ')', ']', '”', '’', '»']);
        rest.chars().next().is_none_or(char::is_whitespace)
    });
    ends.count()
}

/// Checks that the list is sorted, complete, lower case and free of those who left.
pub(super) fn address_list(asked: &Asked<'_>, output: &str) -> Outcome {
    let (everyone, left) = (asked.block(0)?.to_lowercase(), asked.block(1)?.to_lowercase());
    let lines: Vec<&str> = output.lines().collect();
    for pair in lines.windows(2) {
        ensure(pair[0] < pair[1], || format!("{} can't come after {}.", shown(pair[1]), shown(pair[0])))?;
    }
    let (subscribed, gone) = (addresses_around_at_signs(&everyone), addresses_around_at_signs(&left));
    for line in &lines {
        ensure(subscribed.contains(line), || format!("{} is not an address of my list.", shown(line)))?;
        ensure(!gone.contains(line), || format!("{} has unsubscribed.", shown(line)))?;
    }
    for address in &subscribed {
        ensure(gone.contains(address) || lines.contains(address), || format!("{} is missing.", shown(address)))?;
    }
    Ok(format!("{} addresses, sorted, none twice, none of those who unsubscribed.", lines.len()))
}

/// Every address, found by growing to both sides from each at sign.
fn addresses_around_at_signs(text: &str) -> Vec<&str> {
    let belongs = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    text.match_indices('@')
        .map(|(at, _)| {
            let name = text[..at].chars().rev().take_while(|c| belongs(*c)).map(char::len_utf8).sum::<usize>();
            let domain = text[at + 1..].chars().take_while(|c| belongs(*c)).map(char::len_utf8).sum::<usize>();
            text[at - name..at + 1 + domain].trim_end_matches('.')
        })
        .collect()
}

/// Checks that every link and address of the minutes is listed once, whole, and in order.
pub(super) fn contacts(asked: &Asked<'_>, output: &str) -> Outcome {
    let text = asked.block(0)?;
    let (links, addresses) = output.split_once("\nE-mails:\n").ok_or("The heading “E-mails:” is missing.")?;
    let links = bullets(labeled(Some(links), "Links:\n")?)?;
    let addresses = bullets(addresses)?;
    in_order_of_appearance(text, &links)?;
    in_order_of_appearance(text, &addresses)?;
    for link in &links {
        ensure(link.starts_with("http"), || format!("{} is not a link.", shown(link)))?;
    }
    for (at, _) in text.match_indices("http") {
        let rest = text[at..].split(char::is_whitespace).next().unwrap_or_default();
        let whole = links.iter().any(|link| {
            rest.strip_prefix(link).is_some_and(|after| {
                let opened = link.matches('(').count() == link.matches(')').count();
                opened && !link.ends_with(['.', ',', '!', '>']) && after.chars().all(|c| ".,;:!?)>".contains(c))
            })
        });
        ensure(whole, || format!("The link at {} is missing or not as written.", shown(rest)))?;
    }
    let present = addresses_around_at_signs(text);
    for address in &addresses {
        ensure(present.contains(address), || format!("{} is not in the minutes.", shown(address)))?;
    }
    for address in present {
        ensure(addresses.contains(&address), || format!("{} is missing.", shown(address)))?;
    }
    Ok(format!("{} links and {} addresses, each once and as written.", links.len(), addresses.len()))
}

fn bullets(block: &str) -> Result<Vec<&str>, String> {
    block.lines().map(|line| labeled(Some(line), "- ")).collect()
}

fn in_order_of_appearance(text: &str, items: &[&str]) -> Result<(), String> {
    let mut last = None;
    for item in items {
        let found = text.find(item);
        ensure(found.is_some(), || format!("{} is not in the text.", shown(item)))?;
        ensure(found > last, || format!("{} is listed twice or out of order.", shown(item)))?;
        last = found;
    }
    Ok(())
}

/// Replays the changes on the old version: they must lead to the new one, and there must be no more of them than needed.
pub(super) fn changes(asked: &Asked<'_>, output: &str) -> Outcome {
    let old: Vec<&str> = asked.block(0)?.lines().collect();
    let new: Vec<&str> = asked.block(1)?.lines().collect();
    let (mut i, mut j, mut count) = (0, 0, 0);
    let mut just_added = None;
    for change in output.lines() {
        let removed = change.strip_prefix("- ");
        let line = removed.or_else(|| change.strip_prefix("+ "));
        let line = line.ok_or_else(|| format!("{} starts with neither “- ” nor “+ ”.", shown(change)))?;
        let here = |i: usize, j: usize| {
            if removed.is_some() { old.get(i) } else { new.get(j) }
        };
        while here(i, j) != Some(&line) {
            let unchanged = i < old.len() && old.get(i) == new.get(j);
            ensure(unchanged, || format!("{} is not a change at this place.", shown(change)))?;
            (i, j) = (i + 1, j + 1);
        }
        ensure(removed.is_none() || just_added != Some((i, j)), || {
            format!("{} should come before the line that replaces it.", shown(change))
        })?;
        if removed.is_some() {
            i += 1
        } else {
            j += 1
        }
        just_added = removed.is_none().then_some((i, j));
        count += 1;
    }
    ensure(old.get(i..) == new.get(j..), || "There are more changes than the ones listed.".to_owned())?;
    let needed = fewest_changes(&old, &new);
    ensure(count == needed, || format!("{count} changes listed, but {needed} are enough."))?;
    Ok(format!("The {count} changes turn the old version into the new one, and none is superfluous."))
}

/// The edit distance with only additions and removals.
fn fewest_changes(old: &[&str], new: &[&str]) -> usize {
    let mut row: Vec<usize> = (0..=new.len()).collect();
    for (i, line) in old.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in new.iter().enumerate() {
            let cost = if line == other { diagonal } else { row[j].min(row[j + 1]) + 1 };
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[new.len()]
}

/// Checks that each quote is one whole sentence of the brief, and that the rest of the brief holds no "must".
pub(super) fn requirements(asked: &Asked<'_>, output: &str) -> Outcome {
    let brief = asked.block(0)?.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = output.lines();
    let first = lines.next().unwrap_or_default();
    let mut rest = brief.as_str();
    let mut left_over = String::new();
    let mut count = 0;
    for line in lines {
        count += 1;
        let quote = labeled(Some(line), &format!("{count}. "))?;
        let (before, after) =
            rest.split_once(quote).ok_or_else(|| format!("{} is no quote, or not in its place.", shown(quote)))?;
        let starts = before.trim_end().is_empty() || before.trim_end().ends_with(['.', '!', '?']);
        let inner_end = [". ", "! ", "? "].iter().any(|end| quote.contains(end));
        let ends = quote.ends_with(['.', '!', '?']) && (after.is_empty() || after.starts_with(' '));
        ensure(starts && ends && !inner_end, || format!("{} isn't one whole sentence.", shown(quote)))?;
        ensure(has_must(quote), || format!("{} doesn't say “must”.", shown(quote)))?;
        left_over.push_str(before);
        rest = after;
    }
    left_over.push_str(rest);
    ensure(!has_must(&left_over), || "A sentence with “must” is missing.".to_owned())?;
    ensure(first == format!("{count} requirements"), || {
        format!("The first line says {}, but there are {count}.", shown(first))
    })?;
    Ok(format!("All {count} sentences with “must”, word for word and in order."))
}

fn has_must(text: &str) -> bool {
    text.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|word| word == "must")
}
