//! The sandbox, for real: as whoever runs the tests, and as an ordinary user when that is root. What is tried inside is
//! tried outside too, where it must work: a trial that always fails proves nothing.

mod calls;
mod contained;
mod ends;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};

use super::*;
use crate::random;

/// Skips where the machine has no sandbox for anybody, and says so; not if the test command says that nothing is skipped.
fn is_missing() -> bool {
    #[expect(clippy::disallowed_methods, reason = "what the test command says")]
    let is_required = std::env::var_os("REQUIRE_SANDBOX").is_some();
    let why = if matches!(Bubblewrap::find(), Err(Unsound::Missing { .. })) {
        "bubblewrap is not installed"
    } else if !may_make_namespaces() {
        "this kernel gives ordinary users no namespaces"
    } else {
        return false;
    };
    assert!(!is_required, "{why}, and REQUIRE_SANDBOX is set");
    println!("SKIPPED: {why}");
    true
}

/// Whether an ordinary user may make a user namespace here.
fn may_make_namespaces() -> bool {
    let way = if is_root() { &NOBODY[..] } else { &[] };
    let words = [way, &["unshare", "--user", "true"]].concat();
    Command::new(words[0]).args(&words[1..]).status().is_ok_and(|status| status.success())
}

/// How long something sleeps that is looked for in the list of processes: nobody else on this machine, so long.
fn rare() -> String {
    format!("86395.{}", u128::from_le_bytes(random::bytes()))
}

/// A sandbox that is not proved sound, with memory by control groups where there are any.
fn made() -> Sandbox {
    Sandbox::make(&SandboxSetting::Auto, true).unwrap()
}

/// One whose memory is watched.
fn watched() -> Sandbox {
    Sandbox::make(&SandboxSetting::Auto, false).unwrap()
}

async fn ran(sandbox: &Sandbox, run: &str) -> (Ended, Vec<String>) {
    let staging = sandbox.stage().await.unwrap();
    staging.write_output_text("the answer\n").unwrap();
    ran_on(sandbox, &staging, run, &[]).await
}

async fn ran_on(sandbox: &Sandbox, staging: &Staging, run: &str, env: &[(&str, &str)]) -> (Ended, Vec<String>) {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut lines = Vec::new();
    let errand = Errand { run, timeout: Duration::from_secs(30), env };
    let ended = sandbox.run(staging, errand, |line| lines.push(line.to_owned())).await.unwrap();
    (ended, lines)
}

