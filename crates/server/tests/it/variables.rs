//! A job's variables while it is verified: they are with the command that asks for them, and nowhere else.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use clawrk_server::app::Outside;
use clawrk_server::config::Provider;
use clawrk_server::tasks::verifying;
use clawrk_server::telemetry::LogFormat;
use clawrk_server::verify::Judge;
use http_body_util::BodyExt;
use serde_json::json;

use crate::fake_llm::FakeLlm;
use crate::judging::{WORK, again, honest};
use crate::log::captured;
use crate::secrets::tells_none;
use crate::support::{TestApp, background, unhurried};
use crate::verify::whole;
use crate::visits::{sandbox, until, with_argument};

const TOKEN: &str = "canary/s3cr\u{e9}t+value=1";
const PEM: &str = "-----BEGIN CANARY KEY-----\ncanary+first/line0123456789AB\ncanary \"second\" line, short\n\n\
                   canary-the-last-one==\n-----END CANARY KEY-----\n";

/// What is nowhere to be read: both values, and each line of the long one that could be printed by itself.
fn canaries() -> Vec<(&'static str, &'static str)> {
    let lines = PEM.lines().filter(|line| line.len() > 12).map(|line| ("line of a value", line));
    [("value", TOKEN), ("value of several lines", PEM)].into_iter().chain(lines).collect()
}

/// Waits to be woken, and then tells its variables in all the ways that programs have.
const TELLS: &str = "test -n \"$TOKEN\" && test \"$(printf %s \"$PEM\" | wc -l)\" = 6 || exit 9\n\
    sleep 86405.25\n\
    echo \"it is $TOKEN\"; echo \"$TOKEN\" >&2; echo \"$PEM\"; env; set\n\
    for value in \"$TOKEN\" \"$PEM\"; do\n\
        printf %s \"$value\" | base64; printf %s \"$value\" | base64 -w 0; echo\n\
        printf %s \"$value\" | od -An -v -tx1 | tr -d ' \\n'; echo\n\
    done\n\
    printf '%s\\n' \"$PEM\" | while read -r line; do\n\
        printf %s \"$line\" | base64 -w 0; echo; printf %s \"$line\" | od -An -v -tx1 | tr -d ' \\n'; echo\n\
    done\n\
    echo \"last of all: $TOKEN\"; exit 3";

/// Looks through the list of all processes: the values are in the environment of sandboxed ones alone.
fn are_in_no_list_of_processes() {
    let namespace = |id: &str| std::fs::read_link(format!("/proc/{id}/ns/pid")).ok();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut having = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let read = |what: &str| {
            let bytes = std::fs::read(entry.path().join(what)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        tells_none("a list of processes", &read("cmdline"), &canaries());
        let environment = read("environ");
        if !["canary/s3cr", "canary-the-last"].iter().any(|part| environment.contains(part)) {
            continue;
        }
        assert!(environment.contains(TOKEN) && environment.contains(PEM), "they arrive as they are: {environment}");
        assert_ne!(namespace(id), namespace("self"), "{}", read("cmdline"));
        let file = std::fs::metadata(entry.path().join("environ")).unwrap();
        assert_eq!(file.mode() & 0o077, 0, "nobody but its user reads it");
        assert!(!is_root || file.uid() != 0, "it is no command's: {}", read("cmdline"));
        having += 1;
    }
    assert!(having > 0, "the control: a command has them, and this looks where they are");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_variables_are_nowhere_but_with_its_command() {
    let Some(commands) = sandbox().await else { return };
    let log = captured();
    let fake = FakeLlm::start(Provider::OpenAi).await;
    honest(&fake, true);
    let judge = Judge::new(fake.llm(), None);
    let app = TestApp::using(Outside { judge: Some(judge), commands, ..Outside::default() }, unhurried()).await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let variables = json!({"TOKEN": TOKEN, "PEM": PEM});
    let body = json!({"prompt": "Say it", "title": "Say it", "price_cents": 500, "time_limit_seconds": 600,
        "criteria": ["it counts"], "envVars": variables, "confirmed": true,
        "checks": [{"type": "command", "run": "test -z \"$TOKEN$PEM\""}, {"type": "command", "run": TELLS, "env": true}]});
    let job = ada.post("/api/jobs/run", body.clone()).await.expect(201)["id"].as_str().unwrap().to_owned();
    again(&bob, &job, WORK).await;
    let verifier = app.app.clone();
    let looking = background(async move { verifying::settle(&verifier).await.unwrap() });
    wakes_what_tells().await;
    assert_eq!(looking.await.unwrap(), 1);
    let path = format!("/api/jobs/{job}/logs");
    let mut told = vec![whole(&ada, "GET", &path, None, &[]).await];
    assert!(told[0].contains("command: pass") && told[0].contains("ended with 3"), "{}", told[0]);
    assert!(told[0].contains("it is ***") || told[0].contains("it is [TOKEN]"), "{}", told[0]);
    told.push(whole(&bob, "GET", &path, None, &[]).await);
    told.push(bob.get(&format!("/api/jobs/{job}")).await.expect(200).to_string());
    told.push(ada.get(&format!("/api/jobs/{job}/events")).await.expect(200).to_string());
    let kept = app.kept().await;
    let kept = String::from_utf8_lossy(&kept);
    assert!(kept.contains("last of all: "), "this looks where the log is kept");
    told.push(kept.into_owned());
    for accept in ["application/json", "text/event-stream"] {
        let body = json!({"output_text": "x", "envVars": variables, "checks": body["checks"]}).to_string();
        let answered = async {
            let answer = ada.begin("POST", "/api/verify", Some(body.into_bytes()), &[("accept", accept)]).await;
            answer.into_body().collect().await.unwrap().to_bytes()
        };
        let (answer, ()) = futures_util::future::join(answered, wakes_what_tells()).await;
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(answer.contains("ended with 3"), "{answer}");
        told.push(answer);
    }
    // And where it passes its checks, a judge reads what was handed in.
    let mut judged = body;
    judged["checks"] = json!([]);
    let job = ada.post("/api/jobs/run", judged).await.expect(201)["id"].as_str().unwrap().to_owned();
    again(&bob, &job, &format!("{WORK} I saw {TOKEN} and {PEM}")).await;
    app.verify().await;
    let asked = fake.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.user.contains("I saw \\u005bTOKEN] and")), "{asked:?}");
    told.extend(asked.iter().map(|asked| format!("{asked:?}")));
    told.push(whole(&ada, "GET", &format!("/api/jobs/{job}/logs"), None, &[]).await);
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = log.text(format);
        assert!(lines.contains("/api/jobs/{id}/submit"), "this is the log");
        told.push(lines);
    }
    let all = [canaries(), vec![("canary in whatever value", "canary")]].concat();
    told.iter().for_each(|text| tells_none("what is told", text, &all));
}

/// Looks at the processes while a command has its variables, and lets it go on.
async fn wakes_what_tells() {
    until("the command has its variables", async || !with_argument("86405.25").is_empty()).await;
    are_in_no_list_of_processes();
    for id in with_argument("86405.25") {
        assert!(Command::new("kill").arg(id.to_string()).status().unwrap().success());
    }
}
