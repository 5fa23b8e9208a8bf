//! Price and time limit: what the prompt states, else a plain model of the work.

use super::reading::Reading;
use super::skills::Work;
use super::stated::{plain_number, stated_price, stated_time};
use super::text::sentences;

const LOWEST_CENTS: i64 = 100;
pub(super) const HIGHEST_CENTS: i64 = 100_000;
const SHORTEST_SECONDS: i64 = 60;
const LONGEST_SECONDS: i64 = 86_400;
/// The model's prices are multiples of this.
const PRICE_STEP_CENTS: i64 = 50;
const CENTS_PER_CRITERION: i64 = 25;
const SECONDS_PER_CRITERION: i64 = 120;
/// Pieces of work longer than this are asked for in parts.
const MOST_REQUESTED_WORDS: i64 = 20_000;

/// A price, a time limit, and why.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) price_cents: i64,
    pub(super) time_limit_seconds: i64,
    /// Two sentences.
    pub(super) basis: String,
}

/// What one kind of work costs, and each thousand words read or written with it.
struct Rate {
    name: &'static str,
    cents: i64,
    minutes: i64,
    cents_per_1000_words: i64,
    minutes_per_1000_words: i64,
}

fn rate(work: Work) -> Rate {
    let rate = |name, cents, minutes, cents_per_1000_words, minutes_per_1000_words| Rate {
        name,
        cents,
        minutes,
        cents_per_1000_words,
        minutes_per_1000_words,
    };
    match work {
        Work::Data => rate("data task", 150, 10, 50, 5),
        Work::Editing => rate("editing or translation task", 200, 15, 200, 15),
        Work::General => rate("general task", 250, 20, 100, 10),
        Work::Writing => rate("writing task", 300, 20, 400, 30),
        Work::Design => rate("design task", 500, 45, 100, 10),
        Work::Code => rate("coding task", 600, 60, 200, 20),
        Work::Research => rate("research task", 800, 90, 400, 30),
    }
}

/// Price and time limit of a prompt, always within the exchange's bounds.
pub(super) fn cost(reading: &Reading, work: Work, criteria: usize) -> Cost {
    let said: Vec<&str> = reading.instructions().flat_map(|block| sentences(&block.text)).collect();
    let stated_price = said.iter().find_map(|sentence| stated_price(sentence));
    let stated_time = said.iter().find_map(|sentence| stated_time(sentence));

    let rate = rate(work);
    let requested = requested_words(&reading.words);
    let input = i64::try_from(reading.size_words).unwrap_or(i64::MAX).min(1_000_000);
    let count = i64::try_from(criteria).unwrap_or(i64::MAX).min(100);
    let words = input + requested;
    let cents = rate.cents + words * rate.cents_per_1000_words / 1000 + count * CENTS_PER_CRITERION;
    let cents = (cents + PRICE_STEP_CENTS / 2) / PRICE_STEP_CENTS * PRICE_STEP_CENTS;
    let seconds = (rate.minutes + words * rate.minutes_per_1000_words / 1000) * 60 + count * SECONDS_PER_CRITERION;

    let price_cents = stated_price.unwrap_or(cents).clamp(LOWEST_CENTS, HIGHEST_CENTS);
    let time_limit_seconds = stated_time.unwrap_or(seconds).clamp(SHORTEST_SECONDS, LONGEST_SECONDS);
    let model = model_in_words(rate.name, input, requested, count);
    let price = format!("Price ${}.{:02}", price_cents / 100, price_cents % 100);
    let time = format!("Time {}", duration_in_words(time_limit_seconds));
    let said = |stated: i64, used: i64, text: &str| {
        if stated == used { text.to_owned() } else { format!("{text}, brought within the limits") }
    };
    let price_reason =
        stated_price.map_or_else(|| model.clone(), |stated| said(stated, price_cents, "as the prompt says"));
    let time_reason = match stated_time {
        Some(stated) => said(stated, time_limit_seconds, "as the prompt says"),
        None if stated_price.is_none() => "same".to_owned(),
        None => model,
    };
    Cost { price_cents, time_limit_seconds, basis: format!("{price}: {price_reason}. {time}: {time_reason}.") }
}

fn model_in_words(name: &str, input: i64, requested: i64, criteria: i64) -> String {
    let size = match input + requested {
        ..400 => "short ",
        400..3000 => "",
        _ => "long ",
    };
    let plural = |count: i64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let mut parts = vec![format!("about {} of input", plural(input, "word", "words"))];
    if requested > 0 {
        parts.push(format!("{} to write", plural(requested, "word", "words")));
    }
    parts.push(plural(criteria, "criterion", "criteria"));
    format!("{size}{name} ({})", parts.join(", "))
}

fn duration_in_words(seconds: i64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, minutes, 0) => format!("{minutes} min"),
        (hours, 0, 0) => format!("{hours} h"),
        (hours, minutes, 0) => format!("{hours} h {minutes} min"),
        _ => format!("{seconds} s"),
    }
}

/// The longest text the instructions ask for, in words: "a 500-word essay", "at most 1,000 words".
fn requested_words(words: &str) -> i64 {
    let all: Vec<&str> = words.split(' ').collect();
    let counts = all.iter().enumerate().filter_map(|(at, word)| {
        let (count, unit) = word.split_once('-').unwrap_or((word, all.get(at + 1).copied().unwrap_or_default()));
        matches!(unit, "word" | "words").then(|| plain_number(count)).flatten()
    });
    counts.map(|count| count as i64).filter(|count| *count <= MOST_REQUESTED_WORDS).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::estimate::estimate;

    #[test]
    fn every_kind_of_work_has_its_rate_for_the_words_it_is_about() {
        let of_10_000_words = |request: &str| {
            let estimate =
                estimate(&format!("{request}\n\nText:\n{}", "word ".repeat(9_999 - request.split(' ').count())));
            (estimate.price_cents, estimate.time_limit_seconds / 60)
        };
        let rates = [
            ("Count the vowels", (650, 60)),
            ("Proofread my note", (2200, 165)),
            ("Do what is right", (1250, 120)),
            ("Write a newsletter", (4300, 320)),
            ("Design a logo", (1500, 145)),
            ("Implement a parser", (2600, 260)),
            ("Research my competitors", (4800, 390)),
        ];
        for (request, rate) in rates {
            assert_eq!(of_10_000_words(request), rate, "{request}");
        }
    }

    #[test]
    fn the_basis_says_how_much_there_is_to_read_and_to_write() {
        let cases = [
            (
                "Write an essay of 2,000 words",
                "Price $11.50: writing task (about 6 words of input, 2000 words to write,",
            ),
            ("Write an essay of 394 words", "Price $5.00: writing task (about 6 words of input, 394 words to write,"),
            (
                "Write an essay of 393 words",
                "Price $5.00: short writing task (about 6 words of input, 393 words to write,",
            ),
            ("Write an essay of 1 word", "Price $3.50: short writing task (about 6 words of input, 1 word to write,"),
            (
                "Write an essay of 2,994 words",
                "Price $15.50: long writing task (about 6 words of input, 2994 words to write,",
            ),
            ("Write an essay of 30,000 words", "Price $3.50: short writing task (about 6 words of input, 1 criterion)"),
        ];
        for (prompt, start) in cases {
            let basis = estimate(prompt).basis;
            assert!(basis.starts_with(start), "{prompt}: {basis}");
        }
        assert!(estimate("Count to 3 within 2 hours").basis.contains("Time 2 h: as the prompt says."));
    }
}
