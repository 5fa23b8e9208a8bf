//! Checks as a sender writes them: read with words for what does not fit, and held to their bounds.

use serde_json::{Map, Value};

use super::pattern::Pattern;
use super::schema::Schema;
use super::text::{many, quoted, shown};
use super::{Check, default_timeout};
use crate::Rejection;
use crate::upload::safe_name;

/// Checks of a job.
pub const CHECKS: usize = 20;
/// Bytes of all checks of a job, as JSON.
pub const CHECK_BYTES: usize = 64 * 1024;
/// Bytes of a command.
const RUN_BYTES: usize = 16 * 1024;
/// Seconds that all commands of a job may take: one who hands in waits for all of them.
const COMMAND_SECONDS: u64 = 30 * 60;
/// Words that can be asked for: no submission has more.
const WORDS: u64 = 500_000;
/// Characters of the name of a file.
const NAME: usize = 255;

/// What is wrong with a check: a field, after a dot, or none, and how the sentence goes on.
type Wrong = (&'static str, String);

/// Reads the checks of a job, or says which one is wrong, and how. A field that such a check does not have is refused.
pub fn read_checks(values: &[Value]) -> Result<Vec<Check>, Rejection> {
    bounded(values.len(), CHECK_BYTES, || values.iter().map(|value| value.to_string().len()).sum())?;
    let checks = values.iter().enumerate().map(|(at, value)| read(value).map_err(refused(at)));
    let checks = checks.collect::<Result<Vec<_>, _>>()?;
    checks.iter().enumerate().try_for_each(|(at, check)| sound(check).map_err(refused(at)))?;
    let seconds: u64 = checks.iter().map(command_seconds).sum();
    if seconds > COMMAND_SECONDS {
        let problem = format!("must have commands that take at most {COMMAND_SECONDS} s in all, not {seconds}");
        return Err(Rejection::invalid("checks", problem));
    }
    Ok(checks)
}

/// Refuses checks that are too many or too large. Whether each is sound [`read_checks`] has found out: to compile
/// patterns takes longer than a transaction may.
pub(crate) fn allowed(checks: &[Check]) -> Result<(), Rejection> {
    // What was left out is written down, so a check is longer than it came.
    let most = CHECK_BYTES + CHECKS * 64;
    bounded(checks.len(), most, || checks.iter().map(|check| serde_json::json!(check).to_string().len()).sum())
}

fn command_seconds(check: &Check) -> u64 {
    if let Check::Command { timeout_seconds, .. } = check { (*timeout_seconds).into() } else { 0 }
}

fn refused(at: usize) -> impl Fn(Wrong) -> Rejection {
    move |(field, problem)| Rejection::BadCheck(Box::new((at, format!("{field} {problem}"))))
}

fn bounded(checks: usize, most: usize, bytes: impl Fn() -> usize) -> Result<(), Rejection> {
    if checks > CHECKS {
        return Err(Rejection::invalid("checks", format!("must be at most {CHECKS}")));
    }
    if bytes() > most {
        return Err(Rejection::invalid("checks", "must be at most 64 KiB in all"));
    }
    Ok(())
}

fn read(value: &Value) -> Result<Check, Wrong> {
    let Value::Object(fields) = value else { return Err(("", must_be("an object", Some(value)))) };
    let fields = Fields(fields);
    let kind = fields.text("type", ".type")?;
    fields.only(&kind)?;
    Ok(match kind.as_str() {
        "command" => Check::Command {
            run: fields.text("run", ".run")?,
            timeout_seconds: match fields.number("timeout_seconds", ".timeout_seconds")? {
                None => default_timeout(),
                Some(seconds) => u32::try_from(seconds).unwrap_or(u32::MAX),
            },
            env: fields.truth("env", ".env")?,
        },
        "regex" => Check::Regex { pattern: fields.text("pattern", ".pattern")? },
        "contains" => Check::Contains { text: fields.text("text", ".text")? },
        "min_words" => {
            let count = fields.number("count", ".count")?.ok_or((".count", "is missing".to_owned()))?;
            Check::MinWords { count: u32::try_from(count).unwrap_or(u32::MAX) }
        }
        "json_schema" => {
            Check::JsonSchema { schema: fields.get("schema").ok_or((".schema", "is missing".to_owned()))?.clone() }
        }
        "file" => Check::File {
            name: fields.text("name", ".name")?,
            max_bytes: fields.number("max_bytes", ".max_bytes")?,
            sha256: fields.get("sha256").map(|_| fields.text("sha256", ".sha256")).transpose()?,
        },
        other => {
            let known = "command, regex, contains, min_words, json_schema or file";
            return Err((".type", format!("must be {known}, not {}", quoted(other))));
        }
    })
}

/// The fields of a check; null is as good as absent.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// Refuses a field that such a check does not have: misspelt, it would ask for nothing.
    fn only(&self, kind: &str) -> Result<(), Wrong> {
        let known: &[&str] = match kind {
            "command" => &["type", "run", "timeout_seconds", "env"],
            "regex" => &["type", "pattern"],
            "contains" => &["type", "text"],
            "min_words" => &["type", "count"],
            "json_schema" => &["type", "schema"],
            "file" => &["type", "name", "max_bytes", "sha256"],
            // It is refused for that.
            _ => return Ok(()),
        };
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(("", format!("must not have {}: {kind} has {}", quoted(name), known[1..].join(", ")))),
            None => Ok(()),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str, field: &'static str) -> Result<String, Wrong> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            other => Err((field, must_be("a text", other))),
        }
    }

    fn number(&self, name: &str, field: &'static str) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err((field, must_be("a whole number, not below 0", Some(value)))),
        }
    }

    fn truth(&self, name: &str, field: &'static str) -> Result<bool, Wrong> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            other => Err((field, must_be("true or false", other))),
        }
    }
}

