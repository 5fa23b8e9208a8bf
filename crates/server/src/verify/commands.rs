//! Command checks: in this node's sandbox, once it has been proved sound, or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawrk_domain::{Check, CheckResult};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::log::{Log, harmless};
use crate::Error;
use crate::error::causes;
use crate::outside::sandbox::{Ended, Errand, Sandbox, SandboxError, SandboxSetting, Staging, Unsound};

/// Characters that a result quotes of what a command printed last.
const QUOTED: usize = 200;

/// What was found holds for so long, in either case; then it is tried again.
const FOUND_SOUND_FOR: Duration = Duration::from_secs(24 * 3600);
const FOUND_UNSOUND_FOR: Duration = Duration::from_secs(60);
/// Where the machine was too busy to find out, for so long, and each time twice as long, up to the time above.
const FOUND_BUSY_FOR: Duration = Duration::from_secs(2);
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
    found: Result<Sandbox, String>,
    /// It is tried again after this.
    until: Instant,
    /// How often in a row the machine was too busy to find out.
    misses: u32,
}

impl Commands {
    /// Nothing is tried yet.
    pub fn new(setting: SandboxSetting) -> Self {
        Self { setting, tried: Mutex::new(None), are_sound: AtomicBool::new(false) }
    }

    /// The sandbox, or why there is none; the first time it takes as long as it takes to try what it promises.
    pub async fn sandbox(&self) -> Result<Sandbox, String> {
        let mut tried = self.tried.lock().await;
        if let Some(Tried { found, until, .. }) = &*tried
            && (Instant::now() < *until || self.setting == SandboxSetting::Off)
        {
            return found.clone();
        }
        let found = self.opened().await;
        self.are_sound.store(found.is_ok(), Ordering::Relaxed);
        let misses = match &found {
            Err(unsound) if unsound.is_busy() => tried.as_ref().map_or(0, |tried| tried.misses) + 1,
            _ => 0,
        };
        let until = Instant::now() + holds_for(found.is_ok(), misses);
        let found = found.map_err(|unsound| unsound.to_string());
        *tried = Some(Tried { found: found.clone(), until, misses });
        found
    }

    /// Tries it, and again until it is known whether it is sound: a machine that is too busy now will not be for ever.
    /// Meanwhile whoever asks hears that there is none.
    pub async fn find_out(&self) {
        while self.sandbox().await.is_err() {
            let again = self.tried.lock().await.as_ref().filter(|tried| tried.misses > 0).map(|tried| tried.until);
            let Some(again) = again else { return };
            sleep_until(again).await;
        }
    }

    async fn opened(&self) -> Result<Sandbox, Unsound> {
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
                Err(unsound) if may_pass(&unsound) && tries < TRIES => {
                    tries += 1;
                    sleep(BETWEEN_TRIES).await;
                }
                Err(unsound) => {
                    tracing::warn!(why = %unsound, "command checks cannot be run: jobs with one are refused");
                    return Err(unsound);
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

/// Why a command was not run, for the operator. What does not start may have printed what it was given.
fn why(error: &SandboxError, log: &Log) -> String {
    log.clean(&causes(error))
}

/// How long what was found counts.
fn holds_for(is_sound: bool, misses: u32) -> Duration {
    match misses {
        _ if is_sound => FOUND_SOUND_FOR,
        0 => FOUND_UNSOUND_FOR,
        _ => FOUND_BUSY_FOR.saturating_mul(2_u32.saturating_pow(misses - 1)).min(FOUND_UNSOUND_FOR),
    }
}

/// Whether it may be otherwise in a moment, without anybody changing the machine.
fn may_pass(unsound: &Unsound) -> bool {
    unsound.is_busy() || matches!(unsound, Unsound::Refused(_) | Unsound::Open(_) | Unsound::Io(_))
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
        tracing::error!(cause = why(error, log), "a command check could not be run");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(until: Instant) -> Commands {
        // An image that nobody has: to try it says something else.
        let setting = SandboxSetting::Container { image: "clawrk-no-such-image".to_owned() };
        let tried = Tried { found: Err("too busy".to_owned()), until, misses: 1 };
        Commands { setting, tried: Mutex::new(Some(tried)), are_sound: AtomicBool::new(false) }
    }

    #[tokio::test]
    async fn a_machine_that_was_too_busy_to_prove_it_runs_no_command_until_it_has() {
        let command = Check::Command { run: "true".to_owned(), timeout_seconds: 1, env: false };
        let waiting = found(Instant::now() + FOUND_BUSY_FOR * 1_000);
        assert_eq!(waiting.sandbox().await.unwrap_err(), "too busy");
        assert!(waiting.can_run(&[command]).await.is_err() && !waiting.are_sound());
        assert_ne!(found(Instant::now()).sandbox().await.unwrap_err(), "too busy", "it is tried again");
    }

    #[test]
    fn what_does_not_start_tells_no_value_of_a_variable() {
        let variables = BTreeMap::from([("KEY".to_owned(), "first canary\nother canary".to_owned())]);
        let log = Log::new(crate::verify::Scrubber::new(&variables), clawrk_store::Clock::System);
        let error = SandboxError::NotStarted("said other canary of first canary".to_owned());
        assert_eq!(why(&error, &log), "the sandbox did not start: said [KEY] of [KEY]");
    }

    #[test]
    fn what_was_not_found_out_is_tried_again_soon_and_then_later_and_later() {
        let seconds = [1, 2, 3, 5, 6, 40].map(|misses| holds_for(false, misses).as_secs());
        assert_eq!(seconds, [2, 4, 8, 32, 60, 60]);
        assert_eq!((holds_for(false, 0), holds_for(true, 0)), (FOUND_UNSOUND_FOR, FOUND_SOUND_FOR));
        let untried = Unsound::Untried(vec!["be root".to_owned()]);
        assert!(untried.is_busy() && untried.to_string().contains("could not be tried in time"));
        assert!(!Unsound::Open(Vec::new()).is_busy() && may_pass(&Unsound::Crowded(String::new())));
        assert!(!may_pass(&Unsound::Off));
    }
}