/// This binary where everybody can start it.
fn binary(folder: &tempfile::TempDir) -> PathBuf {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// Runs one of the parts below by way of other programs; what it printed.
fn by_way_of(way: &[&str], part: &str) -> String {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let binary = binary(&folder);
    let (program, arguments) = way.split_first().unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(&binary)
        .args(["--include-ignored", "--nocapture", "--exact", part])
        .current_dir("/tmp");
    let Output { stdout, stderr, .. } = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

const OPENS: &str = "outside::sandbox::tests::opens";
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of other tests"]
async fn opens() {
    match Sandbox::open(&SandboxSetting::Auto).await {
        Ok(sandbox) => println!("opened: {}", sandbox.describe()),
        Err(error) => println!("refused: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_sandbox_promises_holds_with_groups_and_with_the_watchdog() {
    if is_missing() {
        return;
    }
    for sandbox in [made(), watched()] {
        let rows = probe::rows(&sandbox).await.unwrap();
        let open: Vec<_> = rows.iter().filter(|row| row.outcome != Outcome::Held).map(|row| &row.name).collect();
        assert!(open.is_empty() && rows.len() == 34, "{}: {open:?} of {}", sandbox.describe(), rows.len());
    }
}

#[test]
fn an_ordinary_user_has_a_sound_sandbox_and_root_never_runs_a_command_as_root() {
    if is_missing() || !is_root() {
        return;
    }
    // A server may be started with a file open that it knows nothing of.
    let with_a_file = ["sh", "-c", "exec 9</etc/passwd; exec \"$@\"", "sh"];
    let told = by_way_of(&[&with_a_file[..], &NOBODY].concat(), OPENS);
    assert!(told.contains("opened: bubblewrap") && told.contains("watchdog"), "{told}");
}

/// What is proved by a test of its own as whoever runs the tests.
const AS_AN_ORDINARY_USER_TOO: [&str; 10] = [
    "a_command_runs_on_what_is_staged_and_its_code_and_lines_come_back",
    "variables_reach_the_command_whatever_they_hold_and_nobody_else",
    "calls::calls_that_a_check_does_not_need_are_refused_and_work_outside",
    "calls::a_32_bit_call_ends_the_program",
    "ends::memory_is_bounded_in_one_process_and_in_six",
    "ends::many_files_and_an_archive_that_swells_are_stopped",
    "ends::a_fork_bomb_ends_and_the_next_command_starts",
    "ends::a_flood_is_cut_and_a_long_wait_ended_with_all_that_was_started",
    "ends::a_command_that_nobody_waits_for_is_killed_and_its_group_removed",
    "ends::a_server_that_is_killed_leaves_no_process_and_the_next_one_clears_away",
];

#[test]
fn the_commands_of_an_ordinary_user_are_kept_in_and_ended_like_those_of_root() {
    if is_missing() || !is_root() {
        return;
    }
    for part in AS_AN_ORDINARY_USER_TOO {
        // It does not skip what it cannot run.
        let way = [&["env", "REQUIRE_SANDBOX=1"], &NOBODY[..]].concat();
        let told = by_way_of(&way, &format!("outside::sandbox::tests::{part}"));
        assert!(told.contains("1 passed; 0 failed"), "{part}: {told}");
    }
}

#[test]
fn sandboxes_of_one_ordinary_user_have_processes_of_their_own() {
    if is_missing() || !is_root() {
        return;
    }
    let told = by_way_of(&NOBODY, "outside::sandbox::tests::starts_beside_a_bomb");
    assert!(told.contains("1 passed; 0 failed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test before"]
async fn starts_beside_a_bomb() {
    let (one, other) = (watched(), watched());
    let seconds = rare();
    let staging = one.stage().await.unwrap();
    // Started first, so that nothing of the bomb is counted for it yet.
    let work = "echo ready; until [ -e go ]; do [ $((i=i+1)) -lt 40 ] || : >go; sleep 0.1; done; \
                for i in $(seq 40); do sleep 2 & done; wait; echo well";
    let bomb = format!("i=0; while [ $i -lt 60 ]; do sleep {seconds} & i=$((i+1)); done; wait");
    let bombed = other.stage().await.unwrap();
    let errand = Errand { run: &bomb, timeout: Duration::from_secs(60), env: BTreeMap::new() };
    tokio::select! {
        ended = other.run(&bombed, errand, |_| ()) => panic!("it does not end by itself: {ended:?}"),
        (ended, lines) = ran_on(&one, &staging, work, &[]) => {
            assert_eq!((ended, lines.join("|").as_str()), (Ended::Exit(0), "ready|well"));
        }
    }
}

#[test]
fn too_many_processes_are_no_hole_and_it_says_what_to_do() {
    if is_missing() || !is_root() {
        return;
    }
    let mut crowded = 0;
    // A user that nobody is, with fewer processes than it takes, down to too few for the server itself.
    for most in 4..12 {
        let limit = format!("--nproc={most}");
        let way = ["prlimit", &limit, "setpriv", "--reuid=64999", "--regid=64999", "--clear-groups"];
        let told = by_way_of(&way, OPENS);
        assert!(!told.contains("opened:") && !told.contains("does not hold"), "{most}: {told}");
        crowded += usize::from(told.contains("refused: there are too many processes") && told.contains("ulimit -u"));
    }
    assert!(crowded > 0, "none of them came so far");
}

#[test]
fn where_it_is_not_sound_it_is_refused_with_a_word_on_what_to_do() {
    if is_missing() || !is_root() {
        return;
    }
    let nested = ["bwrap", "--ro-bind", "/", "/", "--bind", "/tmp", "/tmp", "--dev", "/dev", "--proc", "/proc"];
    let no_namespaces = [&NOBODY[..], &nested, &["--unshare-user", "--disable-userns", "--"]].concat();
    let told = by_way_of(&no_namespaces, OPENS);
    assert!(
        told.contains("refused: bubblewrap cannot start a command here (") && told.contains("user namespaces"),
        "{told}"
    );
    let no_bubblewrap = [&nested[..], &["--ro-bind", "/dev/null", "/usr/bin/bwrap", "--"]].concat();
    let told = by_way_of(&no_bubblewrap, OPENS);
    assert!(told.contains("refused: bwrap is not installed: install the package bubblewrap"), "{told}");
    let told = by_way_of(&["unshare", "--user", "--map-root-user"], OPENS);
    // Which user it is depends on what else runs on this machine.
    let refused = "refused: the sandbox cannot be made: the server is root, and cannot give files to user 60";
    assert!(told.contains(refused), "{told}");
}

#[tokio::test]
async fn turned_off_it_runs_nothing() {
    assert!(matches!(Sandbox::open(&SandboxSetting::Off).await, Err(Unsound::Off)));
}

#[test]
fn outside_of_the_sandbox_the_trials_are_not_held() {
    if is_missing() || !is_root() {
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "canary").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = |way: &[&str]| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["/bin/sh", "-c", include_str!("probe.sh")]).current_dir(folder.path());
        command.env("SECRET", &secret).env("PORT", listener.local_addr().unwrap().port().to_string());
        for name in ["pid", "net", "ipc", "mnt", "user", "uts"] {
            command.env(format!("NS_{}", name.to_uppercase()), fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    // With a file open that was not meant for it.
    let with_a_file = ["sh", "-c", "exec 9<\"$SECRET\"; exec \"$@\"", "sh"];
    let mut told = outside(&[&with_a_file[..], &NOBODY].concat());
    // Weaker than what is used: the root can be written, and the server's variables are not taken away.
    let weaker = "bwrap --unshare-user --unshare-pid --bind FOLDER /usr/local --ro-bind /usr/bin /usr/bin --ro-bind /usr/lib /usr/lib \
                  --ro-bind-try /usr/lib64 /usr/lib64 --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 \
                  /lib64 --dir /etc --dir /submission --proc /proc --dev /dev --tmpfs /tmp --chdir /tmp"
        .replace("FOLDER", folder.path().to_str().unwrap());
    told += &outside(&weaker.split_whitespace().collect::<Vec<_>>());
    let never_open: Vec<&str> = include_str!("probe.sh")
        .lines()
        .filter_map(|line| line.strip_prefix("try \"")?.split('"').next())
        .filter(|name| !told.contains(&format!("open {name}\n")))
        .collect();
    assert_eq!(never_open, Vec::<&str>::new(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_on_what_is_staged_and_its_code_and_lines_come_back() {
    if is_missing() {
        return;
    }
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    staging.write_output_text("the answer\n").unwrap();
    assert_eq!(staging.add_submission_file("a b.csv", &b"1,2"[..]).await.unwrap(), "a b.csv");
    assert_eq!(staging.add_submission_file("a b.csv", &b"3,4"[..]).await.unwrap(), "a b-2.csv");
    staging.add_attachment("spec.txt", &b"spec"[..]).await.unwrap();
    for name in ["", "..", "a/b"] {
        assert!(matches!(staging.add_attachment(name, &b""[..]).await, Err(SandboxError::FileName(_))), "{name:?}");
    }
    let run = "cat /submission/output.txt; cat '/submission/files/a b.csv' '/submission/files/a b-2.csv' /attachments/spec.txt; \
               echo; pwd; ls -A; touch left; id -u; exit 7";
    for _ in 0..2 {
        let (ended, lines) = ran_on(&sandbox, &staging, run, &[]).await;
        // The working folder is empty each time.
        assert_eq!((ended, lines.join("|").as_str()), (Ended::Exit(7), "the answer|1,23,4spec|/box|65534"));
    }
    assert_eq!(ran(&sandbox, "kill -9 $$").await.0, Ended::Exit(137));
    assert_eq!(ran(&sandbox, "not-a-program").await.0, Ended::Exit(127));
    let uid = fs::metadata(staging.attachments()).unwrap().uid();
    assert!(uid != 0 && fs::metadata(staging.attachments()).unwrap().mode() & 0o077 == 0);
    let (folder, home) = (staging.submission(), sandbox.0.home.path().to_owned());
    drop(staging);
    assert!(!folder.exists() && home.exists());
    drop(sandbox);
    assert!(!home.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_the_command_whatever_they_hold_and_nobody_else() {
    if is_missing() {
        return;
    }
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    let value = "canary-of-the-job $(id) `id` '\"\\\n--unshare-all é\u{1b}";
    let run = "printf %s \"$SECRET\" | wc -c; printf %s \"$SECRET\" | head -n 1; sleep 0.5; env | grep -c ^CLAWRK";
    let mut argv = Vec::new();
    let env = BTreeMap::from([("SECRET".to_owned(), value.to_owned())]);
    let mut lines = Vec::new();
    let look = |line: &str| {
        lines.push(line.to_owned());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        argv.extend(entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).flatten());
    };
    sandbox.run(&staging, Errand { run, timeout: Duration::from_secs(30), env }, look).await.unwrap();
    assert_eq!(lines, [value.len().to_string().as_str(), "canary-of-the-job $(id) `id` '\"\\", "0"]);
    let seen = String::from_utf8_lossy(&argv).into_owned();
    assert!(seen.contains("bwrap") && seen.contains("sleep 0.5"), "the control: the command itself is seen");
    assert!(!seen.contains("canary-of-the-job"));
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "\0")] {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(
            sandbox.run(&staging, Errand { run: "true", timeout: Duration::from_secs(1), env }, |_| ()).await.is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_steers_nothing_that_confines_the_command() {
    if is_missing() {
        return;
    }
    for sandbox in [made(), watched()] {
        let staging = sandbox.stage().await.unwrap();
        // The loader of whatever is started with these tells so.
        let env =
            [("LD_DEBUG", "files"), ("LD_DEBUG_OUTPUT", "/tmp/loaded"), ("PATH", "/nowhere"), ("ENV", "/nowhere")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let run = "for file in /tmp/loaded.*; do while read -r line; do case $line in \
                   *'initialize program'*) echo \"$line\" ;; esac; done < $file; done";
        let mut lines = Vec::new();
        let errand = Errand { run, timeout: Duration::from_secs(20), env };
        let ended = sandbox.run(&staging, errand, |line| lines.push(line.to_owned())).await.unwrap();
        assert!(matches!(ended, Ended::Exit(_)), "{ended:?} {lines:?}");
        assert!(lines.iter().any(|line| line.contains("/bin/sh")), "the control: the command has them, {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("prlimit")), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_long_a_start_takes() {
    for sandbox in [made(), watched()] {
        let staging = sandbox.stage().await.unwrap();
        let mut times = Vec::new();
        for _ in 0..50 {
            let begun = std::time::Instant::now();
            assert_eq!(ran_on(&sandbox, &staging, "true", &[]).await.0, Ended::Exit(0));
            times.push(begun.elapsed());
        }
        times.sort();
        println!("{}: median {:?}, p95 {:?}", sandbox.describe(), times[24], times[47]);
        let begun = std::time::Instant::now();
        probe::rows(&sandbox).await.unwrap();
        println!("the proof: {:?}", begun.elapsed());
    }
}
