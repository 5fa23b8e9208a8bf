//! What nobody may read: keys and variables at rest, and what is secret in whatever is said of a request or a setting.

use std::future::Future as _;
use std::task::Poll;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_URL_SAFE as URL_SAFE};
use clawrk_server::config::{KEYS, Settings, Sources};
use clawrk_server::open::OpenError;
use clawrk_server::rotation::{Rotated, reseal};
use clawrk_server::telemetry::LogFormat;
use clawrk_server::vault::{Purpose, Vault};
use serde_json::json;

use crate::log::captured;
use crate::support::{SECRET_KEY, TestApp};

#[tokio::test]
async fn keys_variables_and_kept_answers_are_nowhere_to_be_read_at_rest() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let made = ada.post_once("k1", "/api/keys", json!({"name": "kept with its answer"})).await.expect(201);
    let body =
        json!({"prompt": "a canary in the open", "envVars": {"TOKEN": "canary-in-a-variable"}, "confirmed": true});
    let job = ada.post_once("k2", "/api/jobs/run", body).await.expect(201);
    assert_eq!(job["env_vars"]["TOKEN"], "canary-in-a-variable");
    let job = job["id"].as_str().unwrap();
    bob.act(job, "claim").await.expect(200);
    let accepted = bob.act(job, "accept").await.expect(200);
    assert_eq!(accepted["env_vars"]["TOKEN"], "canary-in-a-variable");

    let kept = app.kept().await;
    let holds = |text: &str| kept.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("a canary in the open"), "this looks where things are kept");
    assert!(holds("kept with its answer"));
    assert!(!holds("canary-in-a-variable"));
    for key in [&ada.key, &bob.key, made["key"].as_str().unwrap()] {
        let (_, secret) = key.split_at("clawrk_".len() + 12);
        assert!(!holds(secret), "{key}");
    }
}

#[tokio::test]
async fn a_repeat_of_what_released_variables_releases_them_only_while_they_are() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let body = json!({"prompt": "p", "envVars": {"TOKEN": "hush"}, "confirmed": true});
    let job = ada.post_once("k", "/api/jobs/run", body.clone()).await.expect(201);
    let id = job["id"].as_str().unwrap();
    bob.act(id, "claim").await.expect(200);
    let accept = format!("/api/jobs/{id}/accept");
    let accepted = bob.post_once("a", &accept, json!({})).await.expect(200);
    assert_eq!(accepted["env_vars"]["TOKEN"], "hush");
    let repeated = bob.post_once("a", &accept, json!({})).await.expect(200);
    assert_eq!(repeated, accepted, "an answer that was lost on its way is had again");

    bob.act(id, "fail").await.expect(200);
    let late = bob.post_once("a", &accept, json!({})).await;
    assert_eq!(late.headers["idempotent-replayed"], "true");
    let mut expected = accepted;
    expected["env_vars"]["TOKEN"] = json!("");
    assert_eq!(late.expect(200), expected, "all that was said, but for the value");
    let sent = ada.post_once("k", "/api/jobs/run", body).await.expect(201);
    assert_eq!(sent["env_vars"]["TOKEN"], "hush", "whoever sent them may have them");
}

#[tokio::test]
async fn a_database_is_opened_under_its_own_secret_only() {
    let app = TestApp::new().await;
    let (one, two) = (Vault::new("one"), Vault::new("two"));
    assert!(one.sealed(&app.app.store.seal(one.fresh_seal()).await.unwrap()));
    assert!(one.sealed(&app.app.store.seal(one.fresh_seal()).await.unwrap()));
    assert!(!two.sealed(&app.app.store.seal(two.fresh_seal()).await.unwrap()));
}

