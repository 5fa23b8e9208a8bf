//! A job's life, and who may do what to it.

use clawrk_domain::action::Review;
use clawrk_domain::{Action, Actor, AgentId, Answer, Cents, JobId, Rejection, Sight, State, Status, Verdict};
use clawrk_store::Outcome;

use crate::support::{Harness, posting, review, submission};

pub(super) async fn a_verified_job_pays_the_agent(h: &Harness) {
    let (ada, bob) = (h.user("ada", 1000).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    assert_eq!((h.balance(ada).await, h.status(job).await.as_str()), (500, "queued"));
    let agent = h.default_agent(bob).await;
    let held = h.moved(bob, Action::Pull { agent: None, candidates: vec![job] }).await;
    assert_eq!(
        held.state,
        State::Held { by: clawrk_domain::Worker { agent, user: bob }, until: h.clock.now().plus_seconds(30) }
    );
    assert_eq!(h.job(job).await, *held);
    h.clock.advance(20);
    let accepted = h.moved(bob, Action::Accept(job)).await;
    assert_eq!(accepted.attempt().unwrap().deadline_at, h.clock.now().plus_seconds(600));
    assert_eq!(h.job(job).await, *accepted);
    let submitted = h.moved(bob, submission(job)).await;
    assert_eq!(h.job(job).await, *submitted);
    let verified = h.moved(ada, review(job, Verdict::Pass)).await;
    assert_eq!(h.job(job).await, *verified);
    assert_eq!((h.balance(ada).await, h.balance(bob).await), (500, 350));
    assert_eq!(h.number("SELECT COUNT(*) FROM tasks").await, 0);
    let audit = h.store.audit().await.unwrap();
    assert_eq!((audit.wallets, audit.escrows), ((2, Cents(850)), (1, Cents(0))));
    assert_eq!((audit.platform, audit.outside, audit.transfers), (Cents(150), Cents(-1000), 4));
    h.assert_books_balance().await;
}

pub(super) async fn a_short_wallet_leaves_the_job_waiting_for_payment(h: &Harness) {
    let ada = h.user("ada", 499).await;
    let short = h.done(Actor::User(ada), Action::Post(posting(500))).await;
    let Answer::Short { job, required, available } = short else { panic!("{short:?}") };
    assert_eq!((required, available, job.status()), (Cents(500), Cents(499), Status::PendingPayment));
    let refused = h.refused(Actor::User(ada), Action::Pay(job.id)).await;
    assert_eq!(refused, Rejection::BalanceTooLow { required: Cents(500), available: Cents(499) });
    h.done(Actor::Operator, Action::Grant { user: ada, amount: Cents(1) }).await;
    h.moved(ada, Action::Pay(job.id)).await;
    assert_eq!((h.balance(ada).await, h.status(job.id).await.as_str()), (0, "queued"));
    let again = h.refused(Actor::User(ada), Action::Pay(job.id)).await;
    assert!(matches!(again, Rejection::WrongState { is: Status::Queued, .. }));
    h.assert_books_balance().await;
}

pub(super) async fn cancel_in_every_state(h: &Harness) {
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let Answer::Short { job: unpaid, .. } = h.done(Actor::User(ada), Action::Post(posting(9000))).await else {
        panic!("the wallet was enough")
    };
    assert_eq!(h.moved(ada, Action::Cancel(unpaid.id)).await.status(), Status::Cancelled);
    let queued = h.post(ada, 500).await;
    assert_eq!(h.moved(ada, Action::Cancel(queued)).await.status(), Status::Cancelled);
    let held = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job: held }).await;
    assert_eq!(h.moved(ada, Action::Cancel(held)).await.status(), Status::Cancelled);
    assert_eq!(h.balance(ada).await, 3000);
    let accepted = h.accepted(ada, bob, 500).await;
    let asked = h.moved(ada, Action::Cancel(accepted)).await;
    assert_eq!((asked.status(), asked.cancellation_requested), (Status::Accepted, true));
    let submitted = h.submitted(ada, bob, 500).await;
    assert_eq!(h.moved(ada, Action::Cancel(submitted)).await.status(), Status::Submitted);
    assert_eq!(h.moved(ada, review(submitted, Verdict::Pass)).await.status(), Status::Verified);
    assert_eq!(h.balance(bob).await, 350);
    for over in [unpaid.id, queued, submitted] {
        let before = h.job(over).await;
        assert_eq!(*h.moved(ada, Action::Cancel(over)).await, before);
        assert_eq!(h.job(over).await, before);
    }
    assert_eq!(h.refused(Actor::User(bob), Action::Cancel(accepted)).await, Rejection::NotTheSender);
    assert_eq!(h.number("SELECT COUNT(*) FROM tasks").await, 1);
    h.assert_books_balance().await;
}

