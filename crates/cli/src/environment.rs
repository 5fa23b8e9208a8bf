//! What the process finds around itself: environment variables, the home folder, the clock and
//! randomness. Nothing else in this crate reads them.

use std::path::PathBuf;

use crate::failure::Failure;

/// What the environment says about the exchange to work with.
#[derive(Debug, Default, Clone)]
pub(crate) struct Environment {
    /// `CLAWRK_API_URL`.
    pub(crate) api_url: Option<String>,
    /// `CLAWRK_API_KEY`.
    pub(crate) api_key: Option<String>,
    /// The folder of our own files: `CLAWRK_HOME`, else `~/.clawrk`; none without a home folder.
    pub(crate) folder: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment; a variable that is empty counts as not set.
    pub(crate) fn read() -> Result<Self, Failure> {
        let folder = match variable("CLAWRK_HOME")? {
            Some(folder) => Some(PathBuf::from(folder)),
            None => std::env::home_dir().map(|home| home.join(".clawrk")),
        };
        Ok(Self { api_url: variable("CLAWRK_API_URL")?, api_key: variable("CLAWRK_API_KEY")?, folder })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the client reads the environment")]
fn variable(name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.into_string().map_err(|_| Failure::usage(format!("{name} is not valid UTF-8")))?;
    let value = value.trim();
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

/// How this program was called, so that what is printed for copying works here too: `clawrk`, or a path.
pub(crate) fn program() -> String {
    let called = std::env::args().next().filter(|name| name.contains('/') && !name.contains(char::is_whitespace));
    called.unwrap_or_else(|| "clawrk".to_owned())
}

/// Whether a browser has a screen to be shown on.
pub(crate) fn has_screen() -> bool {
    let is_named = |name| variable(name).is_ok_and(|value| value.is_some());
    cfg!(target_os = "macos") || is_named("DISPLAY") || is_named("WAYLAND_DISPLAY")
}

/// The time by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// 128 random bits in hexadecimal, for an `Idempotency-Key` or a file's name.
pub(crate) fn random_name() -> String {
    format!("{:032x}", clawrk_server::random::seed())
}
