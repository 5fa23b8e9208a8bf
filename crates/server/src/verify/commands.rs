//! Command checks: in this node's sandbox, once it has been proved sound, or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawrk_domain::{Check, CheckResult};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::log::{Log, harmless};
use crate::Error;
use crate::error::causes;
use crate::outside::sandbox::{Ended, Errand, Sandbox, SandboxError, SandboxSetting, Staging, Unsound};

/// Characters that a result quotes of what a command printed last.
const QUOTED: usize = 200;

/// What was found holds for so long, in either case; then it is tried again.
const FOUND_SOUND_FOR: Duration = Duration::from_secs(24 * 3600);
const FOUND_UNSOUND_FOR: Duration = Duration::from_secs(60);
/// On a machine that is busy a try may fail that would not fail again: so many are made, and so long is waited between.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// The sandbox of a node: it is tried when somebody first asks for it, which a server does at its start, and each day.
#[derive(Debug)]
pub struct Commands {
    setting: SandboxSetting,
    tried: Mutex<Option<Tried>>,
    are_sound: AtomicBool,
}

#[derive(Debug)]
struct Tried {
    at: Instant,
    found: Result<Sandbox, String>,
}

impl Commands {
    /// Nothing is tried yet.
    pub fn new(setting: SandboxSetting) -> Self {
        Self { setting, tried: Mutex::new(None), are_sound: AtomicBool::new(false) }
    }

    /// The sandbox, or why there is none; the first time it takes as long as it takes to try what it promises.
    pub async fn sandbox(&self) -> Result<Sandbox, String> {
        let mut tried = self.tried.lock().await;
        if let Some(Tried { at, found }) = &*tried {
            let holds = if found.is_ok() { FOUND_SOUND_FOR } else { FOUND_UNSOUND_FOR };
            if at.elapsed() < holds || self.setting == SandboxSetting::Off {
                return found.clone();
            }
        }
        let found = self.opened().await;
        self.are_sound.store(found.is_ok(), Ordering::Relaxed);
        *tried = Some(Tried { at: Instant::now(), found: found.clone() });
        found
    }

    async fn opened(&self) -> Result<Sandbox, String> {
        let mut tries = 1;
        loop {
            // Programs are started and files written on the way: not on a thread that requests wait for.
            let (setting, runtime) = (self.setting.clone(), Handle::current());
            let opened = spawn_blocking(move || runtime.block_on(Sandbox::open(&setting))).await;
            match opened.unwrap_or_else(|broken| Err(Unsound::Refused(broken.to_string()))) {
                Ok(sandbox) => {
                    tracing::info!(sandbox = sandbox.describe(), "command checks can be run");
                    return Ok(sandbox);
                }
                Err(Unsound::Refused(_) | Unsound::Open(_) | Unsound::Io(_)) if tries < TRIES => {
                    tries += 1;
                    sleep(BETWEEN_TRIES).await;
                }
                Err(unsound) => {
                    tracing::warn!(why = %unsound, "command checks cannot be run: jobs with one are refused");
                    return Err(unsound.to_string());
                }
            }
        }
    }

    /// Refuses what has a command among its checks where none can be run.
    pub(crate) async fn can_run(&self, checks: &[Check]) -> Result<(), Error> {
        if !checks.iter().any(Check::needs_sandbox) {
            return Ok(());
        }
        self.sandbox().await.map(|_| ()).map_err(|why| Error::sandbox_unavailable(&why))
    }

    /// Whether it is known to be sound.
    pub(crate) fn are_sound(&self) -> bool {
        self.are_sound.load(Ordering::Relaxed)
    }
}

/// A command of a check.
pub(super) struct Run<'a> {
    pub(super) run: &'a str,
    pub(super) timeout_seconds: u32,
    /// Those that it is given.
    pub(super) variables: BTreeMap<String, String>,
}

/// What comes of a command, as a check's result; what it prints goes to the log.
pub(super) async fn run(
    sandbox: &Sandbox,
    staging: &Staging,
    command: Run<'_>,
    log: &Log,
) -> Result<CheckResult, SandboxError> {
    let Run { run, timeout_seconds, variables } = command;
    log.say(&format!("$ {run}"));
    let errand = Errand { run, timeout: Duration::from_secs(timeout_seconds.into()), env: variables };
    let mut last = String::new();
    let ended = sandbox.run(staging, errand, |line| {
        log.say(&format!("  {line}"));
        if !line.trim().is_empty() {
            line.clone_into(&mut last);
        }
    });
    let ended = ended.await.inspect_err(|error| {
        tracing::error!(cause = causes(error), "a command check could not be run");
    })?;
    let what = match ended {
        Ended::Exit(0) => "it ended with 0".to_owned(),
        Ended::Exit(code) => format!("it ended with {code}"),
        Ended::TimedOut => format!("it took longer than {timeout_seconds} s"),
        Ended::TooMuchOutput => "it printed more than 1 MiB".to_owned(),
        Ended::OutOfMemory => "it needed more memory, or made more files, than it may".to_owned(),
    };
    let pass = ended == Ended::Exit(0);
    let last = harmless(&log.clean(last.trim()));
    let mut quoted: String = last.chars().take(QUOTED).collect();
    if quoted.len() < last.len() {
        quoted.push('…');
    }
    let detail = if quoted.is_empty() || pass { what } else { format!("{what}, after \"{quoted}\"") };
    Ok(CheckResult { kind: "command".to_owned(), pass, detail })
}
