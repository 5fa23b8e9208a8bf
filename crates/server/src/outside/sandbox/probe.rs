//! The proof: what the sandbox promises is tried in it, for real, before anything of a stranger runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use super::{Backend, Ended, Errand, Sandbox, SandboxError, Staging};

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What a command must not be able to do.
    pub name: String,
    /// Whether the sandbox holds.
    pub holds: bool,
}

/// Everything that a shell can try in one go.
const TRIALS: &str = include_str!("probe.sh");

/// How many trials there are in it: one that is not told of does not hold.
const TRIALS_COUNT: usize = 28;

/// Starts 200 processes; tells when it could.
const FORKS: &str = "i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; echo all";

/// Holds 640 MB in four processes.
const MEMORY: &str =
    "for i in 1 2 3 4; do (head -c 160m /dev/zero; sleep 10) | tail -n 1 | wc -c & done; wait; echo all";

/// Leaves a process behind that is in no group or session of the command.
const ORPHAN: &str = "(setsid sleep 86399.25 >/dev/null 2>&1 &); echo left";

/// Longer than everything that is tried takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

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
    rows.extend(lines.iter().filter_map(|line| {
        let (word, name) = line.split_once(' ')?;
        matches!(word, "open" | "held").then(|| Row { name: name.to_owned(), holds: word == "held" })
    }));
    let all = ended == Ended::Exit(0) && rows.len() == TRIALS_COUNT;
    rows.push(Row { name: "end before everything is tried".to_owned(), holds: all });
    rows.extend(ends(sandbox, &staging).await?);
    let waived = sandbox.0.backend.waived();
    rows.retain(|row| !waived.contains(&row.name.as_str()));
    Ok(rows)
}

/// What a sandbox must put an end to.
async fn ends(sandbox: &Sandbox, staging: &Staging) -> Result<Vec<Row>, SandboxError> {
    let row = |name: &str, holds| Row { name: name.to_owned(), holds };
    let (_, lines) = tried(sandbox, staging, FORKS, PATIENCE).await?;
    let mut rows = vec![row("start 200 processes", !lines.iter().any(|line| line == "all"))];
    let (ended, _) = tried(sandbox, staging, MEMORY, PATIENCE).await?;
    rows.push(row("use 640 MB in several processes", ended == Ended::OutOfMemory));
    let (_, lines) = tried(sandbox, staging, ORPHAN, PATIENCE).await?;
    rows.push(row("leave a process behind", lines == ["left"] && !runs("86399.25")));
    let (ended, _) = tried(sandbox, staging, "sleep 30", Duration::from_millis(100)).await?;
    rows.push(row("take as long as it likes", ended == Ended::TimedOut));
    let (ended, _) = tried(sandbox, staging, "yes", PATIENCE).await?;
    rows.push(row("print without end", ended == Ended::TooMuchOutput));
    Ok(rows)
}

async fn tried(
    sandbox: &Sandbox,
    staging: &Staging,
    run: &str,
    timeout: Duration,
) -> Result<(Ended, Vec<String>), SandboxError> {
    let mut lines = Vec::new();
    let keep = |line: &str| {
        // A flood is not worth keeping.
        if lines.len() < 100 {
            lines.push(line.to_owned());
        }
    };
    let ended = sandbox.run(staging, Errand { run, timeout, env: BTreeMap::new() }, keep).await?;
    Ok((ended, lines))
}

/// A file that everybody on the machine may read.
fn secret(sandbox: &Sandbox) -> Result<PathBuf, SandboxError> {
    let path = sandbox.0.home.path().join("secret");
    fs::write(&path, "canary")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

/// Whether a process with this argument runs on the machine.
fn runs(argument: &str) -> bool {
    let commands = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.into_iter().any(|command| command.split(|&byte| byte == 0).any(|word| word == argument.as_bytes()))
}