#[tokio::test]
async fn a_secret_is_changed_whatever_moment_it_is_cut_off_at() {
    let app = TestApp::new().await;
    let (old, new) = (Vault::new(SECRET_KEY), Vault::new("new"));
    let both = Vault::after("new", &[SECRET_KEY.to_owned()]);
    app.app.store.seal(old.fresh_seal()).await.unwrap();
    let ada = app.user("ada", 10_000).await;
    for n in 0..3 {
        let body = json!({"prompt": "x", "envVars": {"TOKEN": "hush"}, "confirmed": true});
        ada.post_once(&format!("k{n}"), "/api/jobs/run", body).await.expect(201);
    }
    // A store that was not told of a seal is not bound to it.
    let other = app.node().await;
    let store = &other.app.store;
    assert!(matches!(reseal(store, &new).await, Err(OpenError::OtherSecret)), "without the old one nothing is done");
    let (mut polls, mut left) = (0, 0);
    loop {
        let mut going = std::pin::pin!(reseal(store, &both));
        let mut polled = 0;
        let cut = std::future::poll_fn(|context| {
            polled += 1;
            match going.as_mut().poll(context) {
                Poll::Pending if polled > polls => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
                Poll::Ready(done) => Poll::Ready(Some(done.unwrap())),
            }
        });
        let done = cut.await;
        left += usize::from(done.is_none());
        assert!(both.sealed(&store.kept_seal().await.unwrap().unwrap()));
        for sealed in store.sealed_env(None, 10).await.unwrap() {
            assert_eq!(both.open_env(Some(&sealed.bytes)).unwrap()["TOKEN"], "hush");
        }
        for sealed in store.sealed_answers(None, 10).await.unwrap() {
            assert!(both.open(Purpose::Receipt, &sealed.bytes).is_ok());
        }
        if done.is_some() {
            break;
        }
        polls += 1;
    }
    assert!(left > 0, "it was never cut off");
    assert_eq!(reseal(store, &both).await.unwrap(), Rotated::default(), "nothing is left to do");
    assert!(new.sealed(&store.kept_seal().await.unwrap().unwrap()));
    let (variables, answers) =
        (store.sealed_env(None, 10).await.unwrap(), store.sealed_answers(None, 10).await.unwrap());
    assert_eq!((variables.len(), answers.len()), (3, 3));
    assert!(variables.iter().all(|sealed| new.open_env(Some(&sealed.bytes)).is_ok()));
    assert!(answers.iter().all(|sealed| new.open(Purpose::Receipt, &sealed.bytes).is_ok()));
    assert!(variables.iter().all(|sealed| old.open_env(Some(&sealed.bytes)).is_err()));
}

/// Something that must not be told, as it is and in the forms that could hide it.
fn forms(canary: &str) -> Vec<(&'static str, String)> {
    let mut forms = vec![
        ("raw", canary.to_owned()),
        ("hexadecimal", hex::encode(canary)),
        ("upper-case hexadecimal", hex::encode_upper(canary)),
        ("bytes", format!("{:?}", canary.as_bytes()).trim_matches(['[', ']']).to_owned()),
        ("percent", canary.bytes().map(|byte| format!("%{byte:02X}")).collect()),
        ("URL", url::form_urlencoded::byte_serialize(canary.as_bytes()).collect()),
    ];
    for engine in [STANDARD, URL_SAFE] {
        // Within other text it may begin at any of three places; what its neighbours decide is cut off.
        for before in 0..3 {
            let text = engine.encode(["x".repeat(before).as_str(), canary].concat());
            let (from, to) = ((before * 8).div_ceil(6), (before + canary.len()) * 8 / 6);
            forms.push(("base64", text[from..to].to_owned()));
        }
    }
    forms
}

#[track_caller]
pub fn tells_none(place: &str, told: &str, canaries: &[(&str, &str)]) {
    for (what, canary) in canaries {
        for (form, text) in forms(canary) {
            assert!(!told.contains(&text), "{place} tells the {what} ({form}): {}", around(told, &text));
        }
    }
}

fn around<'a>(told: &'a str, text: &str) -> &'a str {
    told.lines().find(|line| line.contains(text)).unwrap_or_default()
}

