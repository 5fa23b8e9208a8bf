//! Control groups: where the kernel itself counts the memory and the processes of a command.
//!
//! | Kernel  | When                                                                                    |
//! |---------|-----------------------------------------------------------------------------------------|
//! | v2      | the group of the server is delegated to it and already hands on `memory` and `pids`      |
//! | v1      | the groups of `memory` and `pids` that the server is in can be written                   |
//! | neither | the watchdog of `watch.rs`                                                               |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::limits;

/// Where groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// How groups are made here.
#[derive(Debug, Clone)]
pub(super) enum Groups {
    /// One tree.
    V2(PathBuf),
    /// A tree for each.
    V1 { memory: PathBuf, pids: PathBuf },
}

/// The group of one command: one folder, or two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    memory: PathBuf,
    pids: Option<PathBuf>,
}

impl Groups {
    /// The way that works here, tried for real below folders of the name `home`.
    pub(super) fn find(home: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        [Self::v1(&own, home), Self::v2(&own, home)].into_iter().flatten().find(|groups| {
            let tried = groups.make("tried");
            let works = tried.is_ok();
            if let Ok(group) = tried {
                drop(group.remove());
            }
            if !works {
                groups.remove();
            }
            works
        })
    }

    fn v1(own: &str, home: &str) -> Option<Self> {
        let folder = |controller: &str| {
            let path = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|one| one == controller).then_some(path)
            })?;
            let folder = Path::new(MOUNT).join(controller).join(path.trim_start_matches('/')).join(home);
            fs::create_dir(&folder).ok().map(|()| folder)
        };
        Some(Self::V1 { memory: folder("memory")?, pids: folder("pids")? })
    }

    fn v2(own: &str, home: &str) -> Option<Self> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let parent = Path::new(MOUNT).join(path.trim_start_matches('/'));
        let handed_on = fs::read_to_string(parent.join("cgroup.subtree_control")).ok()?;
        if !["memory", "pids"].iter().all(|one| handed_on.split_whitespace().any(|given| given == *one)) {
            return None;
        }
        let folder = parent.join(home);
        fs::create_dir(&folder).ok()?;
        fs::write(folder.join("cgroup.subtree_control"), "+memory +pids").ok()?;
        Some(Self::V2(folder))
    }

    /// A group for a command.
    pub(super) fn make(&self, name: &str) -> io::Result<Group> {
        let group = match self {
            Self::V2(folder) => Group { memory: folder.join(name), pids: None },
            Self::V1 { memory, pids } => Group { memory: memory.join(name), pids: Some(pids.join(name)) },
        };
        fs::create_dir(&group.memory)?;
        if let Some(pids) = &group.pids {
            fs::create_dir(pids)?;
        }
        let limited = group.limit();
        if limited.is_err() {
            drop(group.remove());
        }
        limited.map(|()| group)
    }

    /// For people.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::V2(_) => "cgroup v2",
            Self::V1 { .. } => "cgroup v1",
        }
    }

    /// Removes the folders; those of commands are gone by then.
    pub(super) fn remove(&self) {
        let folders = match self {
            Self::V2(folder) => vec![folder],
            Self::V1 { memory, pids } => vec![memory, pids],
        };
        folders.into_iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

impl Group {
    /// The one that a process is in, where its memory is counted; another made it, and removes it.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let folder = |line: &str| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_memory = controllers.split(',').any(|one| one == "memory");
            let mount = if is_memory { Path::new(MOUNT).join("memory") } else { PathBuf::from(MOUNT) };
            let memory = mount.join(path.trim_start_matches('/'));
            let is_counted = memory.join(if is_memory { "memory.oom_control" } else { "memory.events" }).is_file();
            ((is_memory || controllers.is_empty()) && is_counted).then_some(Self { memory, pids: None })
        };
        told.lines().find_map(folder)
    }

    fn limit(&self) -> io::Result<()> {
        let Some(pids) = &self.pids else {
            fs::write(self.memory.join("memory.max"), limits::MEMORY.to_string())?;
            // There is no such file where there is no swap.
            drop(fs::write(self.memory.join("memory.swap.max"), "0"));
            return fs::write(self.memory.join("pids.max"), limits::TASKS.to_string());
        };
        fs::write(self.memory.join("memory.limit_in_bytes"), limits::MEMORY.to_string())?;
        drop(fs::write(self.memory.join("memory.memsw.limit_in_bytes"), limits::MEMORY.to_string()));
        fs::write(pids.join("pids.max"), limits::TASKS.to_string())
    }

    /// The files that a process writes itself into.
    pub(super) fn doors(&self) -> Vec<PathBuf> {
        [Some(&self.memory), self.pids.as_ref()]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("cgroup.procs"))
            .collect()
    }

    /// Whether the kernel killed a process for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        ["memory.events", "memory.oom_control"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.memory.join(name)).ok())
            .any(|text| {
                text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
            })
    }

    /// Kills whatever is in it.
    pub(super) fn kill(&self) {
        if fs::write(self.memory.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let inside = fs::read_to_string(self.memory.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Removes it, once nothing is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        for folder in [Some(&self.memory), self.pids.as_ref()].into_iter().flatten() {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Kills and removes the groups of servers that were killed: those whose folder is not one of the living.
pub(super) fn sweep(prefix: &str, is_alive: impl Fn(&str) -> bool) {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else { return };
    let parents = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        matches!(controllers, "" | "memory" | "pids")
            .then(|| Path::new(MOUNT).join(controllers).join(path.trim_start_matches('/')))
    });
    for parent in parents {
        for home in fs::read_dir(parent).into_iter().flatten().flatten() {
            let dead = home.file_name().to_str().is_some_and(|name| name.starts_with(prefix) && !is_alive(name));
            if !dead {
                continue;
            }
            for group in fs::read_dir(home.path()).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir())
            {
                let group = Group { memory: group.path(), pids: None };
                group.kill();
                drop(group.remove());
            }
            drop(fs::remove_dir(home.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_limits_before_anything_is_in_it() {
        let home = format!("clawrk-test-groups.{}", hex::encode(crate::random::unique()));
        // Only where this process may make groups: the watchdog has tests of its own.
        let Some(groups) = Groups::find(&home) else { return };
        let group = groups.make("one").unwrap();
        let number =
            |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
        let processes = number(group.pids.as_ref().unwrap_or(&group.memory), "pids.max").unwrap();
        let memory = ["memory.max", "memory.limit_in_bytes"].iter().find_map(|name| number(&group.memory, name).ok());
        group.remove().unwrap();
        groups.remove();
        assert_eq!((processes, memory), (limits::TASKS.to_string(), Some(limits::MEMORY.to_string())));
    }
}
