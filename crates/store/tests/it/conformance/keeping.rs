//! Receipts, leases, lists, and what comes back of what went in.

use std::sync::Arc;

use clawrk_domain::change::EventKind;
use clawrk_domain::{Action, Actor, Answer, Cents, Reason, Rejection, Status, Verdict};
use clawrk_store::{Due, JobList, Outcome, Place};

use crate::support::{Harness, background, posting, receipt, review, submission};

pub(super) async fn a_repeat_gets_the_same_bytes(h: &Harness) {
    let ada = h.user("ada", 5000).await;
    let keyed = |key: &str, print| {
        let mut request = h.request(Actor::User(ada), Action::Post(posting(500)));
        request.receipt = receipt(ada, key, print);
        h.store.submit(request)
    };
    let Outcome::Done(answer) = keyed("one", 1).await.unwrap() else { panic!("not done") };
    let before = h.dump().await;
    h.clock.advance(10);
    for _ in 0..2 {
        let Outcome::Replayed(bytes) = keyed("one", 1).await.unwrap() else { panic!("not replayed") };
        assert_eq!(bytes, format!("{answer:?}").into_bytes());
    }
    assert!(matches!(keyed("one", 2).await.unwrap(), Outcome::KeyReused));
    assert_eq!(h.dump().await, before);
    assert!(matches!(keyed("two", 1).await.unwrap(), Outcome::Done(_)));
    let bob = h.user("bob", 500).await;
    let mut theirs = h.request(Actor::User(bob), Action::Post(posting(500)));
    theirs.receipt = receipt(bob, "one", 2);
    assert!(matches!(h.store.submit(theirs).await.unwrap(), Outcome::Done(_)), "keys are per user");
    assert_eq!(h.balance(ada).await, 4000);
}

pub(super) async fn a_receipt_is_kept_for_a_day(h: &Harness) {
    let ada = h.user("ada", 5000).await;
    let keyed = || {
        let mut request = h.request(Actor::User(ada), Action::Post(posting(500)));
        request.receipt = receipt(ada, "one", 1);
        h.store.submit(request)
    };
    keyed().await.unwrap();
    h.clock.advance(24 * 3600 - 1);
    h.store.drop_old_receipts().await.unwrap();
    assert!(matches!(keyed().await.unwrap(), Outcome::Replayed(_)));
    h.clock.advance(1);
    assert!(matches!(keyed().await.unwrap(), Outcome::Done(_)), "an old receipt is replaced even if it is still there");
    assert!(matches!(keyed().await.unwrap(), Outcome::Replayed(_)));
    h.clock.advance(24 * 3600);
    h.store.drop_old_receipts().await.unwrap();
    assert_eq!(h.number("SELECT COUNT(*) FROM receipts").await, 0);
    assert_eq!(h.balance(ada).await, 4000);
}

pub(super) async fn a_budget_is_for_a_user_a_thing_and_a_day_over_all_nodes(h: &Harness) {
    let (ada, bob) = (h.user("ada", 0).await, h.user("bob", 0).await);
    let other = h.node().await;
    assert!(!h.store.spend(ada, "estimates", 0).await.unwrap(), "none is none");
    assert!(h.store.spend(ada, "estimates", 2).await.unwrap());
    assert!(other.spend(ada, "estimates", 2).await.unwrap());
    for _ in 0..3 {
        assert!(!h.store.spend(ada, "estimates", 2).await.unwrap());
        assert!(!other.spend(ada, "estimates", 2).await.unwrap());
    }
    assert_eq!(h.number("SELECT spent FROM budgets").await, 3, "what is refused is not counted without end");
    assert!(h.store.spend(ada, "verifications", 2).await.unwrap());
    assert!(h.store.spend(bob, "estimates", 2).await.unwrap());
    h.store.drop_old_receipts().await.unwrap();
    assert!(!h.store.spend(ada, "estimates", 2).await.unwrap(), "today's is kept");
    h.clock.advance(24 * 3600);
    assert!(h.store.spend(ada, "estimates", 2).await.unwrap(), "another day");
    h.store.drop_old_receipts().await.unwrap();
    assert_eq!(h.number("SELECT COUNT(*) FROM budgets").await, 1);
}

