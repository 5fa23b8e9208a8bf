//! The proof: what the sandbox promises is tried in it, for real, before anything of a stranger runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use super::{Backend, Ended, Errand, Sandbox, SandboxError, Staging, limits};
use crate::random;

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What a command must not be able to do.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a trial shows. A machine without time or processes for it shows nothing, which is no proof and no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command could not do it.
    Held,
    /// It could.
    Open,
    /// It did not come to it.
    Untried,
}

/// Everything that a shell can try in one go.
const TRIALS: &str = include_str!("probe.sh");

/// How many trials there are in it: one that is not told of does not hold.
const TRIALS_COUNT: usize = 28;

/// Starts 200 processes; tells when it could.
const FORKS: &str = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo all";

/// What every shell says in some way when it cannot start a process.
const CANNOT_START: &str = "fork";

/// Holds 640 MB in four processes, all at once however slowly each comes to it.
const MEMORY: &str = "for i in 1 2 3 4; do (head -c 160m /dev/zero; : >$i; \
                      until [ -e 1 ] && [ -e 2 ] && [ -e 3 ] && [ -e 4 ]; do sleep 1; done; sleep 10) | \
                      tail -n 1 | wc -c & done; wait";

/// What it prints four times when each process had its part.
const PART: &str = "167772160";

/// Leaves a process behind that is in no group or session of the command, once that is there.
const ORPHAN: &str = "(setsid sh -c ': >up; exec sleep SECONDS' >/dev/null 2>&1 &); \
                      until [ -e up ]; do sleep 0.1; done; echo left";

/// Longer than everything that is tried takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries everything.
pub(super) async fn rows(sandbox: &Sandbox) -> Result<Vec<Row>, SandboxError> {
    let staging = sandbox.stage().await?;
    staging.write_output_text("here")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let secret = secret(sandbox)?;
    let port = listener.local_addr()?.port().to_string();
    let mut env = BTreeMap::from([("SECRET".to_owned(), secret.display().to_string()), ("PORT".to_owned(), port)]);
    if matches!(sandbox.0.backend, Backend::Container(_)) {
        // An image has a file of this name: it must not be ours.
        let ours = fs::metadata("/etc/passwd")?;
        env.insert("PASSWD".to_owned(), format!("{}:{}", ours.dev(), ours.ino()));
    }
    for name in ["pid", "net", "ipc", "mnt", "user", "uts"] {
        let namespace = fs::read_link(format!("/proc/self/ns/{name}"))?;
        env.insert(format!("NS_{}", name.to_uppercase()), namespace.display().to_string());
    }
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    let errand = Errand { run: TRIALS, timeout: PATIENCE, env };
    let ended = sandbox.run(&staging, errand, |line| lines.push(line.to_owned())).await?;
    rows.extend(lines.iter().filter_map(|line| told(line)));
    let outcome = match ended {
        Ended::Exit(0) if rows.len() == TRIALS_COUNT => Outcome::Held,
        Ended::TimedOut => Outcome::Untried,
        Ended::Exit(_) if lines.iter().any(|line| line.contains(CANNOT_START)) => Outcome::Untried,
        _ => Outcome::Open,
    };
    rows.push(Row { name: "end before everything is tried".to_owned(), outcome });
    rows.extend(ends(sandbox, &staging).await?);
    let waived = sandbox.0.backend.waived();
    rows.retain(|row| !waived.contains(&row.name.as_str()));
    Ok(rows)
}

/// What a line of the script tells.
fn told(line: &str) -> Option<Row> {
    let (word, name) = line.split_once(' ')?;
    let outcome = match word {
        "held" => Outcome::Held,
        "open" => Outcome::Open,
        "untried" => Outcome::Untried,
        _ => return None,
    };
    Some(Row { name: name.to_owned(), outcome })
}

/// What a sandbox must put an end to.
async fn ends(sandbox: &Sandbox, staging: &Staging) -> Result<Vec<Row>, SandboxError> {
    // A number of its own: other servers of this machine may be at the same trial.
    let seconds = format!("86399.{}", u128::from_le_bytes(random::bytes()));
    let orphan = ORPHAN.replace("SECONDS", &seconds);
    let forks = Trial::of(sandbox, staging, FORKS, PATIENCE).await?.forks();
    let memory = Trial::of(sandbox, staging, MEMORY, PATIENCE).await?.memory();
    let left = Trial::of(sandbox, staging, &orphan, PATIENCE).await?.left(&seconds);
    let time = Trial::of(sandbox, staging, "sleep 30", Duration::from_millis(100)).await?.time();
    let output = Trial::of(sandbox, staging, "yes", PATIENCE).await?.output();
    let rows = [
        ("start 200 processes", forks),
        ("use 640 MB in several processes", memory),
        ("leave a process behind", left),
        ("take as long as it likes", time),
        ("print without end", output),
    ];
    Ok(rows.into_iter().map(|(name, outcome)| Row { name: name.to_owned(), outcome }).collect())
}

