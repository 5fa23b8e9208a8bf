//! The watchdog: what the processes of a command use, read from `/proc` where no control group counts it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::limits;

/// A process, as `/proc/<pid>/stat` has it.
struct Process {
    is_zombie: bool,
    parent: u32,
    threads: u64,
    resident_pages: u64,
}

/// Where the first process of a command sees the file systems in memory.
const IN_MEMORY: [&str; 3] = ["tmp", "box", "dev/shm"];

/// Whether the process and all below it use more memory, or made more files, than a command may.
pub(super) fn is_too_much(first: u32) -> bool {
    memory_below(first) > limits::MEMORY || inodes(first) > limits::INODES
}

/// Bytes of memory of the process and all below it; what they share counts for each.
fn memory_below(first: u32) -> u64 {
    let processes: HashMap<u32, Process> = numbers().filter_map(|pid| Some((pid, read(pid)?))).collect();
    let page = rustix::param::page_size() as u64;
    let is_below = |mut pid: u32| {
        // A tree that changes while it is read has no loops that last; a bound ends them all the same.
        for _ in 0..processes.len() {
            if pid == first {
                return true;
            }
            match processes.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    };
    processes.iter().filter(|(pid, _)| is_below(**pid)).map(|(_, process)| process.resident_pages * page).sum()
}

/// Files and folders in the file systems in memory. Asked about the mounts, which a command cannot change: nothing that
/// it made is opened.
fn inodes(first: u32) -> u64 {
    // At its very beginning a command still has our root, and what is there is not its own.
    let device = |root: &str| fs::metadata(root).ok().map(|root| root.dev());
    if device(&format!("/proc/{first}/root/")) == device("/") {
        return 0;
    }
    IN_MEMORY
        .iter()
        .filter_map(|folder| rustix::fs::statvfs(format!("/proc/{first}/root/{folder}")).ok())
        .map(|system| system.f_files.saturating_sub(system.f_ffree))
        .sum()
}

/// Processes and threads of a user.
pub(super) fn tasks_of(user: u32) -> u64 {
    numbers()
        .filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|folder| folder.uid() == user))
        .filter_map(read)
        .map(|process| process.threads)
        .sum()
}

/// Whether one is the child of another.
pub(super) fn is_child_of(pid: u32, parent: u32) -> bool {
    read(pid).is_some_and(|process| process.parent == parent)
}

/// Whether it still runs; a zombie does not.
pub(super) fn is_alive(pid: u32) -> bool {
    read(pid).is_some_and(|process| !process.is_zombie)
}

fn numbers() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: u32) -> Option<Process> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let after = text.iter().rposition(|&byte| byte == b')')?;
    let text = String::from_utf8_lossy(text.get(after + 2..)?);
    let fields: Vec<&str> = text.split_whitespace().collect();
    Some(Process {
        is_zombie: fields.first() == Some(&"Z"),
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        resident_pages: fields.get(21)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_machine_is_not_a_commands_own() {
        // Where its root is ours, whatever there is of files on the machine.
        assert_eq!(inodes(std::process::id()), 0);
    }
}