pub(super) async fn of_many_who_spend_at_once_as_many_as_may_do(h: &Harness) {
    let ada = h.user("ada", 0).await;
    let other = h.node().await;
    let tries = (0..40).map(|n| if n % 2 == 0 { h.store.clone() } else { other.clone() });
    let tries = tries.map(|store| background(async move { store.spend(ada, "estimates", 7).await.unwrap() }));
    let mut had = 0;
    for one in tries.collect::<Vec<_>>() {
        had += usize::from(one.await.unwrap());
    }
    assert_eq!(had, 7);
}

pub(super) async fn the_first_seal_stays(h: &Harness) {
    assert_eq!(h.store.seal(vec![0, 1]).await.unwrap(), [0, 1]);
    assert_eq!(h.node().await.seal(vec![2]).await.unwrap(), [0, 1]);
}

pub(super) async fn a_refused_request_keeps_no_receipt(h: &Harness) {
    let ada = h.user("ada", 500).await;
    let keyed = |price| {
        let mut request = h.request(Actor::User(ada), Action::Post(posting(price)));
        request.receipt = receipt(ada, "one", 1);
        h.store.submit(request)
    };
    let before = h.dump().await;
    assert!(matches!(keyed(1).await.unwrap(), Outcome::Rejected(Rejection::Invalid { .. })));
    assert_eq!(h.dump().await, before);
    assert!(matches!(keyed(500).await.unwrap(), Outcome::Done(Answer::Job(_))), "it is judged afresh");
}

pub(super) async fn a_leased_task_is_left_alone_until_its_lease_runs_out(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.clock.advance(30);
    let first = h.store.take_due_tasks(Due::Timers, 10, 5).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(h.store.take_due_tasks(Due::Timers, 10, 5).await.unwrap(), []);
    h.clock.advance(4);
    assert_eq!(h.store.take_due_tasks(Due::Timers, 10, 5).await.unwrap(), []);
    h.clock.advance(1);
    let second = h.store.take_due_tasks(Due::Timers, 10, 5).await.unwrap();
    assert_eq!((second.len(), second[0].task), (1, first[0].task));
    assert_ne!(second[0].token, first[0].token);
    assert_eq!(h.refused(Actor::Exchange, Action::Run(first[0])).await, Rejection::LeaseLost);
    h.done(Actor::Exchange, Action::Run(second[0])).await;
    assert_eq!(h.status(job).await, "queued");
    assert_eq!(h.refused(Actor::Exchange, Action::Run(second[0])).await, Rejection::LeaseLost);
    let expired =
        h.store.events(job).await.unwrap().iter().filter(|event| event.kind == EventKind::HoldExpired).count();
    assert_eq!(expired, 1);
    assert_eq!(h.number("SELECT COUNT(*) FROM tasks").await, 0);
}

pub(super) async fn leases_that_are_ended_are_nobodys_and_their_tasks_are_had_at_once(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.clock.advance(30);
    let first = h.store.take_due_tasks(Due::Timers, 10, 600).await.unwrap()[0];
    h.store.end_leases().await.unwrap();
    let second = h.store.take_due_tasks(Due::Timers, 10, 600).await.unwrap()[0];
    assert_eq!(second.task, first.task);
    assert_eq!(h.refused(Actor::Exchange, Action::Run(first)).await, Rejection::LeaseLost, "should its holder live");
    h.done(Actor::Exchange, Action::Run(second)).await;
}

pub(super) async fn tasks_are_leased_oldest_first_and_within_the_limit(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let mut jobs = Vec::new();
    for n in 0..4 {
        let agent = h.agent(bob, &format!("a{n}")).await.id;
        let job = h.post(ada, 500).await;
        h.moved(bob, Action::Claim { agent: Some(agent), job }).await;
        jobs.push(job);
        h.clock.advance(1);
    }
    h.clock.advance(60);
    let taken =
        |leases: Vec<clawrk_domain::Lease>| leases.iter().map(|lease| lease.task.job().unwrap()).collect::<Vec<_>>();
    assert_eq!(taken(h.store.take_due_tasks(Due::Timers, 3, 30).await.unwrap()), jobs[..3]);
    assert_eq!(taken(h.store.take_due_tasks(Due::Timers, 3, 30).await.unwrap()), jobs[3..]);
}