/// A worker at a bad moment, a mistyped request, a broken database: what is said of it names none of what is secret.
#[tokio::test(flavor = "multi_thread")]
async fn neither_log_nor_metrics_nor_refusals_tell_what_is_secret() {
    let log = captured();
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let made = ada.post("/api/keys", json!({"name": "laptop"})).await.expect(201);
    let made = ada.with_key(made["key"].as_str().unwrap());
    let (variable, prompt, output) = ("canary-of-a-variable", "canary-of-a-prompt", "canary-of-an-output");
    let (once, reason) = ("canary-of-an-idempotency-key", "canary-of-a-reason");
    let canaries = [
        ("key", made.key.as_str()),
        ("key's secret", &made.key[19..]),
        ("first key", &bob.key),
        ("variable", variable),
        ("prompt", prompt),
        ("output", output),
        ("idempotency key", once),
        ("reason", reason),
        ("secret key", crate::support::SECRET_KEY),
    ];
    let run = json!({"prompt": prompt, "title": "open", "description": prompt, "price_cents": 500,
        "time_limit_seconds": 600, "envVars": {"TOKEN": variable}, "criteria": [prompt], "confirmed": true});
    let job = made.post_once(once, "/api/jobs/run", run.clone()).await.expect(201);
    let job = job["id"].as_str().unwrap();
    made.post_once(once, "/api/jobs/run", run.clone()).await.expect(201);
    bob.post("/api/jobs/pull", json!({})).await.expect(200);
    bob.act(job, "accept").await.expect(200);
    bob.submit(job, output).await.expect(200);
    ada.post(&format!("/api/jobs/{job}/review"), json!({"verdict": "fail", "reason": reason})).await.expect(200);
    bob.act(job, "claim").await.expect(200);
    app.advance(30).await;

    let mut wrong = run.clone();
    wrong["price_cents"] = json!(1);
    let mut typed = run.clone();
    typed["envVars"] = json!(variable);
    let mut listed = run.clone();
    listed["envVars"] = json!({"TOKEN": [variable]});
    let bent = made.with_key(&format!("{}x", made.key));
    let mut refused = vec![
        made.post_once(once, "/api/agents", json!({"name": "x"})).await,
        made.post_once(once, "/api/jobs/run", wrong).await,
        made.post("/api/jobs/run", typed).await,
        made.post("/api/jobs/run", listed).await,
        made.send("POST", "/api/jobs/run", Some(format!("{{\"prompt\": \"{prompt}\" nonsense").into_bytes()), &[])
            .await,
        made.send("POST", &format!("/{prompt}?{variable}={output}"), None, &[("idempotency-key", once)]).await,
        made.send("BREW", &format!("/api/jobs?after={variable}"), None, &[]).await,
        made.get(&format!("/api/jobs?limit=1&after={variable}")).await,
        made.get(&format!("/api/jobs?status={prompt}")).await,
        made.get(&format!("/api/jobs/{variable}")).await,
        bent.get("/api/agents").await,
        bob.submit(job, output).await,
        bob.post("/api/jobs/pull", json!({ "agent_id": output })).await,
        ada.post(&format!("/api/jobs/{job}/review"), json!({"verdict": reason, "reason": reason})).await,
        ada.post(&format!("/api/jobs/{job}/review"), json!({"verdict": "fail", "reason": [reason]})).await,
    ];
    // A row that the database does not take: PostgreSQL would tell all of it.
    if app.on_postgres("ALTER TABLE briefs ADD CHECK (prompt = '') NOT VALID").await {
        let broken = made.post("/api/jobs/run", run).await;
        assert_eq!(broken.status, 500);
        refused.push(broken);
        assert!(log.text(LogFormat::Text).contains("violates check constraint"), "what broke is told");
    }
    for answer in &refused {
        assert!(answer.status.as_u16() >= 400, "{answer:?}");
        let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        let told = format!("{}\n{}", headers.join("\n"), String::from_utf8_lossy(&answer.bytes));
        tells_none("a refusal", &told, &canaries);
    }
    let metrics = app.anonymous().get("/metrics").await;
    tells_none("a metric", std::str::from_utf8(&metrics.bytes).unwrap(), &canaries);
    for format in [LogFormat::Text, LogFormat::Json] {
        let told = log.text(format);
        assert!(told.contains("/api/jobs/{id}/submit"), "this is the log");
        tells_none("the log", &told, &canaries);
    }
    log.is_made_of_lines();
}

