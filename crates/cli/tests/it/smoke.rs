//! One paid job through the real binary: server, operator, sender, worker, review, audit, graceful stop.

use crate::exchange::Exchange;

#[test]
fn a_job_is_posted_worked_reviewed_and_paid() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let (ada, bob) = (exchange.user("ada", 2000), exchange.user("bob", 0));
    let prompt = "Count the vowels in 'exchange'";
    let posted = server.json(&exchange, &ada, &["run", prompt, "--price", "500", "--time-limit", "600", "-y"]);
    let id = posted["id"].as_str().unwrap();
    assert_eq!(posted["status"], "queued");
    assert_eq!(server.json(&exchange, &bob, &["pull"])["id"], id);
    server.json(&exchange, &bob, &["accept"]);
    assert_eq!(server.json(&exchange, &bob, &["submit", "-t", "4"])["status"], "submitted");
    assert_eq!(server.json(&exchange, &ada, &["review", id, "--pass"])["status"], "verified");
    assert_eq!(server.json(&exchange, &bob, &["balance"])["balance_cents"], 350);
    assert_eq!(server.json(&exchange, &ada, &["balance"])["balance_cents"], 1500);
    exchange.audit();

    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");
    for secret in [prompt, &ada.key, &bob.key] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn the_demo_tells_the_whole_story() {
    let exchange = Exchange::sqlite();
    let told = exchange.json(["demo", "--exit", "--json"]);
    let jobs = told["jobs"].as_array().unwrap();
    let count = |status| jobs.iter().filter(|job| job["status"] == status).count();
    assert_eq!((count("verified"), count("failed"), count("cancelled"), jobs.len()), (14, 1, 1, 16));
    let failed = jobs.iter().find(|job| job["status"] == "failed").unwrap();
    assert_eq!(failed["attempt_count"], 3);
    let by_a_machine = jobs.iter().find(|job| job["verification"]["verifier"] == "checks").unwrap();
    assert_eq!((&by_a_machine["status"], &by_a_machine["attempt_count"]), (&"verified".into(), &2.into()));
    assert_eq!((&told["audit"]["ok"], &told["audit"]["escrows"]["balance_cents"]), (&true.into(), &0.into()));
}

#[test]
fn a_data_folder_is_for_one_server_and_its_own_secret() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let refused = |arguments: &[&str]| {
        let output = exchange.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["serve"]).contains("Another server has"));
    server.kill();
    let other = ["serve", "--secret-key", "another secret, which is long enough too"];
    assert!(refused(&other).contains("is not the one that the database was set up with"));
    std::fs::remove_file(exchange.data().join("secret_key")).unwrap();
    assert!(refused(&["serve"]).contains("secret_key is gone"));
    assert!(!exchange.data().join("secret_key").exists(), "no other key is put in its place");
}
