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