/// Settings, where they come from and what is made of them, printed in every way that they can be.
#[tokio::test]
async fn what_is_printed_of_the_settings_shows_no_secret() {
    let log = captured();
    let (secret, password) = ("canary-of-the-secret-key-0123456789", "canary-of-the-password");
    let url = format!("postgres://clawrk:{password}@127.0.0.1:1/clawrk");
    let canaries = [("secret key", secret), ("password", password), ("URL", &url)];
    let secrets = KEYS.iter().filter(|key| key.secret).map(|key| key.name);
    let flags =
        secrets.map(|name| (name.to_owned(), if name == "database_url" { url.clone() } else { secret.to_owned() }));
    let model =
        [("embed_url", "http://127.0.0.1:1"), ("embed_model", "m"), ("llm_model", "m"), ("upload_url", "s3://files")];
    let flags = flags.chain(model.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let settings = Settings::read(&Sources { flags: flags.collect(), ..Sources::default() }).unwrap();
    let config = settings.config().unwrap();
    let mut told = vec![format!("{settings:?} {settings:#?} {config:?} {config:#?} {:?}", settings.warnings)];
    told.extend(KEYS.iter().map(|key| settings.shown(key)));
    assert!(told[0].contains("127.0.0.1:3000") && told[0].contains("********"), "{told:?}");
    assert_eq!((config.secret_key.as_deref(), config.database_url.as_deref()), (Some(secret), Some(url.as_str())));

    // Nothing listens there: what is said of it goes to the operator's terminal.
    let error = clawrk_server::open(&config).await.err().unwrap();
    told.push(format!("{error} {error:?} {error:#?}"));
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        told.push(format!("{next} {next:?}"));
        cause = next;
    }
    for malformed in [
        format!("postgres://clawrk:{password}@127.0.0.1:port/clawrk"),
        format!("postgres://clawrk:{password}@[::1/clawrk?x"),
        format!("postgres://clawrk:{password}@h:1:2/clawrk"),
        format!("mysql://clawrk:{password}@h/clawrk"),
    ] {
        let flags = vec![("database_url".to_owned(), malformed), ("secret_key".to_owned(), secret.to_owned())];
        let settings = Settings::read(&Sources { flags, ..Sources::default() }).unwrap();
        match settings.config() {
            Err(error) => told.push(format!("{error} {error:?}")),
            Ok(config) => {
                let error = clawrk_server::open(&config).await.err().unwrap();
                let source = std::error::Error::source(&error).map(|source| format!("{source} {source:?}"));
                told.push(format!("{error} {error:?} {source:?}"));
            }
        }
    }
    let file = format!("secret_key = \"{secret}\"\ndatabase_url = \"{url}\" nonsense");
    let broken = Sources { file: Some(("clawrk.toml".into(), file)), ..Sources::default() };
    let error = Settings::read(&broken).err().unwrap();
    told.push(format!("{error} {error:?}"));
    let short = Sources {
        variables: vec![("CLAWRK_SECRET_KEY".to_owned(), "canary-too-short".to_owned())],
        ..Sources::default()
    };
    let error = Settings::read(&short).unwrap().config().err().unwrap();
    tells_none("a refusal", &format!("{error} {error:?}"), &[("short secret", "canary-too-short")]);
    for text in told.into_iter().chain([LogFormat::Text, LogFormat::Json].map(|format| log.text(format))) {
        tells_none("what is printed", &text, &canaries);
    }
}

#[test]
fn a_canary_is_found_in_whatever_form_it_takes() {
    let canary = "canary+of/a secret?";
    for before in 0..7 {
        let around = format!("{}{canary}, and more", "y".repeat(before));
        for text in [STANDARD.encode(&around), URL_SAFE.encode(&around), hex::encode(&around), around.clone()] {
            assert!(forms(canary).iter().any(|(_, form)| text.contains(form)), "{text}");
        }
    }
}
