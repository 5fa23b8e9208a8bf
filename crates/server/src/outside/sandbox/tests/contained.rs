//! Commands in containers: what an engine is told, with one that keeps what it heard and plays what it is to answer; and
//! with a real one where there is an image to try it with.

use super::super::bubblewrap::installed;
use super::super::container::Container;
use super::super::engine::{Engine, Kind};
use super::*;

/// Writes down what it is told, and plays `play` for `run`. Its containers are the files `state` and `left-*`.
const ENGINE: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" | head -n 1 >>"$here/calls"
case "$1 $2" in
"--version "*) echo "podman version 4.3.1" ;;
"image inspect") cat "$here/image" || { echo "Error: $5: image not known" >&2; exit 125; } ;;
"container inspect")
    for name in "$@"; do :; done
    case "$name" in
    left-*) cat "$here/$name" ;;
    *) cat "$here/state" 2>/dev/null || { echo "Error: no such container $name" >&2; exit 125; } ;;
    esac ;;
"ps "*) cd "$here" && ls | grep '^left-' ;;
"rm "*) for name in "$@"; do :; done; rm -f "$here/state" "$here/$name" ;;
"run "*)
    for word in "$@"; do printf '%s\0' "$word"; done >"$here/argv"
    env -0 >"$here/env"
    while [ "$1" != the-image ]; do shift; done
    shift
    . "$here/play" ;;
esac
"#;

/// Does what a container does with the command, without confining it.
const RUNS: &str = r#"/bin/sh "$@"; code=$?
echo "{\"Status\":\"exited\",\"ExitCode\":$code,\"OOMKilled\":false,\"StartedAt\":\"2026-11-26T12:00:00Z\"}" >"$here/state"
exit $code"#;

struct Played {
    folder: tempfile::TempDir,
}

impl Played {
    fn new(play: &str) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::write(folder.path().join("podman"), ENGINE).unwrap();
        fs::set_permissions(folder.path().join("podman"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("play"), play).unwrap();
        fs::write(folder.path().join("image"), "{\"Env\":[]}").unwrap();
        Self { folder }
    }

    async fn container(&self, kind: Kind) -> Result<Container, Unsound> {
        Container::with(Engine::at(kind, self.folder.path().join("podman")), "the-image").await
    }

    async fn sandbox(&self) -> Sandbox {
        Sandbox::contained(self.container(Kind::Podman).await.unwrap()).await.unwrap()
    }

    fn told(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }

    fn words(&self, file: &str) -> Vec<String> {
        self.told(file).split_terminator('\0').map(str::to_owned).collect()
    }