pub(super) async fn a_failure_after_a_cancellation_request_refunds(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.accepted(ada, bob, 500).await;
    h.moved(ada, Action::Cancel(job)).await;
    let over = h.moved(bob, Action::Fail { job, reason: Some("too hard".to_owned()) }).await;
    assert_eq!(over.status(), Status::Cancelled);
    assert_eq!(h.job(job).await, *over);
    assert_eq!(over.attempt().map(|attempt| attempt.number), Some(1));
    assert_eq!((h.balance(ada).await, h.balance(bob).await), (500, 0));
    h.assert_books_balance().await;
}

pub(super) async fn a_hold_runs_out_and_cools_down(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    let pull = || Action::Pull { agent: None, candidates: vec![job] };
    h.moved(bob, pull()).await;
    h.clock.advance(29);
    assert_eq!(h.run_due_tasks().await, 0);
    h.clock.advance(1);
    assert_eq!(h.refused(Actor::User(bob), Action::Accept(job)).await, Rejection::HoldExpired);
    assert_eq!(h.run_due_tasks().await, 1);
    assert_eq!(h.status(job).await, "queued");
    assert_eq!(h.done(Actor::User(bob), pull()).await, Answer::Nothing);
    h.clock.advance(59);
    assert_eq!(h.done(Actor::User(bob), pull()).await, Answer::Nothing);
    h.clock.advance(1);
    assert_eq!(h.moved(bob, pull()).await.status(), Status::Held);
    assert_eq!(h.job(job).await.attempt_count, 0);
}

pub(super) async fn pull_never_offers_a_rejected_job_but_claim_takes_it(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Pull { agent: None, candidates: vec![job] }).await;
    assert_eq!(h.moved(bob, Action::Reject(job)).await.status(), Status::Queued);
    h.clock.advance(100_000);
    let nothing = h.done(Actor::User(bob), Action::Pull { agent: None, candidates: vec![job] }).await;
    assert_eq!(nothing, Answer::Nothing);
    let other = h.agent(bob, "other").await.id;
    h.moved(bob, Action::Pull { agent: Some(other), candidates: vec![job] }).await;
    h.moved(bob, Action::Reject(job)).await;
    assert_eq!(h.moved(bob, Action::Claim { agent: None, job }).await.status(), Status::Held);
    assert_eq!(h.job(job).await.offers.len(), 2);
}

pub(super) async fn pull_returns_the_held_job_again(h: &Harness) {
    let (ada, bob) = (h.user("ada", 1000).await, h.user("bob", 0).await);
    let (one, two) = (h.post(ada, 500).await, h.post(ada, 500).await);
    let first = h.moved(bob, Action::Pull { agent: None, candidates: vec![one] }).await;
    let before = h.dump().await;
    assert_eq!(h.moved(bob, Action::Pull { agent: None, candidates: vec![two, one] }).await, first);
    assert_eq!(h.dump().await, before);
    assert_eq!(h.refused(Actor::User(bob), Action::Claim { agent: None, job: two }).await, Rejection::HoldsAnother);
    // The hold ran out, though no task has noticed: the next pull puts the job back and takes the other one.
    h.clock.advance(31);
    assert_eq!(h.moved(bob, Action::Pull { agent: None, candidates: vec![one, two] }).await.id, two);
    assert_eq!(h.status(one).await, "queued");
    assert_eq!(h.number("SELECT COUNT(*) FROM tasks").await, 1);
}

pub(super) async fn pull_skips_what_is_barred_taken_or_unknown(h: &Harness) {
    let (ada, bob, eve) = (h.user("ada", 3000).await, h.user("bob", 0).await, h.user("eve", 0).await);
    let (barred, taken, open) = (h.post(ada, 500).await, h.post(ada, 500).await, h.post(ada, 500).await);
    h.moved(bob, Action::Claim { agent: None, job: barred }).await;
    h.moved(bob, Action::Reject(barred)).await;
    h.moved(eve, Action::Claim { agent: None, job: taken }).await;
    let unknown: JobId = "000000000000".parse().unwrap();
    let candidates = vec![unknown, barred, taken, open];
    assert_eq!(h.moved(bob, Action::Pull { agent: None, candidates }).await.id, open);
    let nobody = AgentId(uuid::Uuid::nil());
    let refused = h.refused(Actor::User(bob), Action::Pull { agent: Some(nobody), candidates: vec![open] }).await;
    assert_eq!(refused, Rejection::NotFound("agent"));
    let eves = h.default_agent(eve).await;
    let refused = h.refused(Actor::User(bob), Action::Pull { agent: Some(eves), candidates: vec![open] }).await;
    assert_eq!(refused, Rejection::NotFound("agent"));
}

