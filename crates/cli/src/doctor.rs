//! `doctor`: whether everything is in place to work with an exchange, and what to do where it is not.

use clawrk_server::outside::sandbox::{Outcome, Row, Sandbox};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, nothing};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::format;
use crate::output::{Output, Tone};
use crate::server_settings::SettingFlags;
use crate::settings::{Settings, Source};

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    state: State,
    detail: String,
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Works, and should be looked at.
    Warning,
    Failed,
}

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), hint: None }
    }

    fn failed(name: &'static str, failure: Failure) -> Self {
        Self { name, state: State::Failed, detail: failure.message, hint: failure.hint }
    }
}

impl State {
    const fn shown(self) -> (&'static str, Tone) {
        match self {
            Self::Ok => ("ok     ", Tone::Good),
            Self::Warning => ("warning", Tone::Busy),
            Self::Failed => ("failed ", Tone::Bad),
        }
    }
}

/// Looks at everything and tells; fails when something did.
pub(crate) async fn run(flag: Option<&str>, environment: &Environment, out: &Output) -> Result<(), Failure> {
    let findings = match Settings::discover(flag, environment).and_then(Client::new) {
        Ok(client) => look(&client).await,
        Err(failure) => vec![Finding::failed("settings", failure)],
    };
    conclude(&findings, out)
}

/// Tries the sandbox that a server with these settings would have here, and tells what holds.
pub(crate) async fn sandbox(out: &Output) -> Result<(), Failure> {
    let setting = SettingFlags::default().config()?.sandbox;
    let findings = match Sandbox::examine(&setting).await {
        Ok((sandbox, rows)) => {
            let slots = format::count(sandbox.slots(), "command");
            let about = Finding::ok("sandbox", format!("{}, {slots} at once", sandbox.describe()));
            std::iter::once(about).chain(rows.into_iter().map(tried)).collect()
        }
        Err(unsound) => vec![Finding::failed("sandbox", Failure::failed("sandbox_unavailable", unsound.to_string()))],
    };
    conclude(&findings, out)
}

fn tried(row: Row) -> Finding {
    let (state, detail, hint) = match row.outcome {
        Outcome::Held => (State::Ok, format!("cannot {}", row.name), None),
        Outcome::Open => (State::Failed, format!("CAN {}", row.name), None),
        Outcome::Untried => {
            let hint = "this machine is busy: try again, and no command is run until it is proved".to_owned();
            (State::Failed, format!("could not be tried in time: {}", row.name), Some(hint))
        }
    };
    Finding { name: "command", state, detail, hint }
}

fn conclude(findings: &[Finding], out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        out.document(&json!({ "checks": findings.iter().map(document).collect::<Vec<_>>() }));
    } else {
        findings.iter().for_each(|finding| tell(out, finding));
    }
    match findings.iter().filter(|finding| finding.state == State::Failed).count() {
        0 => Ok(()),
        failed => Err(Failure::failed("not_well", format!("{} failed.", format::count(failed, "check")))),
    }
}

fn document(finding: &Finding) -> Value {
    let state = finding.state.shown().0.trim_end();
    json!({ "name": finding.name, "state": state, "detail": finding.detail, "hint": finding.hint })
}

fn tell(out: &Output, finding: &Finding) {
    let (word, tone) = finding.state.shown();
    out.line(&[(word, tone), (&format!("  {:<9}  ", finding.name), Tone::Quiet), (&finding.detail, Tone::Plain)]);
    if let Some(hint) = &finding.hint {
        out.line(&[("         hint: ", Tone::Strong), (hint, Tone::Plain)]);
    }
}

async fn look(client: &Client) -> Vec<Finding> {
    let settings = client.settings();
    let mut findings = vec![server(settings)];
    match client.get_public(&["healthz"], &[]).await {
        Ok(answer) => {
            let version = answer.get("version").and_then(Value::as_str).unwrap_or("of an unknown version");
            findings.push(Finding::ok("reachable", format!("the server is alive, clawrk {version}")));
        }
        Err(failure) => {
            findings.push(Finding::failed("reachable", failure));
            findings.push(key(settings));
            return findings;
        }
    }
    findings.push(match client.get_public(&["readyz"], &[]).await {
        Ok(_) => Finding::ok("ready", "its database can be reached"),
        Err(failure) => Finding::failed("ready", failure),
    });
    findings.push(key(settings));
    if settings.key.is_some() {
        findings.push(signed_in(client).await);
    }
    findings
}

fn server(settings: &Settings) -> Finding {
    let source = match settings.server_source {
        Source::Flag => "from --server",
        Source::Environment => "from CLAWRK_API_URL",
        Source::Credentials => "from the credentials file",
        Source::Default => "nothing names another",
    };
    let detail = format!("{} ({source})", settings.server);
    let here = settings
        .server
        .host_str()
        .is_some_and(|host| host == "localhost" || host == "[::1]" || host.starts_with("127."));
    if settings.server.scheme() == "http" && !here {
        let hint = "your key crosses the network unencrypted; use https:// if the server offers it";
        return Finding { name: "server", state: State::Warning, detail, hint: Some(hint.to_owned()) };
    }
    Finding::ok("server", detail)
}

fn key(settings: &Settings) -> Finding {
    match settings.key.as_ref().map(|key| key.source) {
        None => Finding::failed("key", settings.not_signed_in()),
        Some(Source::Credentials) => Finding::ok("key", "from the credentials file"),
        Some(_) => Finding::ok("key", "from CLAWRK_API_KEY"),
    }
}

#[derive(Deserialize)]
struct Whoami {
    user: User,
}

#[derive(Deserialize)]
struct User {
    id: String,
    balance_cents: i64,
}

async fn signed_in(client: &Client) -> Finding {
    let answer = client.post(&["api", "whoami"], &nothing(), std::time::Duration::ZERO).await;
    match answer.and_then(|answer| crate::job::read::<Whoami>(client, &answer)) {
        Ok(Whoami { user }) => {
            Finding::ok("signed in", format!("user {}, balance {}", user.id, format::money(user.balance_cents)))
        }
        Err(failure) => Finding::failed("signed in", failure),
    }
}