pub(super) async fn lists_are_in_order_and_come_in_pages(h: &Harness) {
    let (ada, bob) = (h.user("ada", 50_000).await, h.user("bob", 0).await);
    let mut posted = Vec::new();
    for n in 0..9 {
        posted.push(h.post(ada, 500).await);
        // Some share their time: among a sender's jobs the order they were posted in decides, on the board the id.
        h.clock.advance(i64::from(n % 3 == 2));
    }
    let stored = |list| async move {
        let mut pages: Vec<Place> = Vec::new();
        loop {
            let page = h.store.job_places(list, pages.last().copied(), 2).await.unwrap();
            pages.extend(&page);
            if page.len() < 2 {
                break pages;
            }
        }
    };
    let sent = stored(JobList::SentBy(ada, None)).await;
    assert_eq!(sent, h.store.job_places(JobList::SentBy(ada, None), None, 100).await.unwrap());
    let newest_first: Vec<_> = posted.iter().rev().copied().collect();
    assert_eq!(sent.iter().map(|place| place.job).collect::<Vec<_>>(), newest_first);
    let mut open = sent.clone();
    open.sort_by_key(|place| std::cmp::Reverse((place.time, place.job.to_string())));
    assert_eq!(stored(JobList::Queued).await, open);
    let foreign = h.store.job_places(JobList::SentBy(bob, None), Some(sent[0]), 100).await.unwrap();
    assert_eq!(foreign, [], "another's job is no place to go on from");
    assert_eq!(sent[0].to_string().parse::<Place>(), Ok(sent[0]));

    let agent = h.default_agent(bob).await;
    for job in &posted[..3] {
        h.clock.advance(1);
        h.moved(bob, Action::Claim { agent: None, job: *job }).await;
        h.moved(bob, Action::Accept(*job)).await;
    }
    h.moved(bob, Action::Claim { agent: None, job: posted[3] }).await;
    h.clock.advance(1);
    h.moved(bob, Action::Fail { job: posted[1], reason: None }).await;
    h.moved(bob, submission(posted[0])).await;
    let ids = |places: Vec<Place>| places.into_iter().map(|place| place.job).collect::<Vec<_>>();
    assert_eq!(ids(stored(JobList::ReceivedBy(agent)).await), [posted[0], posted[2]]);
    let mut worked = ids(stored(JobList::WorkedBy(bob)).await);
    assert_eq!(worked[0], posted[0]);
    worked[1..].sort();
    let mut held_too = vec![posted[2], posted[3]];
    held_too.sort();
    assert_eq!(worked[1..], held_too);
    assert_eq!(ids(stored(JobList::SentBy(ada, Some(Status::Submitted))).await), [posted[0]]);
    assert_eq!(stored(JobList::SentBy(ada, Some(Status::Queued))).await.len(), 6);
    assert_eq!(stored(JobList::SentBy(bob, None)).await, []);
}