    /// What the engine was asked to do with containers, in order.
    fn calls(&self) -> Vec<String> {
        let calls = self.told("calls");
        calls.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}

fn errand<'a>(run: &'a str, env: &[(&str, &str)], timeout: Duration) -> Errand<'a> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Errand { run, timeout, env }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_told_every_limit_and_no_value_of_a_variable() {
    for kind in [Kind::Podman, Kind::Docker] {
        let played = Played::new(RUNS);
        let sandbox = Sandbox::contained(played.container(kind).await.unwrap()).await.unwrap();
        let staging = sandbox.stage().await.unwrap();
        let env = [("DOCKER_HOST", "canary $(id) '\"\\\n--privileged"), ("PATH", "/canary:/usr/bin:/bin")];
        let run = "printf %s \"$DOCKER_HOST\"; echo; echo \"$PATH\" \"$0\"; env | grep -c CLAWRK_; exit 7";
        let mut lines = Vec::new();
        let ended = sandbox.run(&staging, errand(run, &env, LONG), |line| lines.push(line.to_owned())).await.unwrap();
        // The values arrive as they are, under their names.
        assert_eq!(ended, Ended::Exit(7));
        assert_eq!(lines, ["canary $(id) '\"\\", "--privileged", "/canary:/usr/bin:/bin /bin/sh", "0"]);
        let argv = played.words("argv");
        let line = argv.join(" ");
        let home = sandbox.0.home.name();
        for flag in [
            &format!("--label clawrk.sandbox={home}"),
            "--name clawrk-",
            "--network none",
            "--read-only",
            "--cap-drop ALL",
            "--security-opt no-new-privileges",
            "--pids-limit 64",
            "--memory 512m",
            "--memory-swap 512m",
            "--cpus 1",
            "--user 65534:65534",
            "--ipc private",
            "--shm-size 16m",
            "--hostname sandbox",
            "--tmpfs /tmp:rw,exec,size=64m,mode=1777,nosuid,nodev",
            "--tmpfs /box:rw,exec,size=64m,mode=1777,nosuid,nodev",
            "--workdir /box",
            "--ulimit nofile=256:256",
            "--ulimit core=0:0",
            "--ulimit fsize=67108864:67108864",
            "--ulimit cpu=30:30",
            "--log-driver none",
            "--no-healthcheck",
            "--env CLAWRK_VALUE_0",
            "--env CLAWRK_VALUE_1",
            "--pull never",
            "--ulimit nproc=1024:1024",
            "--entrypoint /bin/sh the-image -c",
            &format!("--mount type=bind,source={},target=/submission,readonly", staging.submission().display()),
            &format!("--mount type=bind,source={},target=/attachments,readonly", staging.attachments().display()),
        ] {
            assert!(format!(" {line} ").contains(&format!(" {flag}")), "{flag} is not in {line}");
        }
        let of_podman = ["--read-only-tmpfs=false", "--image-volume ignore", "--env-host=false", "--timeout 60"];
        assert!(of_podman.iter().all(|flag| line.contains(flag) == (kind == Kind::Podman)), "{line}");
        assert_eq!(line.matches("nodev,uid=65534,gid=65534").count(), if kind == Kind::Docker { 2 } else { 0 });
        assert_eq!(argv.last().map(String::as_str), Some(run));
        assert!(!line.contains("canary") && !played.told("calls").contains("canary"), "{line}");
        // The client has three variables of the server's, and names of ours: none that it would listen to.
        let names: Vec<String> =
            played.words("env").iter().map(|variable| variable.split('=').next().unwrap().to_owned()).collect();
        let ours = ["PATH", "HOME", "XDG_RUNTIME_DIR", "CLAWRK_VALUE_0", "CLAWRK_VALUE_1"];
        let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
        assert!(
            names.iter().all(|name| ours.contains(&name.as_str()) || of_the_shell.contains(&name.as_str())),
            "{names:?}"
        );
        assert!(names.contains(&"CLAWRK_VALUE_1".to_owned()) && !played.told("env").contains("PATH=/canary"));
        assert_eq!(played.calls().last().map(String::as_str), Some("rm"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_container_can_be_read_by_its_user_and_reached_by_no_other() {
    let played = Played::new(RUNS);
    let sandbox = played.sandbox().await;
    let staging = sandbox.stage().await.unwrap();
    staging.write_output_text("the answer\n").unwrap();
    staging.add_submission_file("a.csv", &b"1,2"[..]).await.unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(sandbox.0.home.path().to_owned()), 0o700);
    assert_eq!([mode(staging.submission()), mode(staging.submission().join("files"))], [0o755; 2]);
    assert_eq!(
        [mode(staging.submission().join("output.txt")), mode(staging.submission().join("files/a.csv"))],
        [0o444; 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_says_is_no_verdict_and_what_the_command_says_is() {
    let said = |code: i32| format!("echo 'Error: no space left' >&2; exit {code}");
    // What never began, and what has not ended.
    let state = |status: &str, since: &str| {
        let state = format!(r#"{{"Status":"{status}","ExitCode":127,"StartedAt":"{since}"}}"#);
        format!("echo '{state}' >\"$here/state\"; exit 127")
    };
    let (never, once) = ("0001-01-01T00:00:00Z", "2026-11-26T12:00:00Z");
    let states = [state("created", never), state("exited", never), state("running", once)];
    for play in [said(125), said(126), said(127), said(0)].into_iter().chain(states.clone()) {
        let played = Played::new(&play);
        let sandbox = played.sandbox().await;
        let staging = sandbox.stage().await.unwrap();
        let ended = sandbox.run(&staging, errand("true", &[], LONG), |_| ()).await;
        assert!(
            matches!(&ended, Err(SandboxError::NotStarted(why)) if why.contains("no space") || states.contains(&play)),
            "{ended:?}"
        );
    }
    for code in [0, 1, 125, 126, 127, 137] {
        let played = Played::new(RUNS);
        let sandbox = played.sandbox().await;
        let staging = sandbox.stage().await.unwrap();
        let run = format!("exit {code}");
        assert_eq!(sandbox.run(&staging, errand(&run, &[], LONG), |_| ()).await.unwrap(), Ended::Exit(code));
    }
    let killed = RUNS.replace("\\\"OOMKilled\\\":false", "\\\"OOMKilled\\\":true");
    let played = Played::new(&killed);
    let sandbox = played.sandbox().await;
    let staging = sandbox.stage().await.unwrap();
    assert_eq!(sandbox.run(&staging, errand("exit 137", &[], LONG), |_| ()).await.unwrap(), Ended::OutOfMemory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_takes_too_long_or_prints_too_much_is_killed_and_removed() {
    let too_long = "sleep 86394.5 & echo $! >\"$here/pid\"; wait";
    for (play, cut) in [(too_long, Ended::TimedOut), ("yes", Ended::TooMuchOutput)] {
        let played = Played::new(&format!("echo '{{}}' >\"$here/state\"; {play}"));
        let sandbox = played.sandbox().await;
        let staging = sandbox.stage().await.unwrap();
        let timeout = if cut == Ended::TimedOut { Duration::from_millis(500) } else { LONG };
        assert_eq!(sandbox.run(&staging, errand("true", &[], timeout), |_| ()).await.unwrap(), cut);
        let calls = played.calls();
        assert_eq!(calls[calls.len() - 2..], ["kill", "rm"], "{calls:?}");
        assert!(!played.folder.path().join("state").exists());
        let name = played.words("argv")[2].clone();
        assert!(played.told("calls").contains(&format!("rm --force --volumes --time 0 {name}\n")), "{name}");
        end_of(&played);
    }
}

/// What the engine's client started by itself is not the sandbox's.
fn end_of(played: &Played) {
    if let Some(pid) = played.told("pid").trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_nobody_waits_for_is_killed_and_removed_before_the_sandbox_is_gone() {
    let played = Played::new("echo '{}' >\"$here/state\"; echo $$ >\"$here/client\"; exec sleep 86393.5");
    let sandbox = played.sandbox().await;
    let staging = sandbox.stage().await.unwrap();
    let started = async {
        while played.told("client").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = sandbox.run(&staging, errand("true", &[], LONG), |_| ()) => panic!("it does not end by itself"),
        () = started => {}
    }
    drop((staging, sandbox));
    let calls = played.calls();
    assert_eq!(calls[calls.len() - 2..], ["kill", "rm"], "{calls:?}");
    assert!(!played.folder.path().join("state").exists());
    assert!(!watch::is_alive(played.told("client").trim().parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_is_removed_at_the_next_start_and_nothing_else() {
    let played = Played::new(RUNS);
    let living = played.sandbox().await;
    let left = |name: &str, home: &str| fs::write(played.folder.path().join(name), home).unwrap();
    left("left-dead", "clawrk-sandbox.0.that-is-gone\n");
    left("left-living", living.0.home.name());
    left("left-strange", "of somebody else\n");
    let next = played.sandbox().await;
    let there = |name: &str| played.folder.path().join(name).exists();
    assert_eq!([there("left-dead"), there("left-living"), there("left-strange")], [false, true, true]);
    drop((living, next));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_missing_or_writes_to_the_disk_is_refused_with_a_word_on_what_to_do() {
    let played = Played::new(RUNS);
    let refused = async || played.container(Kind::Podman).await.unwrap_err().to_string();
    fs::write(played.folder.path().join("image"), "{\"Volumes\":{\"/data\":{}}}").unwrap();
    assert!(refused().await.contains("has volumes"), "{}", refused().await);
    fs::remove_file(played.folder.path().join("image")).unwrap();
    assert!(refused().await.contains("`podman pull the-image`"), "{}", refused().await);
    fs::write(played.folder.path().join("podman"), "#!/bin/sh\necho 'Cannot connect to the daemon' >&2; exit 1")
        .unwrap();
    assert!(refused().await.contains("Cannot connect to the daemon"), "{}", refused().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_confines_little_is_found_out() {
    if is_missing() {
        return;
    }
    let little =
        "bwrap --unshare-pid --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs /var/tmp --chdir /var/tmp";
    let played = Played::new(&RUNS.replace("/bin/sh \"$@\"", &format!("{little} /bin/sh \"$@\"")));
    let sandbox = played.sandbox().await;
    let rows = probe::rows(&sandbox).await.unwrap();
    let open: Vec<&str> = rows.iter().filter(|row| row.outcome != Outcome::Held).map(|row| row.name.as_str()).collect();
    for name in ["read a file of the server", "read /etc/passwd", "use the server's network", "call all of the kernel"]
    {
        assert!(open.contains(&name), "{name} is not in {open:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_a_shell_would_not_set_are_refused_before_anything_runs() {
    let played = Played::new(RUNS);
    let sandbox = played.sandbox().await;
    let staging = sandbox.stage().await.unwrap();
    for name in ["UID", "CLAWRK_VALUE_0", "A;id", "1A"] {
        let ended = sandbox.run(&staging, errand("true", &[(name, "1")], LONG), |_| ()).await;
        assert!(matches!(ended, Err(SandboxError::Kept(_))), "{name}: {ended:?}");
    }
    assert_eq!(played.told("argv"), "");
}

/// A sandbox of the image that the test command names, and of the engine if it names one.
#[expect(clippy::disallowed_methods, reason = "what the test command says")]
async fn real() -> Option<Sandbox> {
    let image = std::env::var("CLAWRK_TEST_SANDBOX_IMAGE").ok()?;
    let container = match std::env::var("CLAWRK_TEST_SANDBOX_ENGINE").as_deref() {
        Ok("docker") => Container::with(Engine::at(Kind::Docker, installed("docker").unwrap()), &image).await,
        _ => Container::find(&image).await,
    };
    Some(Sandbox::contained(container.unwrap()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_sandbox_promises_holds_in_a_real_container() {
    let Some(sandbox) = real().await else { return };
    let begun = std::time::Instant::now();
    let rows = probe::rows(&sandbox).await.unwrap();
    println!("{}: the proof took {:?}", sandbox.describe(), begun.elapsed());
    let open: Vec<_> = rows.iter().filter(|row| row.outcome != Outcome::Held).map(|row| &row.name).collect();
    let Backend::Container(container) = &sandbox.0.backend else { panic!("it is made of containers") };
    assert!(open.is_empty() && rows.len() == 34 - container.waived().len(), "{open:?} of {}", rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_container_runs_a_command_on_what_is_staged_and_leaves_nothing() {
    let Some(sandbox) = real().await else { return };
    let staging = sandbox.stage().await.unwrap();
    staging.write_output_text("the answer\n").unwrap();
    staging.add_submission_file("a b.csv", &b"1,2"[..]).await.unwrap();
    staging.add_attachment("spec.txt", &b"spec"[..]).await.unwrap();
    let run = "cat /submission/output.txt; cat '/submission/files/a b.csv' /attachments/spec.txt; echo; pwd; ls -A; touch left; \
               id -u; echo \"$LD_PRELOAD\" | wc -c; exit 125";
    let mut times = Vec::new();
    for _ in 0..20 {
        let (mut lines, begun) = (Vec::new(), std::time::Instant::now());
        let env = [("LD_PRELOAD", "")];
        let ended = sandbox.run(&staging, errand(run, &env, LONG), |line| lines.push(line.to_owned())).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!((ended, lines.join("|").as_str()), (Ended::Exit(125), "the answer|1,2spec|/box|65534|1"));
    }
    times.sort();
    println!("{}: median {:?}, p95 {:?}", sandbox.describe(), times[9], times[18]);
    assert_eq!(ran(&sandbox, "not-a-program").await.0, Ended::Exit(127));
    let memory =
        "for i in 1 2 3 4 5 6; do (head -c 200m /dev/zero; sleep 20) | tail -n 1 | wc -c & done; wait; echo all";
    let (ended, lines) = ran(&sandbox, memory).await;
    assert_eq!((ended, lines.iter().any(|line| line == "all")), (Ended::OutOfMemory, false));
    let seconds = rare();
    let run = format!("setsid sleep {seconds} & sleep {seconds}");
    let waits = errand(&run, &[], Duration::from_secs(2));
    assert_eq!(sandbox.run(&staging, waits, |_| ()).await.unwrap(), Ended::TimedOut);
    let left = Command::new("pgrep").args(["-fx", &format!("sleep {seconds}")]).output().unwrap();
    assert!(!left.status.success() && left.stdout.is_empty());
}
