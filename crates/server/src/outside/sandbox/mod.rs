//! The sandbox: where the commands of jobs run, on what strangers have sent.
//!
//! A command sees the programs of the machine, the submission and the job's files, all read-only, and an empty folder of
//! its own in memory. It has no network, no other process, no variable but those of the job, no right, and an end.
//!
//! | File            | What                                                        |
//! |-----------------|-------------------------------------------------------------|
//! | `bubblewrap.rs` | the flags                                                   |
//! | `container.rs`  | the other way: a container of podman or docker               |
//! | `engine.rs`     | what podman and docker are asked                             |
//! | `seccomp.rs`    | the calls of the kernel that are refused                    |
//! | `group.rs`      | memory and processes, counted by the kernel                 |
//! | `watch.rs`      | the same, looked at ten times a second where it cannot       |
//! | `limits.rs`     | the numbers                                                 |
//! | `slots.rs`      | users, and how many commands at once                        |
//! | `staging.rs`    | the files a command sees                                    |
//! | `spawn.rs`      | the thread that starts commands                             |
//! | `run.rs`        | one command until nothing of it is left                     |
//! | `output.rs`     | what it prints                                              |
//! | `probe.rs`      | the proof, at each start: what is promised is tried          |
//!
//! Where it is not sound, nothing runs: there is no way around it. No path that a command made is ever opened.

mod bubblewrap;
mod container;
mod engine;
mod group;
mod limits;
mod naming;
mod output;
mod probe;
mod run;
mod seccomp;
mod slots;
mod spawn;
mod staging;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bubblewrap::Bubblewrap;
use container::Container;
use group::Groups;
pub use probe::{Outcome, Row};
use slots::Slots;
use spawn::Spawner;
pub use staging::Staging;
use staging::{Access, Home};

/// Where what is staged stands: one place for all servers of a machine, so that each sees who else lives.
const PARENT: &str = "/tmp";

/// What programs say for `EAGAIN`, in the language that they have here: a process that is not started.
const TRY_AGAIN: &str = "Resource temporarily unavailable";

/// How command checks are confined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SandboxSetting {
    /// With bubblewrap: a container needs an image, which somebody has to name.
    #[default]
    Auto,
    /// With bubblewrap.
    Bubblewrap,
    /// In a container of podman or docker.
    Container {
        /// An image that is on this machine.
        image: String,
    },
    /// Not at all: no command ever runs.
    Off,
}

/// A sound sandbox; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    slots: Slots,
    home: Arc<Home>,
}

/// What keeps a command in.
#[derive(Debug)]
enum Backend {
    Bubblewrap(Confined),
    Container(Container),
}

/// Bubblewrap, with what counts memory and what starts it.
#[derive(Debug)]
struct Confined {
    bubblewrap: Bubblewrap,
    groups: Option<Groups>,
    spawner: Arc<Spawner>,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Errand<'a> {
    /// For `/bin/sh -c`.
    pub run: &'a str,
    /// Killed after this.
    pub timeout: Duration,
    /// The job's variables. What is told of the output may hold their values: whoever hears it takes them out.
    pub env: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code: 128 and the signal's number when a signal ended it, as shells say it.
    Exit(i32),
    /// It took too long.
    TimedOut,
    /// It printed more than 1 MiB.
    TooMuchOutput,
    /// It needed more memory, or made more files, than it may.
    OutOfMemory,
}

/// Trouble of ours: a command was not run, which says nothing about the submission.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No file can have this name.
    #[error("{0:?} is no name of a file: a name has 1 to 255 bytes and no slash")]
    FileName(String),
    /// No variable can have this name.
    #[error("{0:?} is no name of a variable: a name is not empty and has no =")]
    Variable(String),
    /// No shell sets it.
    #[error("{0:?} cannot be set in a container: shells keep that name for themselves")]
    Kept(String),
    /// A program takes none.
    #[error("the command or a variable holds a NUL")]
    Nul,
    /// Too long.
    #[error("the command and its variables are longer than 60 KiB together")]
    TooLong,
    /// The sandbox refused.
    #[error("the sandbox did not start: {0}")]
    NotStarted(String),
    /// Killed, and still there.
    #[error("a command that was killed has not ended")]
    Left,
    /// The machine refused.
    #[error("the sandbox failed")]
    Io(#[from] io::Error),
}

