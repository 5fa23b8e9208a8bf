//! The Bookkeeper's recipe program: scales a recipe and converts it with the factors the sender gives.

use super::fences::{between, fences, prose, says_all};

/// An exact positive fraction, so that a third of a cup stays a third until the last rounding.
#[derive(Clone, Copy)]
struct Fraction {
    top: i64,
    bottom: i64,
}

impl Fraction {
    /// Reads "3", "3/4" or "2.5".
    fn read(text: &str) -> Option<Self> {
        let number =
            |part: &str| (part.len() <= 6 && part.chars().all(|c| c.is_ascii_digit())).then(|| part.parse().ok())?;
        if let Some((top, bottom)) = text.split_once('/') {
            return Self::new(number(top)?, number(bottom)?);
        }
        if let Some((whole, decimals)) = text.split_once('.') {
            let bottom = 10_i64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
            return Self::new(number(whole)?.checked_mul(bottom)?.checked_add(number(decimals)?)?, bottom);
        }
        Self::new(number(text)?, 1)
    }

    fn new(top: i64, bottom: i64) -> Option<Self> {
        (bottom > 0).then_some(Self { top, bottom })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let left = self.top.checked_mul(other.bottom)?;
        let right = other.top.checked_mul(self.bottom)?;
        Self::new(left.checked_add(right)?, self.bottom.checked_mul(other.bottom)?)
    }

    fn times(self, other: Self) -> Option<Self> {
        Self::new(self.top.checked_mul(other.top)?, self.bottom.checked_mul(other.bottom)?)
    }

    /// The nearest whole number; a half goes up.
    fn rounded(self) -> Option<i64> {
        Some(self.top.checked_mul(2)?.checked_add(self.bottom)?.div_euclid(self.bottom.checked_mul(2)?))
    }
}

/// One line of the sender's table, such as "1 cup = 240 ml".
struct Conversion {
    from: String,
    factor: Fraction,
    to: String,
}

/// Scales a recipe to the number of people asked for and converts its units.
pub(super) fn convert(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    if !says_all(&ask, &["recipe", "metric", "written for", "people"]) {
        return None;
    }
    let from = Fraction::read(between(&ask, "written for ", " people")?)?;
    let to = Fraction::read(between(&ask, "need it for ", " people")?)?;
    let scale = Fraction::new(to.top.checked_mul(from.bottom)?, to.bottom.checked_mul(from.top)?)?;
    let conversions = conversions(&ask);
    let [recipe] = fences(prompt).try_into().ok()?;
    let lines: Option<Vec<String>> = recipe
        .body
        .lines()
        .map(|line| line.trim().trim_start_matches(['-', '*']).trim_start())
        .filter(|line| !line.is_empty())
        .map(|line| if line.contains("°F") { celsius(line) } else { ingredient(line, scale, &conversions) })
        .collect();
    lines.map(|lines| lines.join("\n"))
}

/// Every "1 x = n y" of the prompt.
fn conversions(ask: &str) -> Vec<Conversion> {
    let words: Vec<&str> = ask.split_whitespace().map(|word| word.trim_end_matches([',', ';', '.'])).collect();
    words
        .windows(5)
        .filter_map(|window| match window {
            ["1", from, "=", number, to] => {
                Some(Conversion { from: (*from).to_owned(), factor: Fraction::read(number)?, to: (*to).to_owned() })
            }
            _ => None,
        })
        .collect()
}

fn ingredient(line: &str, scale: Fraction, conversions: &[Conversion]) -> Option<String> {
    let mut words = line.split_whitespace().peekable();
    let mut quantity = Fraction { top: 0, bottom: 1 };
    let mut counted = false;
    while let Some(part) = words.peek().and_then(|word| Fraction::read(word)) {
        quantity = quantity.plus(part)?;
        counted = true;
        words.next();
    }
    if !counted {
        return Some(line.to_owned());
    }
    let scaled = quantity.times(scale)?;
    let unit = words.peek().and_then(|word| {
        conversions.iter().find(|known| word.strip_suffix('s').unwrap_or(word).eq_ignore_ascii_case(&known.from))
    });
    let amount = match unit {
        Some(known) => {
            words.next();
            format!("{} {}", scaled.times(known.factor)?.rounded()?, known.to)
        }
        None => scaled.rounded()?.to_string(),
    };
    Some(format!("{amount} {}", words.collect::<Vec<_>>().join(" ")))
}

/// Rewrites "Oven: 425 °F" in degrees Celsius; temperatures don't scale.
fn celsius(line: &str) -> Option<String> {
    let (label, temperature) = line.split_once(':')?;
    let fahrenheit = temperature.trim().strip_suffix("°F")?.trim();
    let degrees: i64 = fahrenheit.parse().ok().filter(|degrees| (-459..=10_000).contains(degrees))?;
    let celsius = (((degrees - 32) * 5) * 2 + 9).div_euclid(18);
    Some(format!("{label}: {celsius} °C"))
}
