//! How a command fails: what is said, and which code the process ends with.

use serde_json::{Map, Value};

/// The process's exit codes; 0 means done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// It was asked for in a wrong way.
    Usage = 2,
    /// No key, or one that does not count.
    NotSignedIn = 3,
    /// The wallet has too little.
    BalanceTooLow = 4,
}

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code the process ends with.
    pub(crate) exit: Exit,
    /// What was wrong; may hold text from the server.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// What was wrong, for programs: stable snake case.
    pub(crate) code: Box<str>,
    /// The server's id of the request that failed.
    pub(crate) request_id: Option<String>,
    /// Further fields of the server's refusal, such as the id of a job that was kept.
    pub(crate) more: Option<Box<Map<String, Value>>>,
    /// It may go away by itself: nobody was reached, or the server is in trouble.
    pub(crate) transient: bool,
    /// How long the server asks to be left alone, in seconds.
    pub(crate) retry_after_seconds: Option<u64>,
}

impl Failure {
    /// A failure with its stable code.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            code: code.into(),
            request_id: None,
            more: None,
            transient: false,
            retry_after_seconds: None,
        }
    }

    /// It failed, exit code 1.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, message)
    }

    /// It was asked for in a wrong way, exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The same failure, and what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as a document for programs.
    pub(crate) fn document(&self) -> Value {
        let mut body = self.more.as_deref().cloned().unwrap_or_default();
        body.insert("error".to_owned(), self.message.clone().into());
        body.insert("code".to_owned(), self.code.as_ref().into());
        body.insert("request_id".to_owned(), self.request_id.clone().into());
        body.insert("hint".to_owned(), self.hint.clone().into());
        Value::Object(body)
    }
}

impl From<anyhow::Error> for Failure {
    /// Something on this machine did not work: the whole chain of reasons is for whoever runs it.
    fn from(error: anyhow::Error) -> Self {
        let message = format!("{error:#}");
        let mut characters = message.chars();
        let first = characters.next().into_iter().flat_map(char::to_uppercase);
        Self::failed("failed", first.chain(characters).collect::<String>())
    }
}
