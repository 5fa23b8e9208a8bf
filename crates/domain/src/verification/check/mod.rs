//! Checks: what a machine decides about a submission, the same way each time.
//!
//! A check passes when the submission is what it asks for, and for no other reason: what is missing, what cannot be read,
//! and what would take too much to find out fails, and says so. Texts are compared byte for byte, without normalisation.
//! What a check says is short, and quotes strangers sparingly and harmlessly.

mod json;
mod pattern;
mod read;
mod schema;
mod text;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use pattern::Pattern;
use schema::{Schema, Unfit};
use text::{DETAIL, count, many, quoted, shown, words};

pub(crate) use read::allowed;
pub use read::{CHECK_BYTES, CHECKS, read_checks};

/// Names of files that are told, at most.
const NAMES: usize = 5;

/// What a submission must be; as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Check {
    /// A shell command that ends with 0, in a sandbox.
    Command {
        /// What `/bin/sh -c` runs.
        run: String,
        /// For how long at most, in seconds.
        #[serde(default = "default_timeout")]
        timeout_seconds: u32,
        /// Whether it is given the job's variables.
        #[serde(default)]
        env: bool,
    },
    /// A regular expression that matches somewhere in the output's text.
    Regex {
        /// The expression.
        pattern: String,
    },
    /// A text that stands somewhere in the output's text, byte for byte.
    Contains {
        /// The text.
        text: String,
    },
    /// A number of words that the output's text has at least.
    MinWords {
        /// How many.
        count: u32,
    },
    /// The output's text is JSON that fits a schema.
    JsonSchema {
        /// The schema.
        schema: serde_json::Value,
    },
    /// A file that was handed in.
    File {
        /// Its name, byte for byte; all files of that name must be as asked for.
        name: String,
        /// Its largest size, in bytes.
        #[serde(default)]
        max_bytes: Option<u64>,
        /// Its SHA-256, in hexadecimal.
        #[serde(default)]
        sha256: Option<String>,
    },
}

const fn default_timeout() -> u32 {
    60
}

/// What was handed in: a text, files, or both.
#[derive(Debug, Clone, Copy)]
pub struct Handed<'a> {
    /// The text.
    pub output_text: Option<&'a str>,
    /// The files.
    pub files: &'a [HandedFile],
}

/// A file that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedFile {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's type, as on the wire.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the submission passed it.
    pub pass: bool,
    /// What was found, for people.
    pub detail: String,
}

impl Check {
    /// Whether it can only be carried out in a sandbox.
    pub const fn needs_sandbox(&self) -> bool {
        matches!(self, Self::Command { .. })
    }

    /// The type as on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command { .. } => "command",
            Self::Regex { .. } => "regex",
            Self::Contains { .. } => "contains",
            Self::MinWords { .. } => "min_words",
            Self::JsonSchema { .. } => "json_schema",
            Self::File { .. } => "file",
        }
    }

    /// What came of it; none for a command, which takes a sandbox. It may take a second or two.
    pub fn apply(&self, handed: &Handed<'_>) -> Option<CheckResult> {
        let found = match self {
            Self::Command { .. } => return None,
            Self::File { name, max_bytes, sha256 } => file(handed.files, name, *max_bytes, sha256.as_deref()),
            _ => match handed.output_text {
                None => Err("there is no output_text: only files were handed in".to_owned()),
                Some(text) => self.read(text),
            },
        };
        let (pass, detail) = found.map_or_else(|detail| (false, detail), |detail| (true, detail));
        Some(CheckResult { kind: self.kind().to_owned(), pass, detail: detail.chars().take(DETAIL).collect() })
    }

    /// What a text is found to be.
    fn read(&self, output: &str) -> Result<String, String> {
        match self {
            Self::Regex { pattern } => matches(pattern, output),
            Self::Contains { text } if text.is_empty() => Err("the check asks for nothing".to_owned()),
            Self::Contains { text } => match output.contains(text.as_str()) {
                true => Ok(format!("{} is there", quoted(text))),
                false => Err(format!("{} is nowhere in {}", quoted(text), characters(output))),
            },
            Self::MinWords { count: least } => {
                let found = words(output);
                let said = format!("{} of at least {}", many(found, "word", "words"), count((*least).into()));
                if *least > 0 && found >= *least as usize { Ok(said) } else { Err(said) }
            }
            Self::JsonSchema { schema } => fits(schema, output),
            Self::Command { .. } | Self::File { .. } => Err("the check is not about a text".to_owned()),
        }
    }
}

fn matches(pattern: &str, output: &str) -> Result<String, String> {
    let pattern = Pattern::new(pattern).map_err(|why| format!("the pattern {why}"))?;
    match pattern.matches(output) {
        Some(true) => Ok("the pattern matches".to_owned()),
        Some(false) => Err(format!("the pattern matches nowhere in {}", characters(output))),
        None => Err(format!("to look for this pattern in {} takes too much", characters(output))),
    }
}

fn fits(schema: &serde_json::Value, output: &str) -> Result<String, String> {
    let schema = Schema::new(schema).map_err(|why| format!("the schema {why}"))?;
    let value = json::strict(output).map_err(|why| format!("output_text is not JSON: {why}"))?;
    schema.fits(&value).map(|()| "output_text fits the schema".to_owned()).map_err(|unfit| match unfit {
        Unfit::TooMuch => "to hold so much JSON against this schema takes too much".to_owned(),
        Unfit::Differs(None) => "output_text does not fit the schema".to_owned(),
        Unfit::Differs(Some((at, keyword))) => {
            let at = if at.is_empty() { "the whole".to_owned() } else { format!("what is at {}", quoted(&at)) };
            format!("{at} does not fit {} of the schema", quoted(&keyword))
        }
    })
}

fn file(files: &[HandedFile], name: &str, max_bytes: Option<u64>, sha256: Option<&str>) -> Result<String, String> {
    let named: Vec<&HandedFile> = files.iter().filter(|file| file.name == name).collect();
    if named.is_empty() {
        let told: Vec<String> = files.iter().take(NAMES).map(|file| quoted(&file.name)).collect();
        let there = match files.len() {
            0 => "there is none at all".to_owned(),
            few if few <= NAMES => format!("there is: {}", told.join(", ")),
            more => format!("there is: {} and {} more", told.join(", "), more - NAMES),
        };
        return Err(format!("no file named {} was handed in; {there}", quoted(name)));
    }
    for file in named {
        if let Some(most) = max_bytes.filter(|most| file.size > *most) {
            return Err(format!("{} has {} bytes, of at most {}", quoted(name), count(file.size), count(most)));
        }
        if sha256.is_some_and(|sha256| !file.sha256.eq_ignore_ascii_case(sha256)) {
            return Err(format!("{} has the SHA-256 {}, another one", quoted(name), shown(&file.sha256, 70)));
        }
    }
    Ok(format!("{} was handed in", quoted(name)))
}

fn characters(text: &str) -> String {
    many(text.chars().count(), "character", "characters")
}
