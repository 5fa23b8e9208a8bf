//! What one command may use up. One place, because flags, limits of processes, cgroups and the watchdog must agree.

use std::time::Duration;

/// Memory of all processes together, files in memory among it, in bytes.
pub(super) const MEMORY: u64 = 512 << 20;

/// Address space of one process where no cgroup counts memory, in bytes.
pub(super) const ADDRESS_SPACE: u64 = 1 << 30;

/// Processes and threads together.
pub(super) const TASKS: u64 = 64;

/// The largest file, and what fits into each of `/tmp` and the working folder, in bytes.
pub(super) const DISK: u64 = 64 << 20;

/// What fits into `/dev/shm`, in bytes.
pub(super) const SHARED: u64 = 16 << 20;

/// Files and folders in `/tmp`, the working folder and `/dev/shm` together, where no cgroup counts what each costs.
pub(super) const INODES: u64 = 50_000;

/// Standard output and standard error together, in bytes.
pub(super) const OUTPUT: usize = 1 << 20;

/// So much is kept of what a command says that does not start, in bytes.
pub(super) const SAID: usize = 8 << 10;

/// The command and its variables together, in bytes.
pub(super) const ERRAND: usize = 60 << 10;

/// How often the watchdog looks, where no cgroup counts memory.
pub(super) const WATCH: Duration = Duration::from_millis(100);

/// Commands at once at least, however few cores there are, and where no cgroup keeps one from taking another's memory: a
/// sender has two of them at most and what is verified outside of jobs has one, so that there is one for somebody else.
pub(super) const LEAST_SLOTS: usize = 4;

/// Commands at once at most.
pub(super) const SLOTS: usize = 8;

/// Seconds of computing one process may do: half of the wall clock, and never less than half a minute.
pub(super) fn cpu_seconds(timeout: Duration) -> u64 {
    (timeout.as_secs() / 2).max(30)
}