/// Why commands cannot be run safely here, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// The operator said so.
    #[error("`sandbox` is off: set it to auto to run command checks")]
    Off,
    /// A program is missing.
    #[error("{program} is not installed: install the package {package}")]
    Missing {
        /// Its name.
        program: &'static str,
        /// The package of Debian, Ubuntu, Fedora and Alpine that has it.
        package: &'static str,
    },
    /// Too old.
    #[error("bubblewrap {0} is too old: 0.8 or later is needed (Debian 12, Ubuntu 23.04 and later have it)")]
    Old(String),
    /// No filter of calls for this machine.
    #[error("the filter of system calls cannot be made: {0}")]
    Filter(String),
    /// It did not start.
    #[error(
        "bubblewrap cannot start a command here ({0}). Often user namespaces are refused: in a container, allow them in \
         its seccomp profile; on Ubuntu 24.04, give bwrap an AppArmor profile with userns; elsewhere set \
         user.max_user_namespaces above 0. docs/sandbox.md shows how"
    )]
    Refused(String),
    /// It holds less than it promises.
    #[error("the sandbox does not hold here: {}. No command is run in it", .0.join(", "))]
    Open(Vec<String>),
    /// It was not proved in time, which shows no hole.
    #[error(
        "the sandbox could not be tried in time, this machine is busy: {}. No command is run until it has been; that is \
         tried again by itself", .0.join(", ")
    )]
    Untried(Vec<String>),
    /// The kernel starts no more processes for us.
    #[error(
        "there are too many processes for another to start ({0}): end some of the server's user, or raise what it may \
         have (`ulimit -u`, TasksMax= of its service, --pids-limit of its container)"
    )]
    Crowded(String),
    /// No engine for containers.
    #[error("neither podman nor docker is installed: install the package podman, or set `sandbox` to auto")]
    NoEngine,
    /// The engine did not do what was asked.
    #[error("{engine} cannot run a command here ({said}). docs/sandbox.md says what it needs")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// What it printed.
        said: String,
    },
    /// Not on this machine; it is never fetched while a stranger's command waits.
    #[error("{engine} has no image {image} here: `{engine} pull {image}`, as the user that the server runs as")]
    NoImage {
        /// Its name.
        engine: &'static str,
        /// What `sandbox_image` says.
        image: String,
    },
    /// It would write to the disk.
    #[error("the image {0} has volumes, which a command could fill: take one without VOLUME")]
    Volumes(String),
    /// The machine refused.
    #[error("the sandbox cannot be made: {0}")]
    Io(io::Error),
}

impl Unsound {
    /// Whether nothing was found out for want of time or processes.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Untried(_) | Self::Crowded(_))
    }
}

