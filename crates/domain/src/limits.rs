//! How long, how many, how much: every bound on what people send, and the checks that hold them.
//!
//! Bounds are counted in characters unless they say bytes. A text with a NUL character is refused
//! everywhere: not every database can keep one.

use std::collections::BTreeMap;

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

use crate::Rejection;

/// Agents a user may have.
pub const AGENTS: usize = 100;
/// Living API keys a user may have.
pub const KEYS: usize = 100;
/// Characters of a name.
pub const NAME: usize = 64;
/// Characters of a personality.
pub const PERSONALITY: usize = 8_000;
/// Characters of a prompt or a description.
pub const PROMPT: usize = 32_000;
/// Characters of a title.
pub const TITLE: usize = 200;
/// Characters of the requirements, or of a reason.
pub const PROSE: usize = 8_000;
/// Criteria of a job.
pub const CRITERIA: usize = 50;
/// Characters of one criterion.
pub const CRITERION: usize = 2_000;
/// Characters of a URL.
pub const URL: usize = 2_048;
/// Bytes of a submitted text.
pub const OUTPUT_BYTES: usize = 1 << 20;
/// Files that come with a job, or with a submission.
pub const FILES: usize = 10;
/// Bytes of an uploaded file, unless the operator says otherwise.
pub const UPLOAD_BYTES: u64 = 25 << 20;
/// Environment variables of a job.
pub const ENV_VARS: usize = 50;
/// Bytes of all names and values of a job's environment variables.
pub const ENV_BYTES: usize = 32 * 1024;
/// What the names begin with that values of variables have on their way to a command.
pub const VALUE_NAME: &str = "CLAWRK_VALUE_";
/// Variables that shells do not let be set, or not to any value.
const KEPT_VARIABLES: [&str; 8] = ["BASHOPTS", "BASH_VERSINFO", "EUID", "GROUPS", "OPTIND", "PPID", "SHELLOPTS", "UID"];
/// The lowest and highest price, in cents.
pub const PRICE_CENTS: std::ops::RangeInclusive<i64> = 100..=100_000;
/// The shortest and longest time limit, in seconds.
pub const TIME_LIMIT_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;
/// The highest single grant, in cents.
pub const GRANT_CENTS: std::ops::RangeInclusive<i64> = 1..=100_000_000_000;

/// The least and the most that is paid in or out at once, in cents.
pub const PAYMENT_CENTS: std::ops::RangeInclusive<i64> = 500..=1_000_000;
/// Below what a balance may be topped up by itself, in cents.
pub const THRESHOLD_CENTS: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// A name: trimmed, 1 to 64 characters, one of them to be seen and none of them a control character.
pub fn name(field: &'static str, text: &str) -> Result<String, Rejection> {
    let name = text.trim();
    if is_blank(name) {
        return Err(Rejection::invalid(field, "must not be blank"));
    }
    if name.chars().any(char::is_control) {
        return Err(Rejection::invalid(field, "must not have control characters"));
    }
    at_most(field, name, NAME)?;
    Ok(name.to_owned())
}

/// A text that must say something, at most `max` characters long.
pub fn required_text(field: &'static str, text: &str, max: usize) -> Result<(), Rejection> {
    if is_blank(text) {
        return Err(Rejection::invalid(field, "must not be blank"));
    }
    at_most(field, text, max)
}

/// An optional text, at most `max` characters long.
pub fn optional_text(field: &'static str, text: Option<&str>, max: usize) -> Result<(), Rejection> {
    text.map_or(Ok(()), |text| at_most(field, text, max))
}

/// An e-mail address, as far as its shape tells: one `@` with something on both sides, no blanks, at most 254 bytes.
pub fn email(field: &'static str, text: &str) -> Result<String, Rejection> {
    // What is kept is measured: some letters are longer when they are small.
    let email = text.trim().to_lowercase();
    let fits = email.len() <= 254
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if fits { Ok(email) } else { Err(Rejection::invalid(field, "must be an e-mail address")) }
}

/// An absolute http or https URL.
pub fn web_url(field: &'static str, text: Option<&str>) -> Result<(), Rejection> {
    let Some(text) = text else { return Ok(()) };
    at_most(field, text, URL)?;
    let fits = !text.chars().any(|c| c.is_control() || c.is_whitespace())
        && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits { Ok(()) } else { Err(Rejection::invalid(field, "must be an http or https URL")) }
}

/// A number within its bounds.
pub fn within(field: &'static str, value: i64, range: &std::ops::RangeInclusive<i64>) -> Result<(), Rejection> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Rejection::invalid(field, format!("must be from {} to {}", range.start(), range.end())))
}

