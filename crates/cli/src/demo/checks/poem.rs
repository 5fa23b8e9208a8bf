//! The check of the acrostic: lines, letters, length, the word that must be there, and rhyme by spelling.

use super::{Asked, Outcome, ensure, shown};

/// Checks the poem's form; whether it is beautiful is not for a program to say.
pub(super) fn review(asked: &Asked<'_>, output: &str) -> Outcome {
    let (_, after) = asked.typed.split_once("spell ").ok_or("My prompt names no word to spell.")?;
    let word: String = after.chars().take_while(|c| c.is_alphabetic()).collect();
    let lines: Vec<&str> = output.lines().collect();
    let wanted = word.chars().count();
    ensure(lines.len() == wanted, || format!("I asked for exactly {wanted} lines and got {}.", lines.len()))?;
    let initials: String = lines.iter().filter_map(|line| line.chars().next()).collect();
    ensure(initials.to_uppercase() == word, || {
        format!("The first letters spell {} and not {word}.", shown(&initials))
    })?;
    for (number, line) in (1..).zip(&lines) {
        let words = line.split_whitespace().count();
        ensure((5..=12).contains(&words), || format!("Line {number} has {words} words; I asked for five to twelve."))?;
    }
    for (index, pair) in lines.chunks_exact(2).enumerate() {
        let (first, second) = (last_word(pair[0]), last_word(pair[1]));
        ensure(first != second && rhyme(&first) == rhyme(&second), || {
            let line = index * 2 + 1;
            format!("Lines {line} and {} don't rhyme: {} and {}.", line + 1, shown(&first), shown(&second))
        })?;
    }
    ensure(output.to_lowercase().contains("lighthouse"), || "The lighthouse is missing.".to_owned())?;
    Ok(format!("{wanted} lines that spell {word} and rhyme in pairs."))
}

fn last_word(line: &str) -> String {
    let bare = line.trim_end_matches(|c: char| !c.is_alphabetic());
    bare.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_lowercase()
}

/// The spelling from the last sounded vowel on; an e after a consonant at the end is silent.
fn rhyme(word: &str) -> String {
    let letters: Vec<char> = word.chars().collect();
    let is_vowel = |at: usize| letters.get(at).is_some_and(|c| "aeiouy".contains(*c));
    let silent = letters.len() > 2 && letters.last() == Some(&'e') && !is_vowel(letters.len() - 2);
    let sounded = if silent { letters.len() - 1 } else { letters.len() };
    let Some(mut start) = (0..sounded).rev().find(|at| is_vowel(*at)) else {
        return word.to_owned();
    };
    while start > 0 && is_vowel(start - 1) {
        start -= 1;
    }
    letters[start..].iter().collect()
}
