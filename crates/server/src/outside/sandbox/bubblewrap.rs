//! How a command is started with bubblewrap: every flag, in one place.
//!
//! All flags go through a file in memory, so that neither they nor the job's variables stand in a list of processes.
//! There is no flag here that goes on when something is missing (`--unshare-all`, `-try`): it would run a command
//! outside of what was promised.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

use super::naming::{VALUE, naming};
use super::{Unsound, limits, seccomp, staging::Staging, watch};

/// Where programs are looked for.
const PROGRAMS: [&str; 5] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/current-system/sw/bin"];

/// The oldest version with every flag that is used.
const OLDEST: (u32, u32) = (0, 8);

/// The first kernel that counts the processes of a user namespace by themselves, and not with all of the same user.
const COUNTS_APART: (u32, u32) = (5, 14);

/// Numbers of the files that bubblewrap is given.
const FLAGS_FD: i32 = 3;
const STATUS_FD: i32 = 4;
const FILTER_FD: i32 = 5;

/// Writes itself into the groups and becomes the rest of its arguments, without what the shell adds to the environment.
const JOIN: &str = "n=$1; shift; while [ \"$n\" -gt 0 ]; do echo $$ > \"$1\" || exit 1; shift; n=$((n-1)); done; \
                    exec /usr/bin/env -i \"$@\"";

/// Bubblewrap as it is installed.
#[derive(Debug)]
pub(super) struct Bubblewrap {
    bwrap: PathBuf,
    prlimit: PathBuf,
    setpriv: PathBuf,
    version: String,
    filters: Vec<Vec<u8>>,
    /// Whether the kernel counts processes in each user namespace by itself.
    counts_apart: bool,
    /// Files that the server was started with, and that those it starts would have too.
    inherited: Vec<i32>,
}

/// What one start is made of.
pub(super) struct Start<'a> {
    pub(super) staging: &'a Staging,
    pub(super) run: &'a str,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) timeout: Duration,
    /// The doors of the command's control group; none where the watchdog looks.
    pub(super) doors: Vec<PathBuf>,
}

