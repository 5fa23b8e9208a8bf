//! The price and the time limit that a prompt states.
//!
//! Amounts and durations stand in data far more often than they are meant for the exchange, so one
//! counts only beside words of paying or delivering, in the same sentence, with nothing else between.
//! When in doubt nothing is stated: the sender sees the estimate and its reasons before paying.

use super::price::HIGHEST_CENTS;
use super::text::searchable;

/// The price in cents that a sentence offers for the job, if it offers one.
pub(super) fn stated_price(sentence: &str) -> Option<i64> {
    /// Between the word for paying and the amount nothing else may stand.
    const LINKS: [&str; 21] = [
        "a", "about", "around", "at", "be", "for", "is", "it", "job", "limit", "max", "maximum", "most", "of", "task",
        "the", "this", "to", "up", "will", "you",
    ];
    /// Amounts above the highest price are data ("a budget of $20,000"), not an offer.
    const HIGHEST: f64 = HIGHEST_CENTS as f64;
    // A comma or a bracket parts "count to 3, budget $15" as a full stop would.
    let parted = sentence.replace(", ", "; ").replace(" (", "; ").replace(" - ", "; ").replace(" – ", "; ");
    let text = searchable(&parted).replace(" us dollars ", " dollars ").replace(" us$", " $");
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let amounts = amounts(&words);
    // Several amounts are a list, and a list is data.
    let [amount] = amounts.as_slice() else {
        return None;
    };
    let before = &words[..amount.start];
    let linked = before.iter().rposition(|word| !LINKS.contains(word));
    let offered_before = linked.is_some_and(|at| offers(&before[..=at], amount.start - at <= 5));
    let after = words[amount.end..].iter().take(4).fold(String::from(" "), |text, word| text + word + " ");
    let offered_after = [
        " budget ",
        " is my budget ",
        " is the budget ",
        " max budget ",
        " maximum budget ",
        " reward ",
        " bounty ",
        " for this job ",
        " for this task ",
        " for the job ",
        " for the task ",
        " for doing this ",
        " on offer ",
    ];
    // "$5 off", "$12 to Bob", "$2 per row": someone else's money, or not the whole of it.
    let other = [" discount", " each ", " fee ", " fine ", " off ", " per ", " to "];
    let other = other.iter().any(|cue| after.starts_with(cue));
    let offered = !other && offered_before || offered_after.iter().any(|cue| after.starts_with(cue));
    (offered && amount.cents <= HIGHEST).then_some(amount.cents.round() as i64)
}

/// Whether the words end in an offer: "my budget", "I'd pay", "reward".
fn offers(words: &[&str], near: bool) -> bool {
    let Some((last, earlier)) = words.split_last().filter(|_| near) else {
        return false;
    };
    let previous = earlier.last().copied().unwrap_or_default();
    let any = |cues: &[&str], within: usize| earlier.iter().rev().take(within).any(|word| cues.contains(word));
    match *last {
        "budget" => matches!(
            previous,
            "" | "my" | "our" | "the" | "max" | "maximum" | "total" | "job" | "task" | "your" | ";" | "with"
        ),
        "pay" if matches!(previous, "i" | "we") => {
            matches!(earlier.iter().rev().nth(1).copied().unwrap_or_default(), "" | ";" | "and")
        }
        "pay" | "spend" => any(
            &["i'd", "i'll", "we'd", "we'll", "will", "would", "can", "could", "willing", "happy", "job", "task"],
            3,
        ),
        "pays" => matches!(previous, "" | "this" | "it" | "job" | "task"),
        "offer" => any(&["i", "we", "my", "our", "i'd", "can"], 2),
        "paying" | "offering" => matches!(previous, "" | "i'm" | "we're" | "am" | "are" | ";"),
        "reward" | "bounty" => matches!(previous, "" | "the" | "a" | "my" | "job" | "task" | ";"),
        "payment" | "compensation" => matches!(previous, "" | "the" | "my" | "job" | "task" | ";"),
        "price" => matches!(previous, "my" | "job" | "task" | "max" | "maximum" | "our"),
        _ => false,
    }
}

/// Where an amount of dollars stands among the words.
struct Amount {
    start: usize,
    end: usize,
    cents: f64,
}

