//! Podman and docker: what they are asked, and how their answers are read.
//!
//! Each question starts their client, with an environment of three variables and a limit on how long it may take.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::bubblewrap::installed;
use super::group::Group;
use super::{Unsound, limits};

/// A question takes no longer; creating and removing are slow on a busy disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a container that is still there is removed again, and how long is waited between.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(200);

/// What a client is told of the server's environment: where its programs, its settings and its socket are.
const SURROUNDINGS: [&str; 3] = ["PATH", "HOME", "XDG_RUNTIME_DIR"];

/// The label of every container, with the name of its server's folder.
pub(super) const LABEL: &str = "clawrk.sandbox";

/// Whose client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Podman,
    Docker,
}

/// An engine as it is installed.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub(super) kind: Kind,
    program: PathBuf,
    surroundings: Vec<(&'static str, OsString)>,
}

/// What an engine knows of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    status: String,
    pub(super) exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    pub(super) is_out_of_memory: bool,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    started_at: String,
}

impl State {
    /// Whether its command ran and has ended: the code is the command's then, and no word of the engine.
    pub(super) fn has_run(&self) -> bool {
        matches!(self.status.as_str(), "exited" | "stopped") && !self.started_at.starts_with("0001-")
    }
}

/// What is asked of an image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    volumes: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Engine {
    /// Podman if it is installed, else docker.
    pub(super) fn find() -> Result<Self, Unsound> {
        let found = [(Kind::Podman, "podman"), (Kind::Docker, "docker")]
            .into_iter()
            .find_map(|(kind, name)| Some(Self::at(kind, installed(name)?)));
        found.ok_or(Unsound::NoEngine)
    }

    /// The one whose client is there.
    pub(super) fn at(kind: Kind, program: PathBuf) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "no settings of ours: handed on to a program that looks for them"
        )]
        let surroundings = SURROUNDINGS.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))).collect();
        Self { kind, program, surroundings }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Podman => "podman",
            Kind::Docker => "docker",
        }
    }

    /// Its client, without arguments; dropped, it is killed.
    pub(super) fn client(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn ask(&self, question: &[&str]) -> io::Result<Output> {
        let asked = timeout(PATIENCE, self.client().args(question).output()).await;
        asked.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} does not answer", self.name())))
        })
    }

    /// Its number.
    pub(super) async fn version(&self) -> Result<String, Unsound> {
        let told = self.ask(&["--version"]).await?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        Ok(told.split([' ', ',', '\n']).nth(2).unwrap_or("of no version").to_owned())
    }

    /// Refuses an image that is not here, and one that has room on the disk.
    pub(super) async fn examine(&self, image: &str) -> Result<(), Unsound> {
        let told = self.ask(&["image", "inspect", "--format", "{{json .Config}}", image]).await?;
        let said = String::from_utf8_lossy(&told.stderr).trim().to_owned();
        if !told.status.success() {
            let is_missing = said.to_lowercase().contains("no such image") || said.contains("image not known");
            return Err(match is_missing {
                true => Unsound::NoImage { engine: self.name(), image: image.to_owned() },
                false => Unsound::Engine { engine: self.name(), said },
            });
        }
        let told: Image = serde_json::from_slice(&told.stdout)
            .map_err(|error| Unsound::Engine { engine: self.name(), said: error.to_string() })?;
        match told.volumes {
            Some(volumes) if !volumes.is_empty() => Err(Unsound::Volumes(image.to_owned())),
            _ => Ok(()),
        }
    }

    /// What it knows of a container; none of one that it does not have.
    pub(super) async fn state(&self, name: &str) -> io::Result<Option<State>> {
        let told = self.ask(&["container", "inspect", "--format", "{{json .State}}", name]).await?;
        if told.status.success() {
            return Ok(Some(serde_json::from_slice(&told.stdout)?));
        }
        let said = String::from_utf8_lossy(&told.stderr).trim().to_owned();
        if said.to_lowercase().contains("no such") { Ok(None) } else { Err(io::Error::other(said)) }
    }

    /// Kills and removes a container; whether nothing of it is left.
    pub(super) async fn clear(&self, name: &str) -> bool {
        let remove: &[&str] = match self.kind {
            Kind::Podman => &["rm", "--force", "--volumes", "--time", "0", name],
            Kind::Docker => &["rm", "--force", "--volumes", name],
        };
        for _ in 0..TRIES {
            // One that has ended is not killed: that is no trouble.
            drop(self.ask(&["kill", name]).await);
            let removed = self.ask(remove).await.is_ok_and(|told| told.status.success());
            if removed || matches!(self.state(name).await, Ok(None)) {
                return true;
            }
            sleep(BETWEEN).await;
        }
        false
    }

    /// Removes the containers of servers that do not live; `is_alive` is told the name of a server's folder.
    pub(super) async fn sweep(&self, is_alive: impl Fn(&str) -> bool) -> io::Result<()> {
        let told = self.ask(&["ps", "--all", "--quiet", "--filter", &format!("label={LABEL}")]).await?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        for container in told.split_whitespace() {
            let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
            let told = self.ask(&["container", "inspect", "--format", &format, container]).await?;
            let home = String::from_utf8_lossy(&told.stdout).trim().to_owned();
            // Another who uses the label is none of ours.
            if home.starts_with(super::staging::PREFIX) && !home.contains('/') && !is_alive(&home) {
                self.clear(container).await;
            }
        }
        Ok(())
    }

    /// Waits until the kernel has killed a process of the container for want of memory; for ever where it does not, or
    /// where that cannot be seen from here.
    pub(super) async fn runs_out_of_memory(&self, name: &str) {
        let pid = loop {
            sleep(limits::WATCH).await;
            match self.state(name).await {
                Ok(Some(state)) if state.pid > 0 => break state.pid,
                _ => {}
            }
        };
        let group = Group::of(pid).filter(|group| Group::of(std::process::id()).as_ref() != Some(group));
        let Some(group) = group else { return std::future::pending().await };
        while !group.ran_out_of_memory() {
            sleep(limits::WATCH).await;
        }
    }
}
