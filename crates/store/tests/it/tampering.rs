//! What the database itself refuses, and what the audit finds when someone tampered with it.

use clawrk_domain::{Action, Actor, Verdict};
use clawrk_store::StoreError;

use crate::conformance::files::{naming, uploaded};
use crate::support::{Harness, on_both_databases, review};

on_both_databases!(
    the_audit_names_every_kind_of_offender,
    the_audit_notices_a_file_that_is_lost,
    the_audit_notices_a_timer_that_is_lost_or_left_over,
    a_second_payout_is_impossible,
    an_agent_cannot_hold_two_jobs,
    balances_cannot_go_below_zero,
    a_transfer_touches_what_it_says,
    a_row_that_is_missing_undoes_the_command,
);

/// One verified job, one open one, and a job called off.
async fn story(h: &Harness) {
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    h.moved(ada, review(job, Verdict::Pass)).await;
    h.accepted(ada, bob, 500).await;
    let off = h.post(ada, 500).await;
    h.moved(ada, Action::Cancel(off)).await;
}

async fn the_audit_names_every_kind_of_offender(h: &Harness) {
    let unchecked = if h.is_sqlite() {
        "PRAGMA ignore_check_constraints = ON"
    } else {
        "ALTER TABLE wallets DROP CONSTRAINT wallets_balance_cents_check"
    };
    let nobody = h.uuid(uuid::Uuid::from_u128(7));
    let below_zero = format!(
        "{unchecked}; \
         UPDATE wallets SET balance_cents = balance_cents - 9000 WHERE user_id = (SELECT id FROM users WHERE name = 'bob'); \
         INSERT INTO transfers (id, at, from_kind, to_kind, user_id, cents, reason) \
         SELECT {nobody}, 0, 'wallet', 'outside', id, 9000, 'x' FROM users WHERE name = 'bob'"
    );
    let no_wallet = format!("INSERT INTO users (id, name, is_admin, created_at) VALUES ({nobody}, 'x', 0, 0)");
    let another_way = format!(
        "INSERT INTO transfers (id, at, from_kind, to_kind, cents, reason) VALUES ({nobody}, 0, 'outside', 'platform', 5, 'x')"
    );
    let tampers = [
        ("each wallet's balance equals its transfers", "UPDATE wallets SET balance_cents = balance_cents + 1"),
        (
            "each transfer to or from a wallet has its wallet",
            "DELETE FROM wallets WHERE user_id = (SELECT id FROM users WHERE name = 'bob')",
        ),
        (
            "each job's escrow equals its transfers",
            "UPDATE jobs SET escrow_cents = escrow_cents - 1 WHERE status = 'accepted'",
        ),
        ("each transfer to or from an escrow has its job", "DELETE FROM jobs WHERE status = 'verified'"),
        (
            "an open job's escrow is its price, a closed or unpaid one's is zero",
            "UPDATE jobs SET status = 'failed' WHERE status = 'accepted'",
        ),
        (
            "a verified job paid its worker the price less the fee",
            "UPDATE jobs SET fee_cents = fee_cents - 1 WHERE status = 'verified'",
        ),
        ("no wallet is below zero", &below_zero),
        ("each user has a wallet", &no_wallet),
        ("each wallet has its user", "DELETE FROM users WHERE name = 'bob'"),
        (
            "money moves in at a grant or a payment, into escrow, to the worker or back, to the platform, and out, and no other way",
            &another_way,
        ),
        (
            "a job is paid for by its sender, at its price",
            "UPDATE jobs SET sender_id = (SELECT id FROM users WHERE name = 'bob') WHERE status = 'verified'",
        ),
        (
            "only a verified job pays a worker and a fee",
            "UPDATE jobs SET status = 'cancelled' WHERE status = 'verified'",
        ),
        (
            "a job that failed or was cancelled gave its sender the price back, and no other job did",
            "UPDATE transfers SET user_id = (SELECT id FROM users WHERE name = 'bob') WHERE reason = 'refund'; \
             UPDATE wallets SET balance_cents = balance_cents + 500 WHERE user_id = (SELECT id FROM users WHERE name = 'bob'); \
             UPDATE wallets SET balance_cents = balance_cents - 500 WHERE user_id = (SELECT id FROM users WHERE name = 'ada')",
        ),
        (
            "each wallet's transfers are one chain that ends in its last one",
            "UPDATE transfers SET previous = NULL WHERE reason = 'refund'",
        ),
        (
            "each wallet's transfers are one chain that ends in its last one",
            "UPDATE wallets SET last_transfer = (SELECT previous FROM transfers WHERE reason = 'refund') \
              WHERE user_id = (SELECT id FROM users WHERE name = 'ada')",
        ),
        (
            "each transfer follows one of the same wallet",
            "UPDATE transfers SET previous = (SELECT id FROM transfers WHERE from_kind = 'escrow' AND to_kind = 'platform') \
              WHERE reason = 'refund'",
        ),
        (
            "each sender's jobs are one chain that ends in the last one",
            "UPDATE wallets SET last_job = (SELECT id FROM jobs WHERE status = 'verified') \
              WHERE user_id = (SELECT id FROM users WHERE name = 'ada')",
        ),
        (
            "each sender's jobs are one chain that ends in the last one",
            "UPDATE jobs SET previous = NULL WHERE status = 'cancelled'",
        ),
        ("each job follows one of the same sender", "UPDATE jobs SET previous = 'nobody' WHERE status = 'cancelled'"),
        (
            "each job has its brief",
            "DELETE FROM briefs WHERE job_id = (SELECT id FROM jobs WHERE status = 'cancelled')",
        ),
    ];
    for (rule, sql) in tampers {
        let h = h.fresh().await;
        story(&h).await;
        h.assert_books_balance().await;
        h.raw(sql).await;
        let offence = h.store.audit().await.unwrap().offence.unwrap_or_else(|| panic!("nobody noticed: {sql}"));
        assert_eq!(offence.rule, rule, "{sql}: {offence:?}");
        assert!(offence.detail.contains(" has "), "{offence:?}");
    }
}

