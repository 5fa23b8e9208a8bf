//! How commands are ended, and that nothing of them is left.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::*;

/// Processes of the machine with this argument.
fn with_argument(argument: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.split(|&byte| byte == 0).any(|word| word == argument.as_bytes())).count()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_in_one_process_and_in_six() {
    if is_missing() {
        return;
    }
    for sandbox in [made(), watched()] {
        let one = "head -c 900m /dev/zero | tail | wc -c";
        let (ended, lines) = ran(&sandbox, one).await;
        assert!(ended == Ended::OutOfMemory || lines.last().is_some_and(|count| count == "0"), "{ended:?} {lines:?}");
        let six =
            "for i in 1 2 3 4 5 6; do (head -c 200m /dev/zero; sleep 20) | tail -n 1 | wc -c & done; wait; echo all";
        let (ended, lines) = ran(&sandbox, six).await;
        assert_eq!((ended, lines.iter().any(|line| line == "all")), (Ended::OutOfMemory, false));
        // What fits does fit.
        assert_eq!(ran(&sandbox, "head -c 100m /dev/zero | tail | wc -c").await.1, ["104857600"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_and_an_archive_that_swells_are_stopped() {
    if is_missing() {
        return;
    }
    let (ended, _) = ran(&made(), "head -c 300m /dev/zero | gzip -1 > bomb.gz && gzip -dc bomb.gz > swollen").await;
    assert!(matches!(ended, Ended::Exit(code) if code != 0), "{ended:?}");
    let many = "i=0; while [ $i -lt 60000 ]; do : > /tmp/$i; i=$((i+1)); done; sleep 1; echo all";
    assert_eq!(ran(&watched(), many).await, (Ended::OutOfMemory, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_ends_and_the_next_command_starts() {
    if is_missing() {
        return;
    }
    for sandbox in [made(), watched()] {
        let staging = sandbox.stage().await.unwrap();
        let bomb =
            Errand { run: "f() { f | f & }; f; sleep 20", timeout: Duration::from_secs(2), env: BTreeMap::new() };
        sandbox.run(&staging, bomb, |_| ()).await.unwrap();
        assert_eq!(ran_on(&sandbox, &staging, "echo well", &[]).await.1, ["well"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_and_a_long_wait_ended_with_all_that_was_started() {
    if is_missing() {
        return;
    }
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    let (ended, lines) = ran_on(&sandbox, &staging, "yes", &[]).await;
    assert_eq!((ended, lines.len()), (Ended::TooMuchOutput, limits::OUTPUT / 2));
    let seconds = rare();
    let run = &format!("setsid sleep {seconds} & sleep {seconds}");
    let begun = std::time::Instant::now();
    let errand = Errand { run, timeout: Duration::from_millis(700), env: BTreeMap::new() };
    assert_eq!(sandbox.run(&staging, errand, |_| ()).await.unwrap(), Ended::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(with_argument(&seconds), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_is_killed_and_its_group_removed() {
    if is_missing() {
        return;
    }
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    let seconds = rare();
    let run = &format!("setsid sleep {seconds} & sleep {seconds}");
    let errand = Errand { run, timeout: Duration::from_secs(60), env: BTreeMap::new() };
    tokio::select! {
        _ = sandbox.run(&staging, errand, |_| ()) => panic!("it does not end by itself"),
        () = until("it runs", || with_argument(&seconds) >= 2) => {}
    }
    until("it is gone", || with_argument(&seconds) == 0).await;
    let Backend::Bubblewrap(confined) = &sandbox.0.backend else { panic!("it is made of bubblewrap") };
    if let Some(Groups::V1 { memory, .. } | Groups::V2(memory)) = &confined.groups {
        let folders = || fs::read_dir(memory).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
        until("its group is removed", || folders() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the next test"]
async fn waits_in_the_sandbox() {
    let sandbox = made();
    let staging = sandbox.stage().await.unwrap();
    let seconds = rare();
    println!("home {}\nseconds {seconds}", sandbox.0.home.path().display());
    let run = &format!("setsid sleep {seconds} & echo ready; sleep {seconds}");
    let errand = Errand { run, timeout: Duration::from_secs(60), env: BTreeMap::new() };
    sandbox.run(&staging, errand, |line| println!("{line}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_leaves_no_process_and_the_next_one_clears_away() {
    if is_missing() {
        return;
    }
    // Beside its groups are those of all servers.
    let beside = made();
    let groups = |home: &std::path::Path| {
        let name = home.file_name().unwrap().to_owned();
        let Backend::Bubblewrap(confined) = &beside.0.backend else { panic!("it is made of bubblewrap") };
        let folders = match &confined.groups {
            Some(Groups::V1 { memory, pids }) => vec![memory, pids],
            Some(Groups::V2(folder)) => vec![folder],
            None => Vec::new(),
        };
        folders.iter().map(|folder| folder.with_file_name(&name).exists()).collect::<Vec<_>>()
    };
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "outside::sandbox::tests::ends::waits_in_the_sandbox"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut home, mut seconds) = (PathBuf::new(), String::new());
    for line in BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some((_, path)) = line.split_once("home ") {
            home = path.into();
        }
        if let Some((_, told)) = line.split_once("seconds ") {
            told.clone_into(&mut seconds);
        }
        if line.contains("ready") {
            break;
        }
    }
    until("both wait", || with_argument(&seconds) >= 2).await;
    server.kill().unwrap();
    server.wait().unwrap();
    until("nothing is left", || with_argument(&seconds) == 0).await;
    assert!(home.join("lock").exists(), "the control: a killed server leaves its folder");
    assert!(groups(&home).iter().all(|&exists| exists), "the control: and its groups");
    let next = made();
    assert!(!home.exists());
    assert!(!groups(&home).contains(&true), "{:?}", groups(&home));
    drop(next);
}
