//! The sandbox, for real.

use super::*;

async fn opened() -> Sandbox {
    Sandbox::open(SandboxSetting::Auto).await.unwrap()
}

async fn ran(sandbox: &Sandbox, run: &str) -> (Ended, Vec<String>) {
    let staging = sandbox.stage().await.unwrap();
    staging.write_output_text("the answer\n").unwrap();
    let mut lines = Vec::new();
    let errand = Errand { run, timeout: Duration::from_secs(20), env: BTreeMap::new() };
    let ended = sandbox.run(&staging, errand, |line| lines.push(line.to_owned())).await.unwrap();
    (ended, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_and_its_code_and_lines_come_back() {
    let sandbox = opened().await;
    println!("{}", sandbox.describe());
    assert_eq!(ran(&sandbox, "cat /submission/output.txt; echo oh >&2; exit 7").await.0, Ended::Exit(7));
    assert_eq!(ran(&sandbox, "cat /submission/output.txt").await.1, ["the answer"]);
}