pub(super) async fn claim_takes_over_from_a_hold_that_ran_out(h: &Harness) {
    let (ada, bob) = (h.user("ada", 1000).await, h.user("bob", 0).await);
    let (one, two) = (h.post(ada, 500).await, h.post(ada, 500).await);
    h.moved(bob, Action::Claim { agent: None, job: one }).await;
    h.clock.advance(30);
    let again = h.moved(bob, Action::Claim { agent: None, job: one }).await;
    assert_eq!(again.state, h.job(one).await.state);
    h.clock.advance(30);
    assert_eq!(h.moved(bob, Action::Claim { agent: None, job: two }).await.status(), Status::Held);
    assert_eq!(h.status(one).await, "queued");
    assert_eq!(h.run_due_tasks().await, 0, "the hold that is over has no task any more");
    h.clock.advance(30);
    assert_eq!(h.run_due_tasks().await, 1);
}

pub(super) async fn three_failed_attempts_refund_the_sender(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.accepted(ada, bob, 500).await;
    h.moved(bob, Action::Fail { job, reason: None }).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.clock.advance(600);
    assert_eq!(h.refused(Actor::User(bob), submission(job)).await, Rejection::DeadlinePassed);
    assert_eq!(h.run_due_tasks().await, 1);
    let back = h.job(job).await;
    assert_eq!((back.status(), back.attempt_count, back.receiver()), (Status::Queued, 2, None));
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.moved(bob, submission(job)).await;
    assert_eq!(h.balance(ada).await, 0);
    let over = h.moved(ada, review(job, Verdict::Fail)).await;
    assert_eq!((over.status(), over.attempt_count), (Status::Failed, 3));
    assert_eq!(h.job(job).await, *over);
    assert_eq!((h.balance(ada).await, h.balance(bob).await), (500, 0));
    assert_eq!(h.number("SELECT COUNT(*) FROM attempts WHERE outcome = 'failed'").await, 3);
    h.assert_books_balance().await;
}

pub(super) async fn a_review_that_fails_requeues(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    let wordless = Action::Review { job, review: Review { verdict: Verdict::Fail, reason: None, attempt: None } };
    assert!(matches!(h.refused(Actor::User(ada), wordless).await, Rejection::Invalid { field: "reason", .. }));
    let back = h.moved(ada, review(job, Verdict::Fail)).await;
    assert_eq!((back.status(), back.submission()), (Status::Queued, None));
    assert_eq!(h.job(job).await, *back);
    assert_eq!(h.number("SELECT COUNT(*) FROM attempts WHERE output_text IS NOT NULL").await, 1);
    let nothing = h.done(Actor::User(bob), Action::Pull { agent: None, candidates: vec![job] }).await;
    assert_eq!(nothing, Answer::Nothing);
}

pub(super) async fn a_review_of_an_old_attempt_is_refused(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    let of = |attempt| Action::Review {
        job,
        review: Review { verdict: Verdict::Pass, reason: None, attempt: Some(attempt) },
    };
    h.moved(ada, review(job, Verdict::Fail)).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.moved(bob, submission(job)).await;
    assert_eq!(h.refused(Actor::User(ada), of(1)).await, Rejection::AttemptOver(2));
    assert_eq!(h.moved(ada, of(2)).await.status(), Status::Verified);
}

pub(super) async fn silence_passes_after_the_review_window(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    h.clock.advance(72 * 3600 - 1);
    assert_eq!(h.run_due_tasks().await, 0);
    h.clock.advance(1);
    assert_eq!(h.run_due_tasks().await, 1);
    let over = h.job(job).await;
    assert_eq!(over.verification().unwrap().verifier, "review_window");
    assert_eq!((over.status(), h.balance(bob).await), (Status::Verified, 350));
    h.assert_books_balance().await;
}