async fn the_audit_notices_a_file_that_is_lost(h: &Harness) {
    const THERE: &str = "each file that a job names is there";
    const NAMED: &str = "each file that a job tells of is named by it";
    let tampers = [
        ("DELETE FROM uploads WHERE name = 'asked \"sha256\".txt'".to_owned(), THERE),
        ("DELETE FROM uploads WHERE name = 'result.txt'".to_owned(), THERE),
        (format!("UPDATE uploads SET id = {} WHERE name = 'result.txt'", h.uuid(uuid::Uuid::from_u128(7))), THERE),
        ("DELETE FROM upload_uses WHERE attempt = 0".to_owned(), NAMED),
        ("DELETE FROM upload_uses WHERE attempt = 1".to_owned(), NAMED),
        (
            "UPDATE briefs SET attachments = NULL; UPDATE upload_uses SET attempt = 5 WHERE attempt = 1".to_owned(),
            NAMED,
        ),
    ];
    for (sql, rule) in tampers {
        let h = h.fresh().await;
        let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
        // What stands in a name is not taken for a file.
        let asked = [uploaded(&h, ada, "asked :sha256:.txt", 1).await.id, uploaded(&h, ada, "more", 2).await.id];
        h.raw("UPDATE uploads SET name = 'asked \"sha256\".txt' WHERE size_bytes = 1").await;
        let job = h.moved(ada, naming(&asked)).await.id;
        h.moved(bob, Action::Claim { agent: None, job }).await;
        h.moved(bob, Action::Accept(job)).await;
        let files = vec![uploaded(&h, bob, "result.txt", 3).await.id];
        h.moved(bob, Action::Submit { job, output_text: None, files }).await;
        h.assert_books_balance().await;
        h.raw(&sql).await;
        let offence = h.store.audit().await.unwrap().offence.unwrap_or_else(|| panic!("nobody noticed: {sql}"));
        assert_eq!(offence.rule, rule, "{sql}: {offence:?}");
        assert!(offence.detail.contains(&job.to_string()), "{offence:?}");
    }
}

async fn the_audit_notices_a_timer_that_is_lost_or_left_over(h: &Harness) {
    let job = |status: &str| format!("(SELECT id FROM jobs WHERE status = '{status}')");
    let timer_for = |job: &str| {
        format!("INSERT INTO tasks (kind, subject, due_at, token, leased_until) VALUES ('expire_hold', {job}, 7, 0, 0)")
    };
    let in_hand = ["held", "accepted", "submitted"];
    let lost = in_hand.map(|status| {
        let sql = format!("DELETE FROM tasks WHERE subject = {}", job(status));
        (sql, "each job in hand has its timer", format!("{status} and has no timer"))
    });
    let at_another_time = in_hand.map(|status| {
        let sql = format!("UPDATE tasks SET due_at = 0 WHERE subject = {}", job(status));
        (sql, IMPLIED, "at 1970-01-01T00:00:00.000Z, should have it at 2025-01-".to_owned())
    });
    let no_attempt = format!("DELETE FROM attempts WHERE job_id = {}", job("accepted"));
    let others = [
        (timer_for(&job("verified")), IMPLIED, "verified and has the timer expire_hold"),
        (timer_for(&job("queued")), IMPLIED, "queued and has the timer expire_hold"),
        (timer_for(&job("accepted")), IMPLIED, "accepted and has the timer expire_hold"),
        (timer_for("'nobody'"), IMPLIED, "job nobody is not there and has the timer expire_hold"),
        (no_attempt, IMPLIED, "accepted and has the timer expire_deadline"),
    ];
    let others = others.map(|(sql, rule, detail)| (sql, rule, detail.to_owned()));
    for (sql, rule, detail) in lost.into_iter().chain(at_another_time).chain(others) {
        let h = h.fresh().await;
        in_every_state(&h).await;
        h.assert_books_balance().await;
        h.raw(&sql).await;
        let offence = h.store.audit().await.unwrap().offence.unwrap_or_else(|| panic!("nobody noticed: {sql}"));
        assert_eq!(offence.rule, rule, "{sql}: {offence:?}");
        assert!(offence.detail.contains(&detail), "{sql}: {offence:?}");
    }
}