/// Acceptance criteria: each says something and none is too long.
pub fn criteria(list: &[String]) -> Result<(), Rejection> {
    if list.len() > CRITERIA {
        return Err(Rejection::invalid("criteria", format!("must be at most {CRITERIA}")));
    }
    list.iter().try_for_each(|text| required_text("criteria", text, CRITERION))
}

/// A job's environment variables: proper names, not too many, not too large.
pub fn env_vars(vars: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let refuse = |problem: String| Err(Rejection::invalid("envVars", problem));
    if vars.len() > ENV_VARS {
        return refuse(format!("must be at most {ENV_VARS}"));
    }
    for (name, value) in vars {
        if !is_variable(name) {
            return refuse(format!("names must be letters, digits and _, not starting with a digit, unlike {name:?}"));
        }
        if is_kept(name) {
            return refuse(format!(
                "{name} is a name that shells, or command checks, keep for themselves: take another"
            ));
        }
        if value.contains('\0') {
            return refuse(format!("the value of {name} must not have a NUL character"));
        }
    }
    if vars.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ENV_BYTES {
        return refuse(format!("must be at most {ENV_BYTES} bytes in all"));
    }
    Ok(())
}

/// Whether a command could not be given a variable of this name: shells, or whoever starts it, keep it for themselves.
pub fn is_kept(name: &str) -> bool {
    KEPT_VARIABLES.contains(&name) || name.starts_with(VALUE_NAME)
}

/// Whether an environment variable may have this name: letters, digits and `_`, not starting with a digit.
pub fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether nothing of the text is seen: there are only blanks, and characters that steer others or are drawn as nothing.
fn is_blank(text: &str) -> bool {
    let (ignorable, category) =
        (CodePointSetData::new::<DefaultIgnorableCodePoint>(), CodePointMapData::<GeneralCategory>::new());
    text.chars().all(|c| {
        c.is_whitespace() || c == '\u{2800}' || ignorable.contains(c) || category.get(c) == GeneralCategory::Format
    })
}

fn at_most(field: &'static str, text: &str, max: usize) -> Result<(), Rejection> {
    if text.contains('\0') {
        return Err(Rejection::invalid(field, "must not have a NUL character"));
    }
    if text.chars().nth(max).is_some() {
        return Err(Rejection::invalid(field, format!("must be at most {max} characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_counted_in_characters_and_clean() {
        assert_eq!(name("name", "  Ada  ").unwrap(), "Ada");
        assert!(name("name", &"ü".repeat(64)).is_ok());
        for bad in ["", "  ", "a\u{7}b", "a\0b", "a\u{85}b", &"x".repeat(65)] {
            assert!(name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_nobody_sees_is_no_name() {
        for unseen in [
            "\u{200b}",          // zero-width space: a format character
            "\u{feff}\u{200d}",  // byte order mark, joiner
            "\u{202e}\u{2066}",  // the other way round
            "\u{ad}",            // soft hyphen
            "\u{3164}\u{115f}",  // Hangul fillers: letters that are drawn as nothing
            "\u{fe0f}\u{e0100}", // variation selectors
            "\u{34f}",           // grapheme joiner
            "\u{e0041}",         // a tag
            "\u{2800}",          // a blank pattern of Braille
            "\u{fff9}",          // an annotation's beginning: a format character that is not ignorable
            " \u{200b} \u{3000}\u{2060}",
        ] {
            assert!(name("name", unseen).is_err(), "{unseen:?}");
            assert!(criteria(&[unseen.to_owned()]).is_err(), "{unseen:?}");
        }
        // Names need joiners and selectors between letters and in pictures.
        for seen in ["\u{200b}a", "می\u{200c}خواهم", "👩\u{200d}🚀", "☃\u{fe0f}", "ㅋ", "é", "-"] {
            assert_eq!(name("name", seen).unwrap(), seen);
        }
    }

    #[test]
    fn only_web_urls_with_a_host_are_avatars() {
        for good in ["http://a.example/x.png", "https://a.example"] {
            assert!(web_url("avatar_url", Some(good)).is_ok(), "{good}");
        }
        for bad in ["", "a.example", "ftp://a.example", "javascript:alert(1)", "http://", "https://a b", "http://a\n.b"]
        {
            assert!(web_url("avatar_url", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn env_vars_have_proper_names_and_a_bounded_size() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(env_vars(&one("_A1", "x")).is_ok());
        for (name, value) in
            [("1A", "x"), ("", "x"), ("A-B", "x"), ("Ä", "x"), ("A", "\0"), ("A", &"x".repeat(ENV_BYTES))]
        {
            assert!(env_vars(&one(name, value)).is_err(), "{name}");
        }
        let many = (0..=ENV_VARS).map(|n| (format!("V{n}"), String::new())).collect();
        assert!(env_vars(&many).is_err());
    }
}