pub(super) async fn strangers_are_refused_and_nothing_is_written(h: &Harness) {
    let (ada, bob, eve) = (h.user("ada", 1000).await, h.user("bob", 0).await, h.user("eve", 0).await);
    let job = h.accepted(ada, bob, 500).await;
    let strange = [
        Action::Pay(job),
        Action::Cancel(job),
        Action::Accept(job),
        Action::Reject(job),
        submission(job),
        Action::Fail { job, reason: None },
        review(job, Verdict::Pass),
    ];
    for action in strange {
        assert_eq!(h.refused(Actor::User(eve), action).await, Rejection::NotFound("job"));
    }
    assert_eq!(h.refused(Actor::User(bob), review(job, Verdict::Pass)).await, Rejection::NotTheSender);
    assert_eq!(h.refused(Actor::User(ada), submission(job)).await, Rejection::ReceivedByAnother);
    let bobs = h.default_agent(bob).await;
    let theft = Action::UpdateAgent { agent: bobs, name: Some("mine".to_owned()), personality: None, avatar_url: None };
    assert_eq!(h.refused(Actor::User(eve), theft).await, Rejection::NotFound("agent"));
    let unknown: JobId = "000000000000".parse().unwrap();
    assert_eq!(
        h.refused(Actor::User(eve), Action::Claim { agent: None, job: unknown }).await,
        Rejection::NotFound("job")
    );
    assert!(h.store.job(unknown).await.unwrap().is_none());
}

pub(super) async fn an_id_that_was_made_twice_harms_nothing(h: &Harness) {
    let ada = h.user("ada", 5000).await;
    let first = h.request(Actor::User(ada), Action::Post(posting(500)));
    assert!(matches!(h.store.submit(first.clone()).await, Ok(Outcome::Done(_))));
    let before = h.dump().await;
    let again = h.store.submit(first).await.unwrap_err();
    assert!(again.is_unavailable(), "{again:?}: the next try makes another one");
    assert_eq!(before, h.dump().await);
    h.post(ada, 500).await;
    h.assert_books_balance().await;
}

pub(super) async fn a_job_is_read_for_those_who_may_know_of_it(h: &Harness) {
    let (ada, bob, cyd) = (h.user("ada", 500).await, h.user("bob", 0).await, h.user("cyd", 0).await);
    let eve = h.user("eve", 0).await;
    let job = h.post(ada, 500).await;
    let claim = || Action::Claim { agent: None, job };
    let steps = [
        (bob, claim()),
        (bob, Action::Reject(job)),
        (cyd, claim()),
        (cyd, Action::Accept(job)),
        (cyd, Action::Fail { job, reason: None }),
        (cyd, claim()),
        (cyd, Action::Accept(job)),
        (cyd, submission(job)),
        (ada, review(job, Verdict::Pass)),
    ];
    let mut seen = Vec::new();
    for step in std::iter::once(None).chain(steps.into_iter().map(Some)) {
        if let Some((user, action)) = step {
            h.moved(user, action).await;
        }
        let mut line = h.status(job).await;
        for (name, user) in [("ada", ada), ("bob", bob), ("cyd", cyd), ("eve", eve)] {
            let there = h.job(job).await;
            let expected = if there.sight(user) == Sight::Nothing { None } else { Some(there) };
            assert_eq!(h.store.job_known_to(job, user).await.unwrap(), expected, "{line} {name}");
            if expected.is_some() {
                line.push_str(&format!(" {name}"));
            }
        }
        seen.push(line);
    }
    let expected = [
        "queued ada bob cyd eve",
        "held ada bob",
        "queued ada bob cyd eve",
        "held ada bob cyd",
        "accepted ada bob cyd",
        "queued ada bob cyd eve",
        "held ada bob cyd",
        "accepted ada bob cyd",
        "submitted ada bob cyd",
        "verified ada bob cyd",
    ];
    assert_eq!(seen, expected);
    // For whoever may not know of it, it is not even looked at: what cannot be read is no error.
    h.raw("UPDATE briefs SET criteria = '{'").await;
    assert_eq!(h.store.job_known_to(job, eve).await.unwrap(), None);
    assert!(h.store.job_known_to(job, bob).await.is_err());
    for action in [
        Action::Pay(job),
        Action::Cancel(job),
        claim(),
        Action::Accept(job),
        Action::Reject(job),
        submission(job),
        Action::Fail { job, reason: None },
        review(job, Verdict::Pass),
    ] {
        let (eve, bob) = (Actor::User(eve), Actor::User(bob));
        assert_eq!(h.refused(eve, action.clone()).await, Rejection::NotFound("job"), "{action:?}");
        assert!(h.submit(bob, action.clone()).await.is_err(), "{action:?}");
    }
}
