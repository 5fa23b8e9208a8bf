//! Calls of the kernel that a shell cannot make: tried by a program in C.

use super::*;

/// Each call with whether it went through; what is not there at all counts as held.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
static void tell(const char *name, long result) {
    int held = result < 0 && (errno == EPERM || errno == ENOSYS || errno == EAFNOSUPPORT);
    printf("%s %s\n", held ? "held" : "open", name);
    fflush(stdout);
}
static void child(const char *name, long result) {
    if (result == 0) _exit(0);
    int kept = errno;
    if (result > 0) waitpid(result, 0, 0);
    errno = kept;
    tell(name, result);
}
int main(void) {
    char a[64] = "x", b[64];
    struct iovec from = { a, 1 }, to = { b, 1 };
    tell("vsock", socket(40, SOCK_STREAM, 0));
    tell("netlink", socket(16, SOCK_RAW, 0));
    tell("packet", socket(17, SOCK_RAW, 0));
    tell("alg", socket(38, 5, 0));
    tell("userfaultfd", syscall(SYS_userfaultfd, 1));
    tell("io_uring", syscall(SYS_io_uring_setup, 1, a));
    tell("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    tell("add_key", syscall(SYS_add_key, "user", "clawrk", "x", 1, -1));
    tell("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0));
    tell("personality", syscall(SYS_personality, 0xffffffff));
    tell("shmget", syscall(SYS_shmget, 0, 4096, 0600));
    tell("msgget", syscall(SYS_msgget, 0, 0600));
    tell("semget", syscall(SYS_semget, 0, 1, 0600));
    tell("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", a, b, 0));
    tell("bpf", syscall(SYS_bpf, 0, a, 0));
    tell("perf_event_open", syscall(SYS_perf_event_open, a, 0, -1, -1, 0));
    tell("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 0));
    tell("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0));
    tell("mount", syscall(SYS_mount, "none", "/clawrk-no-such-place", "tmpfs", 0, 0));
    tell("chroot", chroot("/"));
    child("fork into a user namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    struct { unsigned long long flags, pidfd, ctid, ptid, exit, stack, size, tls; } three = { .exit = SIGCHLD };
    child("clone3", syscall(SYS_clone3, &three, sizeof three));
    memset(a, 0, sizeof a);
    errno = 0;
    tell("type into a terminal", ioctl(0, TIOCSTI, a) < 0 && errno != EPERM ? 0 : -1);
    tell("futex_waitv", syscall(463, -1, a, 0, 0, 0, 0));
    pid_t pid = fork();
    if (pid == 0) { pause(); _exit(0); }
    tell("ptrace", syscall(SYS_ptrace, 16, pid, 0, 0));
    kill(pid, SIGKILL);
    tell("unshare", unshare(CLONE_NEWUSER));
    return 0;
}
"#;

/// What a kernel may be built without, or keep to itself.
const MAY_BE_HELD_OUTSIDE: [&str; 6] = ["vsock", "alg", "userfaultfd", "io_uring", "futex_waitv", "bpf"];

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_check_does_not_need_are_refused_and_work_outside() {
    if is_missing() {
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (source, program) = (folder.path().join("calls.c"), folder.path().join("calls"));
    fs::write(&source, PROGRAM).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap().success());
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    staging.add_submission_file("calls", &fs::read(&program).unwrap()[..]).await.unwrap();
    let run = "cp /submission/files/calls . && chmod 700 calls && ./calls";
    let (ended, inside) = ran_on(&sandbox, &staging, run, &[]).await;
    assert_eq!(ended, Ended::Exit(0), "{inside:?}");
    assert!(inside.len() == 26 && inside.iter().all(|line| line.starts_with("held ")), "{inside:#?}");
    if is_root() {
        let output = Command::new(&program).stdin(std::process::Stdio::null()).output().unwrap();
        let outside = String::from_utf8(output.stdout).unwrap();
        let held: Vec<&str> = outside
            .lines()
            .filter_map(|line| line.strip_prefix("held "))
            .filter(|name| !MAY_BE_HELD_OUTSIDE.contains(name))
            .collect();
        assert_eq!(held, Vec::<&str>::new(), "{outside}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_32_bit_call_ends_the_program() {
    if is_missing() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (source, program) = (folder.path().join("old.c"), folder.path().join("old"));
    fs::write(
        &source,
        "int main(void) { int r; __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20)); return r <= 0; }",
    )
    .unwrap();
    assert!(Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap().success());
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    staging.add_submission_file("old", &fs::read(&program).unwrap()[..]).await.unwrap();
    let (ended, _) = ran_on(&sandbox, &staging, "cp /submission/files/old . && chmod 700 old && ./old", &[]).await;
    assert_eq!(ended, Ended::Exit(128 + 31), "SIGSYS");
}