impl From<io::Error> for Unsound {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What starting a process or a thread ends with when there are too many.
            io::ErrorKind::WouldBlock => Self::Crowded(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl Sandbox {
    /// Makes a sandbox and tries everything that it promises, within about two seconds.
    pub async fn open(setting: &SandboxSetting) -> Result<Self, Unsound> {
        let (sandbox, rows) = Self::examine(setting).await?;
        let named = |outcome| -> Vec<String> {
            rows.iter().filter(|row| row.outcome == outcome).map(|row| row.name.clone()).collect()
        };
        let (open, untried) = (named(Outcome::Open), named(Outcome::Untried));
        match (open.is_empty(), untried.is_empty()) {
            (true, true) => Ok(sandbox),
            (false, _) => Err(Unsound::Open(open)),
            (true, false) => Err(Unsound::Untried(untried)),
        }
    }

    /// The sandbox and what came of each trial, for `clawrk doctor --sandbox`; it may not be sound.
    pub async fn examine(setting: &SandboxSetting) -> Result<(Self, Vec<Row>), Unsound> {
        let sandbox = match setting {
            SandboxSetting::Container { image } => Self::contained(Container::find(image).await?).await?,
            other => Self::make(other, true)?,
        };
        let rows = probe::rows(&sandbox).await.map_err(|error| sandbox.0.backend.unsound(error))?;
        Ok((sandbox, rows))
    }

    /// One of bubblewrap.
    fn make(setting: &SandboxSetting, with_groups: bool) -> Result<Self, Unsound> {
        if *setting == SandboxSetting::Off {
            return Err(Unsound::Off);
        }
        let bubblewrap = Bubblewrap::find()?;
        let parent = Path::new(PARENT);
        group::sweep(staging::PREFIX, |name| staging::alive(&parent.join(name)));
        let home = Home::make(parent, Access::OneUser)?;
        let groups = if with_groups { Groups::find(home.name()) } else { None };
        let slots = if groups.is_some() { cores() } else { limits::LEAST_SLOTS };
        Ok(Self(Arc::new(Inner {
            backend: Backend::Bubblewrap(Confined { bubblewrap, groups, spawner: Arc::new(Spawner::start()?) }),
            slots: Slots::of_users(slots, parent)?,
            home: Arc::new(home),
        })))
    }

    /// One of containers; those that killed servers left are removed first.
    async fn contained(mut container: Container) -> Result<Self, Unsound> {
        let parent = Path::new(PARENT);
        container.sweep(|name| staging::alive(&parent.join(name))).await;
        let home = Home::make(parent, Access::Mounted)?;
        container.narrow(home.path())?;
        Ok(Self(Arc::new(Inner {
            backend: Backend::Container(container),
            slots: Slots::of_one_user(cores()),
            home: Arc::new(home),
        })))
    }

    /// How many commands run at once.
    pub fn slots(&self) -> usize {
        self.0.slots.count()
    }

    /// For the log and the doctor.
    pub fn describe(&self) -> String {
        match &self.0.backend {
            Backend::Bubblewrap(Confined { bubblewrap, groups, .. }) => {
                let memory = groups.as_ref().map_or("watchdog", Groups::describe);
                format!("bubblewrap {}, memory by {memory}", bubblewrap.version())
            }
            Backend::Container(container) => container.describe(),
        }
    }

    /// Waits for a turn, and gives it with an empty place for files.
    pub async fn stage(&self) -> Result<Staging, SandboxError> {
        let slot = self.0.slots.take().await;
        Ok(Staging::make(Arc::clone(&self.0.home), slot)?)
    }

    /// Runs a command on what is staged, in a fresh folder; dropped, it kills the command and all that it started.
    /// `output` hears each line of both streams.
    pub async fn run(
        &self,
        staging: &Staging,
        errand: Errand<'_>,
        output: impl FnMut(&str),
    ) -> Result<Ended, SandboxError> {
        run::check(&errand)?;
        naming::may_be_set(&errand.env)?;
        let _one_at_a_time = staging.running.lock().await;
        match &self.0.backend {
            Backend::Bubblewrap(confined) => run::run(confined, staging, errand, output).await,
            Backend::Container(container) => container.run(self.0.home.name(), staging, errand, output).await,
        }
    }
}

impl Backend {
    /// Trials that this way of confining does not promise; docs/sandbox.md says why.
    fn waived(&self) -> Vec<&'static str> {
        match self {
            Self::Bubblewrap(_) => Vec::new(),
            Self::Container(container) => container.waived(),
        }
    }

    /// What a trial that could not be made says of the sandbox.
    fn unsound(&self, error: SandboxError) -> Unsound {
        let said = match error {
            // Killed and still there: the machine has not come to it.
            SandboxError::Left => return Unsound::Untried(vec!["leave a process behind".to_owned()]),
            SandboxError::Io(error) => return error.into(),
            SandboxError::NotStarted(said) if said.contains(TRY_AGAIN) || said.contains("fork") => {
                return Unsound::Crowded(said);
            }
            SandboxError::NotStarted(said) => said,
            other => other.to_string(),
        };
        match self {
            Self::Bubblewrap(_) => Unsound::Refused(said),
            Self::Container(container) => Unsound::Engine { engine: container.engine(), said },
        }
    }
}

/// Commands at once where the kernel counts what each takes.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(limits::LEAST_SLOTS, limits::SLOTS)
}

impl Drop for Confined {
    fn drop(&mut self) {
        if let Some(groups) = &self.groups {
            groups.remove();
        }
    }
}