impl Bubblewrap {
    /// Looks for it.
    pub(super) fn find() -> Result<Self, Unsound> {
        let bwrap = program("bwrap", "bubblewrap")?;
        let told = Command::new(&bwrap).arg("--version").env_clear().stdin(Stdio::null()).output()?;
        let version = String::from_utf8_lossy(&told.stdout).trim().trim_start_matches("bubblewrap ").to_owned();
        if numbers(&version) < OLDEST {
            return Err(Unsound::Old(version));
        }
        Ok(Self {
            bwrap,
            prlimit: program("prlimit", "util-linux")?,
            setpriv: program("setpriv", "util-linux")?,
            version,
            filters: seccomp::filters().map_err(Unsound::Filter)?,
            counts_apart: kernel() >= COUNTS_APART,
            inherited: inherited(),
        })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The command that starts another, and where bubblewrap tells how it goes.
    pub(super) fn command(&self, start: &Start<'_>) -> io::Result<(Command, OwnedFd)> {
        let (status, told) = io::pipe()?;
        let mut files = vec![
            FdMapping { parent_fd: in_memory("flags", &self.flags(start))?, child_fd: FLAGS_FD },
            FdMapping { parent_fd: told.into(), child_fd: STATUS_FD },
        ];
        for (child_fd, filter) in (FILTER_FD..).zip(&self.filters) {
            files.push(FdMapping { parent_fd: in_memory("filter", filter)?, child_fd });
        }
        let ours = FLAGS_FD..FILTER_FD + i32::try_from(self.filters.len()).unwrap_or(i32::MAX - FILTER_FD);
        for &child_fd in self.inherited.iter().filter(|fd| !ours.contains(fd)) {
            files.push(FdMapping { parent_fd: File::open("/dev/null")?.into(), child_fd });
        }
        let mut command = self.chain(start);
        command.arg("--args").arg(FLAGS_FD.to_string()).arg("--");
        if self.counts_apart {
            // Inside of the namespace, or it would be about all that the user runs, in other sandboxes too.
            command.arg(&self.prlimit).arg(format!("--nproc={}", limits::TASKS));
        }
        if start.env.is_empty() {
            command.args(["/bin/sh", "-c", start.run]);
        } else {
            command.args(["/bin/sh", "-c", &naming(start.env.keys()), "sh", start.run]);
        }
        // Its environment is `/proc/1/environ` inside.
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.fd_mappings(files).map_err(io::Error::other)?;
        Ok((command, status.into()))
    }

    /// What becomes bubblewrap, one after the other: into the groups, under the limits, under another user.
    fn chain(&self, start: &Start<'_>) -> Command {
        let slot = start.staging.slot();
        // Bubblewrap dies with the server, once it has begun: until then this sees to it.
        let dies_with_us = ["--pdeathsig", "KILL"];
        let mut words: Vec<std::ffi::OsString> = vec![self.setpriv.clone().into()];
        words.extend(dies_with_us.map(Into::into));
        if !start.doors.is_empty() {
            words.extend(["/bin/sh", "-c", JOIN, "sh"].map(Into::into));
            words.push(start.doors.len().to_string().into());
            words.extend(start.doors.iter().map(Into::into));
        }
        words.push(self.prlimit.clone().into());
        let cpu = limits::cpu_seconds(start.timeout);
        words.extend(
            [
                "--core=0".to_owned(),
                "--nofile=256".to_owned(),
                format!("--fsize={}", limits::DISK),
                format!("--cpu={cpu}"),
                "--memlock=0".to_owned(),
                "--msgqueue=0".to_owned(),
                "--stack=8388608".to_owned(),
            ]
            .map(Into::into),
        );
        if !self.counts_apart {
            // What our own user has running comes on top. What it starts later is missing then, here and there.
            let tasks = limits::TASKS + slot.uid().map_or_else(|| watch::tasks_of(slot.user()), |_| 0);
            words.push(format!("--nproc={tasks}").into());
        }
        if start.doors.is_empty() {
            words.push(format!("--as={}", limits::ADDRESS_SPACE).into());
        }
        if let Some(uid) = slot.uid() {
            words.push(self.setpriv.clone().into());
            // Another user begins without it.
            words.extend(dies_with_us.map(Into::into));
            words.extend(
                [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()].map(Into::into),
            );
        }
        words.push(self.bwrap.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// The flags, each ended by NUL.
    fn flags(&self, start: &Start<'_>) -> Vec<u8> {
        let mut flags = Flags::default();
        flags.words("--unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup");
        flags.words("--disable-userns --uid 65534 --gid 65534 --hostname sandbox --cap-drop ALL");
        flags.words("--new-session --die-with-parent --clearenv");
        flags.words("--setenv PATH /usr/local/bin:/usr/bin:/bin --setenv HOME /tmp --setenv TMPDIR /tmp");
        flags.words("--setenv LANG C.UTF-8");
        for (number, value) in start.env.values().enumerate() {
            flags.word("--setenv").word(&format!("{VALUE}{number}")).word(value);
        }
        flags.words("--ro-bind /usr /usr");
        for folder in ["bin", "sbin", "lib", "lib64"] {
            let path = Path::new("/").join(folder);
            match std::fs::read_link(&path) {
                Ok(target) => flags.word("--symlink").path(&target).path(&path),
                // A system that has not put them all into /usr.
                Err(_) if path.is_dir() => flags.word("--ro-bind").path(&path).path(&path),
                Err(_) => &mut flags,
            };
        }
        flags.words("--dir /etc --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache");
        flags.words("--ro-bind-try /etc/alternatives /etc/alternatives");
        flags.words("--proc /proc --ro-bind /dev/null /proc/cmdline --ro-bind /dev/null /proc/kallsyms");
        flags.words("--remount-ro /proc --dev /dev");
        flags.words(&format!("--size {} --tmpfs /dev/shm --remount-ro /dev", limits::SHARED));
        flags.words(&format!("--perms 1777 --size {} --tmpfs /tmp", limits::DISK));
        flags.words(&format!("--perms 0700 --size {} --tmpfs /box", limits::DISK));
        flags.word("--ro-bind").path(&start.staging.submission()).word("/submission");
        flags.word("--ro-bind").path(&start.staging.attachments()).word("/attachments");
        flags.words("--remount-ro / --chdir /box");
        flags.words(&format!("--json-status-fd {STATUS_FD}"));
        for (fd, _) in (FILTER_FD..).zip(&self.filters) {
            flags.words(&format!("--add-seccomp-fd {fd}"));
        }
        flags.0
    }
}

/// Words, each ended by NUL.
#[derive(Default)]
struct Flags(Vec<u8>);

impl Flags {
    fn words(&mut self, words: &str) {
        for word in words.split_whitespace() {
            self.word(word);
        }
    }

    fn word(&mut self, word: &str) -> &mut Self {
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(0);
        self
    }

    fn path(&mut self, path: &Path) -> &mut Self {
        self.0.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
        self.0.push(0);
        self
    }
}

/// A file that has no name, to be read from its beginning.
fn in_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// The first two numbers of a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The version of the kernel; one that cannot be read is as old as can be.
fn kernel() -> (u32, u32) {
    numbers(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

fn program(name: &'static str, package: &'static str) -> Result<PathBuf, Unsound> {
    installed(name).ok_or(Unsound::Missing { program: name, package })
}

/// Where a program is.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    PROGRAMS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// Files, beyond the first three, that stay open when another program is started. What this program opens does not.
fn inherited() -> Vec<i32> {
    const CLOSED: i64 = 0o2_000_000;
    let entries = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stays_open = |fd: &i32| {
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.and_then(|flags| i64::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & CLOSED == 0)
    };
    numbers.filter(|&fd| fd > 2).filter(stays_open).collect()
}