/// `$7.50`, `15 usd`, `usd 15`, `$10-15` (its upper end), `50 cents`.
fn amounts(words: &[&str]) -> Vec<Amount> {
    let mut amounts: Vec<Amount> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).copied().unwrap_or_default();
        let upper = word.rsplit(['-', '–']).next().unwrap_or(word);
        let number = |text: &str| plain_number(text.trim_matches('$'));
        let found = if word.contains('$') {
            number(upper).map(|dollars| (1 + usize::from(matches!(next, "usd" | "dollars")), dollars * 100.0))
        } else if *word == "usd" {
            number(next).map(|dollars| (2, dollars * 100.0))
        } else if let Some(joined) = word.strip_suffix("usd") {
            number(joined).map(|dollars| (1, dollars * 100.0))
        } else {
            match next {
                "usd" | "dollars" | "dollar" | "bucks" => number(upper).map(|dollars| (2, dollars * 100.0)),
                "cents" => number(upper).map(|cents| (2, cents)),
                _ => None,
            }
        };
        let (length, cents) = found.unwrap_or((1, -1.0));
        if cents >= 0.0 {
            amounts.push(Amount { start: at, end: at + length, cents });
        }
        at += length;
    }
    // "$10 to $15" is one offer.
    if let [low, high] = amounts.as_slice()
        && high.start == low.end + 1
        && matches!(words[low.end], "to" | "-" | "–")
    {
        return vec![Amount { start: low.start, end: high.end, cents: high.cents }];
    }
    amounts
}

/// `1,200.50`, without sign or unit.
pub(super) fn plain_number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= 12
        && text.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '.');
    // "7,50" and "12,30" are no thousands: people who write so do not mean dollars and cents for sure.
    let grouped = text.split(',').skip(1).all(|group| group.split('.').next().is_some_and(|digits| digits.len() == 3));
    if plain && grouped { text.replace(',', "").parse().ok() } else { None }
}

/// The time limit in seconds that a sentence sets for the job, if it sets one.
pub(super) fn stated_time(sentence: &str) -> Option<i64> {
    /// Said of the job itself.
    const DELIVERY: [&str; 16] = [
        "done",
        "deliver",
        "delivered",
        "delivery",
        "finish",
        "finished",
        "complete",
        "completed",
        "ready",
        "submit",
        "submitted",
        "need",
        "needed",
        "due",
        "back",
        "turnaround",
    ];
    /// Enough beside "within", too little beside "in".
    const ASKING: [&str; 6] = ["answer", "asap", "please", "reply", "return", "send"];
    /// Said of a program, a journey or a story: its time, not ours.
    const OTHERS: [&str; 32] = [
        "script",
        "program",
        "code",
        "function",
        "query",
        "test",
        "tests",
        "api",
        "endpoint",
        "page",
        "request",
        "requests",
        "server",
        "runs",
        "run",
        "train",
        "cook",
        "cooked",
        "recipe",
        "drive",
        "meeting",
        "that",
        "which",
        "how",
        "reachable",
        "events",
        "happened",
        "walk",
        "travel",
        "trip",
        "flight",
        "distance",
    ];
    let text = searchable(sentence);
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty() && *word != ";").collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    let ours = !has(&OTHERS);
    words.iter().enumerate().find_map(|(at, word)| {
        let from =
            words[at + 1..].iter().position(|word| !TIME_LINKS.contains(word)).map(|skipped| at + 1 + skipped)?;
        let (seconds, length) = duration(&words[from..])?;
        let ends = from + length == words.len();
        let follows = |previous: &str| words[..at].ends_with(&[previous]);
        let set = match *word {
            "deadline" | "turnaround" | "timeframe" => true,
            "limit" => follows("time"),
            "within" => ours && (ends || at == 0 || has(&DELIVERY) || has(&ASKING)),
            "in" => ours && (has(&DELIVERY) || follows("it") && ends),
            "have" => ours && follows("you"),
            _ => false,
        };
        set.then_some(seconds)
    })
}

/// What may stand between "within" or "deadline" and the duration.
const TIME_LINKS: [&str; 14] =
    ["a", "about", "at", "is", "less", "max", "maximum", "most", "of", "than", "the", "next", "under", "to"];

/// A duration the words begin with, in seconds, and how many words it takes: `2 hours`, `90min`, `half an hour`.
fn duration(words: &[&str]) -> Option<(i64, usize)> {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    if word(0) == "half" && matches!(word(1), "an" | "a") && word(2) == "hour" {
        return Some((1800, 3));
    }
    // "a" has been passed over as a link: "within a day".
    if let "hour" | "day" = word(0) {
        return unit_seconds(word(0)).map(|unit| (unit, 1));
    }
    if let Some(count) = named_number(word(0)) {
        return unit_seconds(word(1)).map(|unit| (count * unit, 2));
    }
    let unit = word(0).trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let (number, rest) = word(0).split_at(word(0).len() - unit.len());
    let (unit, length) = if rest.is_empty() { (word(1), 2) } else { (rest.trim_start_matches('-'), 1) };
    let seconds = plain_number(number)? * unit_seconds(unit)? as f64;
    (seconds > 0.0).then_some((seconds as i64, length))
}

fn unit_seconds(word: &str) -> Option<i64> {
    match word {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600),
        "d" | "day" | "days" => Some(86_400),
        _ => None,
    }
}

fn named_number(word: &str) -> Option<i64> {
    let names = ["an", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let at = if word == "one" { Some(0) } else { names.iter().position(|name| *name == word) };
    at.and_then(|at| i64::try_from(at + 1).ok())
}

#[cfg(test)]
mod tests;