fn must_be(wanted: &str, given: Option<&Value>) -> String {
    let is = match given {
        None => return "is missing".to_owned(),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Number(number)) if number.is_f64() => "a number with a fraction or an exponent",
        Some(Value::Number(number)) if number.is_i64() && !number.is_u64() => "a number below 0",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    format!("must be {wanted}, not {is}")
}

/// Whether a check can be carried out, within bounds, and can fail.
fn sound(check: &Check) -> Result<(), Wrong> {
    match check {
        Check::Command { run, timeout_seconds, .. } => {
            clean(".run", run)?;
            if run.trim().is_empty() {
                return Err((".run", "must not be blank".to_owned()));
            }
            if run.len() > RUN_BYTES {
                return Err((".run", "must be at most 16 KiB".to_owned()));
            }
            within(".timeout_seconds", (*timeout_seconds).into(), 1, 600)
        }
        Check::Regex { pattern } => {
            clean(".pattern", pattern)?;
            let regex = Pattern::new(pattern).map_err(|why| (".pattern", why))?;
            // Without an assertion, what matches nothing matches everywhere.
            let asserts = ["^", "$", "\\b", "\\B", "\\A", "\\z"].iter().any(|sign| pattern.contains(sign));
            if !asserts && regex.matches("") == Some(true) {
                return Err((".pattern", "matches every text, even an empty one: nothing could fail it".to_owned()));
            }
            Ok(())
        }
        Check::Contains { text } => {
            clean(".text", text)?;
            if text.is_empty() { Err((".text", "must not be empty".to_owned())) } else { Ok(()) }
        }
        Check::MinWords { count } => within(".count", (*count).into(), 1, WORDS),
        Check::JsonSchema { schema } => Schema::new(schema).map(|_| ()).map_err(|why| (".schema", why)),
        Check::File { name, max_bytes, sha256 } => {
            if name.trim().is_empty() || name.chars().any(char::is_control) || name.chars().nth(NAME).is_some() {
                let characters = many(NAME, "character", "characters");
                return Err((".name", format!("must be 1 to {characters}, none of them a control character")));
            }
            // Files are handed in under safe names, and a name is held against them byte for byte.
            let safe = safe_name(name);
            if safe != *name {
                let named = format!("can never be a file's name: such a file is handed in as {}", quoted(&safe));
                return Err((".name", named));
            }
            let is_digest = |hex: &String| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !sha256.as_ref().is_none_or(is_digest) {
                return Err((".sha256", "must be 64 hexadecimal digits".to_owned()));
            }
            if *max_bytes == Some(0) {
                return Err((".max_bytes", "must be at least 1".to_owned()));
            }
            // A database keeps no larger ones.
            within(".max_bytes", max_bytes.unwrap_or(1), 1, i64::MAX.unsigned_abs())
        }
    }
}

fn clean(field: &'static str, text: &str) -> Result<(), Wrong> {
    if text.contains('\0') { Err((field, "must not have a NUL character".to_owned())) } else { Ok(()) }
}

fn within(field: &'static str, number: u64, least: u64, most: u64) -> Result<(), Wrong> {
    if (least..=most).contains(&number) { Ok(()) } else { Err((field, format!("must be from {least} to {most}"))) }
}

/// Why a pattern is none, in a line.
pub(super) fn why_no_pattern(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "is too large once it is compiled: use smaller repetitions".to_owned(),
        error => {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            format!("is no regular expression: {}", shown(last.trim_start_matches("error: "), 200))
        }
    }
}