/// How a trial went.
struct Trial {
    ended: Ended,
    /// The first that it printed.
    lines: Vec<String>,
    /// How much it printed.
    bytes: usize,
}

impl Trial {
    async fn of(sandbox: &Sandbox, staging: &Staging, run: &str, timeout: Duration) -> Result<Self, SandboxError> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let keep = |line: &str| {
            bytes += line.len() + 1;
            // A flood is not worth keeping.
            if lines.len() < 100 {
                lines.push(line.to_owned());
            }
        };
        let ended = sandbox.run(staging, Errand { run, timeout, env: BTreeMap::new() }, keep).await?;
        Ok(Self { ended, lines, bytes })
    }

    fn says(&self, line: &str) -> usize {
        self.lines.iter().filter(|told| *told == line).count()
    }

    /// Held when it was told that there are no more processes for it.
    fn forks(&self) -> Outcome {
        if self.says("all") > 0 {
            Outcome::Open
        } else if self.lines.iter().any(|line| line.contains(CANNOT_START)) {
            Outcome::Held
        } else {
            Outcome::Untried
        }
    }

    /// Open when all parts were there at once.
    fn memory(&self) -> Outcome {
        match self.ended {
            Ended::OutOfMemory => Outcome::Held,
            Ended::Exit(0) if self.says(PART) == 4 => Outcome::Open,
            _ => Outcome::Untried,
        }
    }

    /// Open when the process that was left runs.
    fn left(&self, seconds: &str) -> Outcome {
        if runs(seconds) {
            Outcome::Open
        } else if self.says("left") == 1 {
            Outcome::Held
        } else {
            Outcome::Untried
        }
    }

    fn time(&self) -> Outcome {
        match self.ended {
            Ended::TimedOut => Outcome::Held,
            Ended::Exit(0) => Outcome::Open,
            _ => Outcome::Untried,
        }
    }

    fn output(&self) -> Outcome {
        match self.ended {
            Ended::TooMuchOutput => Outcome::Held,
            _ if self.bytes > limits::OUTPUT => Outcome::Open,
            _ => Outcome::Untried,
        }
    }
}

/// A file that everybody on the machine may read.
fn secret(sandbox: &Sandbox) -> Result<PathBuf, SandboxError> {
    let path = sandbox.0.home.path().join("secret");
    fs::write(&path, "canary")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

/// Whether a process of the machine has this in its command line.
fn runs(text: &str) -> bool {
    let mut commands = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.any(|command| memchr::memmem::find(&command, text.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(ended: Ended, lines: &[&str], bytes: usize) -> Trial {
        Trial { ended, lines: lines.iter().map(|line| (*line).to_owned()).collect(), bytes }
    }

    #[test]
    fn what_was_merely_slow_is_neither_held_nor_open() {
        let slow = trial(Ended::TimedOut, &[], 0);
        let ended = trial(Ended::Exit(2), &["sh: 1: something else"], 30);
        for trial in [slow, ended] {
            assert_eq!([trial.forks(), trial.memory(), trial.output()], [Outcome::Untried; 3]);
            assert_eq!(trial.left("86398.no-such-process"), Outcome::Untried);
        }
        assert_eq!(trial(Ended::Exit(2), &[], 0).time(), Outcome::Untried);
        // Memory that came to its processes one after the other, or not to all, is not too much of it.
        assert_eq!(trial(Ended::Exit(0), &[PART, "0", PART, PART], 0).memory(), Outcome::Untried);
        assert_eq!(told("untried be root").map(|row| row.outcome), Some(Outcome::Untried));
    }

    #[test]
    fn a_hole_is_told_from_what_holds() {
        assert_eq!(trial(Ended::TimedOut, &["sh: 1: Cannot fork"], 20).forks(), Outcome::Held);
        assert_eq!(trial(Ended::Exit(0), &["all"], 4).forks(), Outcome::Open);
        assert_eq!(trial(Ended::OutOfMemory, &[], 0).memory(), Outcome::Held);
        assert_eq!(trial(Ended::Exit(0), &[PART, PART, PART, PART], 0).memory(), Outcome::Open);
        assert_eq!(trial(Ended::Exit(0), &["left"], 5).left("86398.no-such-process"), Outcome::Held);
        let me = fs::read("/proc/self/cmdline").unwrap();
        let me = String::from_utf8_lossy(me.split(|&byte| byte == 0).next().unwrap()).into_owned();
        assert_eq!(trial(Ended::Exit(0), &["left"], 5).left(&me), Outcome::Open);
        assert_eq!(trial(Ended::TimedOut, &[], 0).time(), Outcome::Held);
        assert_eq!(trial(Ended::Exit(0), &[], 0).time(), Outcome::Open);
        assert_eq!(trial(Ended::TooMuchOutput, &["y"], 2).output(), Outcome::Held);
        assert_eq!(trial(Ended::TimedOut, &["y"], limits::OUTPUT + 1).output(), Outcome::Open);
    }
}