pub(super) async fn entries_are_the_wallets_ledger(h: &Harness) {
    let (ada, bob) = (h.user("ada", 1000).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    h.moved(ada, review(job, Verdict::Pass)).await;
    let called_off = h.post(ada, 200).await;
    h.moved(ada, Action::Cancel(called_off)).await;
    let entries = h.store.entries(ada, None, 100).await.unwrap();
    let lines: Vec<_> = entries.iter().map(|entry| (entry.delta.0, entry.reason.to_string())).collect();
    let grant = format!("grant:{}", entries[3].id);
    let [refund, paid, first] = [format!("refund:{called_off}"), format!("job:{called_off}"), format!("job:{job}")];
    assert_eq!(lines, [(200, refund), (-200, paid), (-500, first), (1000, grant)]);
    assert_eq!(entries.iter().map(|entry| entry.delta.0).sum::<i64>(), h.balance(ada).await);
    let mut pages = h.store.entries(ada, None, 3).await.unwrap();
    pages.extend(h.store.entries(ada, Some(pages[2].id), 3).await.unwrap());
    assert_eq!(pages, entries);
    let earned = h.store.entries(bob, None, 100).await.unwrap();
    assert_eq!((earned.len(), earned[0].delta, earned[0].reason), (1, Cents(350), Reason::Earning(job)));
    assert_eq!(
        h.store.entries(bob, Some(pages[0].id), 100).await.unwrap(),
        [],
        "another's line is no place to go on from"
    );
}

pub(super) async fn events_tell_the_story_and_the_money(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.submitted(ada, bob, 500).await;
    h.moved(ada, review(job, Verdict::Fail)).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.moved(bob, submission(job)).await;
    h.moved(ada, review(job, Verdict::Pass)).await;
    let events = h.store.events(job).await.unwrap();
    use EventKind::{Accepted, Claimed, Posted, Submitted, VerificationFailed, Verified};
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let expected = [Posted, Claimed, Accepted, Submitted, VerificationFailed, Claimed, Accepted, Submitted, Verified];
    assert_eq!(kinds, expected);
    assert!(events.iter().zip(1..).all(|(event, n)| event.n == n && event.job == job));
    let moved = |at: usize| {
        let moved = events[at].moved.iter();
        moved.map(|moved| format!("{} {} {}", moved.from, moved.to, moved.cents.0)).collect::<Vec<_>>()
    };
    assert_eq!(moved(0), ["wallet escrow 500"]);
    assert_eq!(moved(8), ["escrow wallet 350", "escrow platform 150"]);
    assert!((1..8).all(|at| moved(at).is_empty()));
    assert_eq!(events[4].reason.as_deref(), Some("It is not what was asked for."));
    assert_eq!((events[4].attempt, events[6].attempt), (Some(1), Some(2)));
    assert_eq!(events[4].worker.unwrap().user, bob);
    assert_eq!(events[8].status, Status::Verified);
}

pub(super) async fn texts_and_bytes_come_back_as_they_went_in(h: &Harness) {
    let (ada, bob) = (h.user("O'Brien \"; DROP TABLE users; -- \u{1f980}", 1000).await, h.user("bob", 0).await);
    let hostile = "\u{202e}\u{1b}[31m<script>' OR 1=1 --\r\n\t\u{7f}\u{feff}Ünïcödé \u{10ffff}";
    let mut new = posting(500);
    (new.prompt, new.description, new.requirements) =
        (hostile.to_owned(), Some(hostile.to_owned()), Some(String::new()));
    (new.criteria, new.sealed_env) = (vec![hostile.to_owned(), "\"\\".to_owned()], Some((0..=255).collect()));
    let job = h.moved(ada, Action::Post(new.clone())).await;
    let brief = &h.job(job.id).await.brief;
    assert_eq!(
        (&brief.prompt, &brief.description, &brief.requirements),
        (&new.prompt, &new.description, &new.requirements)
    );
    assert_eq!((&brief.criteria, &brief.sealed_env), (&new.criteria, &new.sealed_env));
    h.moved(bob, Action::Claim { agent: None, job: job.id }).await;
    h.moved(bob, Action::Accept(job.id)).await;
    h.moved(bob, Action::Submit { job: job.id, output_text: Some(hostile.to_owned()), files: Vec::new() }).await;
    assert_eq!(h.job(job.id).await.submission().unwrap().output_text.as_deref(), Some(hostile));
    assert_eq!(h.store.users_named("O'Brien \"; DROP TABLE users; -- \u{1f980}").await.unwrap().len(), 1);
    let mut plain = posting(100);
    (plain.description, plain.requirements, plain.criteria, plain.sealed_env) = (None, None, Vec::new(), None);
    let job = h.moved(ada, Action::Post(plain)).await;
    assert_eq!(h.job(job.id).await, *job);
}

pub(super) async fn the_observer_hears_before_the_answer(h: &Harness) {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    h.store.observe(Arc::new(move |jobs| {
        jobs.iter().for_each(|job| ears.lock().unwrap().push((job.id, job.version, job.status())))
    }));
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    assert!(heard.lock().unwrap().contains(&(job, 1, Status::Queued)));
    h.moved(bob, Action::Claim { agent: None, job }).await;
    assert!(heard.lock().unwrap().contains(&(job, 2, Status::Held)));
    h.refused(Actor::User(bob), Action::Cancel(job)).await;
    assert!(heard.lock().unwrap().iter().all(|(_, version, _)| *version <= 2));
}
