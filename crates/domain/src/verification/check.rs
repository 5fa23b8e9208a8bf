//! Checks: what a machine decides about a submission.

use serde::{Deserialize, Serialize};

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
    /// A text that stands somewhere in the output's text.
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
        /// Its name.
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

impl Check {
    /// Whether it can only be carried out in a sandbox.
    pub const fn needs_sandbox(&self) -> bool {
        matches!(self, Self::Command { .. })
    }

    /// What came of it.
    pub fn apply(&self, output: Option<&str>) -> Option<CheckResult> {
        let Self::Contains { text } = self else { return None };
        let pass = output.is_some_and(|output| output.contains(text.as_str()));
        Some(CheckResult { kind: "contains".into(), pass, detail: "looked".into() })
    }
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