const IMPLIED: &str = "each timer is the one that its job's state implies";

/// One job queued, held, accepted, submitted and verified; the accepted one at its second attempt.
async fn in_every_state(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let verified = h.submitted(ada, bob, 500).await;
    h.moved(ada, review(verified, Verdict::Pass)).await;
    h.submitted(ada, bob, 500).await;
    let again = h.accepted(ada, bob, 500).await;
    h.moved(bob, Action::Fail { job: again, reason: None }).await;
    // So that the two attempts have two deadlines.
    h.clock.advance(1);
    h.moved(bob, Action::Claim { agent: None, job: again }).await;
    h.moved(bob, Action::Accept(again)).await;
    h.post(ada, 500).await;
    let held = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job: held }).await;
}

async fn a_second_payout_is_impossible(h: &Harness) {
    story(h).await;
    let again = h.uuid(uuid::Uuid::from_u128(7));
    for (from, to) in [("escrow", "wallet"), ("wallet", "escrow"), ("escrow", "platform")] {
        let again = format!(
            "INSERT INTO transfers (id, at, from_kind, to_kind, user_id, job_id, cents, reason)
             SELECT {again}, at, from_kind, to_kind, user_id, job_id, cents, reason FROM transfers
              WHERE from_kind = '{from}' AND to_kind = '{to}' LIMIT 1"
        );
        let refused = h.rows(&again).await.unwrap_err().to_lowercase();
        assert!(refused.contains("unique"), "{refused}");
    }
    h.assert_books_balance().await;
}

async fn an_agent_cannot_hold_two_jobs(h: &Harness) {
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let (one, two) = (h.post(ada, 500).await, h.post(ada, 500).await);
    h.moved(bob, Action::Claim { agent: None, job: one }).await;
    let agent = h.default_agent(bob).await;
    let agent = h.uuid(agent.0);
    let second = format!("UPDATE jobs SET status = 'held', worker_agent_id = {agent} WHERE id = '{two}'");
    assert!(h.rows(&second).await.unwrap_err().to_lowercase().contains("unique"));
}

async fn balances_cannot_go_below_zero(h: &Harness) {
    story(h).await;
    for sql in ["UPDATE wallets SET balance_cents = -1", "UPDATE jobs SET escrow_cents = -1"] {
        assert!(h.rows(sql).await.unwrap_err().to_lowercase().contains("check"), "{sql}");
    }
}

async fn a_transfer_touches_what_it_says(h: &Harness) {
    story(h).await;
    let (user_id, user) = (h.uuid(uuid::Uuid::from_u128(7)), h.uuid(uuid::Uuid::from_u128(8)));
    let user = user.as_str();
    for (from, to, user, job) in [
        ("wallet", "wallet", user, "NULL"),
        ("wallet", "outside", "NULL", "NULL"),
        ("outside", "platform", user, "NULL"),
        ("escrow", "platform", "NULL", "NULL"),
        ("outside", "platform", "NULL", "'j'"),
    ] {
        let sql = format!(
            "INSERT INTO transfers (id, at, from_kind, to_kind, user_id, job_id, cents, reason)
             VALUES ({user_id}, 0, '{from}', '{to}', {user}, {job}, 1, 'x')"
        );
        assert!(h.rows(&sql).await.unwrap_err().to_lowercase().contains("check"), "{sql}");
    }
}

async fn a_row_that_is_missing_undoes_the_command(h: &Harness) {
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    h.raw(&format!("DELETE FROM wallets WHERE user_id = {}", h.uuid(bob.0))).await;
    let before = h.dump().await;
    let paid = h.submit(Actor::User(ada), review(job, Verdict::Pass)).await;
    assert!(matches!(&paid, Err(StoreError::Corrupt(text)) if text.contains("UPDATE wallets")), "{paid:?}");
    assert_eq!(h.dump().await, before);
}
