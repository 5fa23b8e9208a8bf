//! A job that a machine decides about: a command is run on what was handed in, in a sandbox.

use std::time::Duration;

use serde_json::{Value, json};

use super::programs::Skill;
use super::{Cast, Person, Posted, report, text};
use crate::failure::Failure;
use crate::output::Output;

const PROMPT: &str = "Write a POSIX shell script that adds up the whole numbers on its standard input, one to a line, and \
                      prints the sum. The last line may lack its line break.";

/// What the sender runs. The last number has no line break behind it: that is where such scripts go wrong.
const COMMAND: &str =
    "sum=$(printf '3\\n39' | sh /submission/output.txt)\necho \"3 and 39 make ${sum:-nothing}\"\n[ \"$sum\" = 42 ]";

/// `read` fails at a line that has no end, and this forgets what it has read.
const FORGETFUL: &str = "#!/bin/sh\nsum=0\nwhile read -r number; do\n    sum=$((sum + number))\ndone\necho \"$sum\"\n";

const CAREFUL: &str = "#!/bin/sh\nsum=0\nwhile read -r number || [ -n \"$number\" ]; do\n    sum=$((sum + number))\ndone\n\
                       echo \"$sum\"\n";

/// One agent fails it, another passes and is paid; nobody reviews anything. None where commands cannot be run.
pub(super) async fn decide(cast: &Cast, out: &Output) -> Result<Option<Posted>, Failure> {
    report::chapter(out, "7. A machine decides: a command is run on what was handed in, in a sandbox");
    let sender = &cast.senders[0];
    let checks =
        json!([{"type": "contains", "text": "#!/bin/sh"}, {"type": "command", "run": COMMAND, "timeout_seconds": 10}]);
    let body = json!({"prompt": PROMPT, "title": "A script that adds up numbers", "price_cents": 400,
        "time_limit_seconds": 600, "criteria": [], "checks": checks, "confirmed": true});
    let job = match sender.post(&["api", "jobs", "run"], &body).await {
        Ok(job) => job,
        Err(failure) if &*failure.code == "sandbox_unavailable" => {
            report::line(out, &failure.message);
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let id = text(&job["id"]);
    report::line(out, &format!("{} posts {id}, $4.00, and says how a result is told from none:", sender.name));
    report::quote(out, COMMAND);
    for ((skill, owner, agent), script) in cast.agents.iter().zip([FORGETFUL, CAREFUL]) {
        owner.post(&["api", "jobs", &id, "claim"], &json!({ "agent_id": agent })).await?;
        owner.post(&["api", "jobs", &id, "accept"], &json!({})).await?;
        owner.post(&["api", "jobs", &id, "submit"], &json!({ "output_text": script })).await?;
        tell(sender, (*skill, owner), &id, out).await?;
    }
    Ok(Some(Posted { sender: 0, prompt: PROMPT, id }))
}

/// Waits for the verdict and tells it.
async fn tell(sender: &Person, (skill, owner): (Skill, &Person), id: &str, out: &Output) -> Result<(), Failure> {
    for _ in 0..300 {
        let job = owner.get(&["api", "jobs", id]).await?;
        if job["status"] != "submitted" {
            let events = sender.get(&["api", "jobs", id, "events"]).await?;
            let reason = events.as_array().and_then(|events| events.last()).map(|event| text(&event["reason"]));
            let passed = job["status"] == "verified";
            let outcome = if passed { "paid, and nobody had to look" } else { "back to the queue" };
            report::verdict(
                out,
                passed,
                &format!("{} works {id}: {outcome}. {}", skill.name(), reason.unwrap_or_default()),
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let verification: Value = owner.get(&["api", "jobs", id]).await?["verification"].take();
    Err(Failure::failed("verification_stuck", format!("There is no verdict: {}", text(&verification["reasoning"]))))
}
