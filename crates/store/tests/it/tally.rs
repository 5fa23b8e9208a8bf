//! What happened to jobs is counted once, whoever counts it, how often and in which pieces; and the directory that
//! follows from it.

use std::collections::{BTreeMap, BTreeSet};

use clawrk_domain::action::AgentFields;
use clawrk_domain::tally::{Day, Measure, Standing, bucket};
use clawrk_domain::{Action, Actor, AgentId, Answer, JobId, Status, UserId, Verdict};
use clawrk_store::{DirectoryPlace, Listed, Store};

use crate::support::{Harness, START, background, on_both_databases, review};

on_both_databases!(
    a_job_that_was_paid_out_is_in_every_figure,
    what_is_counted_again_counts_once,
    counting_that_fails_has_counted_nothing,
    several_that_count_at_once_count_once,
    long_histories_are_counted_in_pieces,
    a_walk_finds_what_nobody_was_told_of,
    the_best_agents_come_first_and_then_the_new_ones,
    agents_that_are_gone_are_not_listed,
);

const TABLES: [&str; 7] = ["counted", "census", "days", "spreads", "standings", "voices", "paces"];

/// Everything that is counted, as text.
async fn counted(h: &Harness) -> String {
    let dump = h.dump().await;
    let is_counted = |line: &&str| TABLES.contains(&line.split(' ').next().unwrap());
    dump.lines().filter(is_counted).collect::<Vec<_>>().join("\n")
}

/// Counts all that is not counted, so many jobs at once.
pub(crate) async fn count_all(store: &Store, at_once: usize) {
    let mut after = None;
    loop {
        let found = store.uncounted(after, 7).await.unwrap();
        for some in found.jobs.chunks(at_once) {
            let mut left = some.to_vec();
            while !left.is_empty() {
                left = store.count(left).await.unwrap();
            }
        }
        match found.next {
            Some(next) => after = Some(next),
            None => return,
        }
    }
}

/// Asserts that all sums are what a plain look at the whole history gives.
pub(crate) async fn assert_recount(h: &Harness) {
    let number = |text: &Option<String>| text.as_deref().unwrap().parse::<i64>().unwrap();
    let rows = async |sql: &str| h.rows(sql).await.unwrap();
    let census = h.store.market(Day::of(h.clock.now()), 1, 1).await.unwrap().statuses;
    let mut statuses: BTreeMap<String, i64> = Status::ALL.map(|status| (status.to_string(), 0)).into();
    for row in rows("SELECT status, COUNT(*) FROM jobs GROUP BY status").await {
        statuses.insert(row[0].clone().unwrap(), number(&row[1]));
    }
    assert_eq!(
        census.map(|(status, many)| (status.to_string(), many)).into_iter().collect::<BTreeMap<_, _>>(),
        statuses
    );

    let others = "e.user_id IS NOT NULL AND e.user_id <> j.sender_id";
    let silent = "a.verification LIKE '%\"verifier\":\"review_window\"%'";
    let sum = |what: &str| format!("CAST(SUM(CASE WHEN {what} THEN 1 ELSE 0 END) AS BIGINT)");
    let sums = [
        sum("e.kind = 'posted'"),
        sum(&format!("e.kind = 'accepted' AND {others}")),
        sum(&format!("e.kind = 'verified' AND {others}")),
        sum(&format!("e.status = 'failed' AND {others}")),
        sum("e.status = 'cancelled'"),
        sum(&format!("e.kind = 'verified' AND {others} AND NOT {silent}")),
        sum(&format!("e.kind = 'verification_failed' AND {others}")),
        format!("CAST(SUM(CASE WHEN e.kind = 'verified' AND {others} THEN j.price_cents ELSE 0 END) AS BIGINT)"),
    ];
    let from = "FROM events e JOIN jobs j ON j.id = e.job_id LEFT JOIN attempts a ON a.job_id = e.job_id AND a.number = e.attempt";
    let days = format!("SELECT e.at / 86400000000, {} {from} GROUP BY 1 ORDER BY 1", sums.join(", "));
    let zeros = |row: &Vec<Option<String>>| row[1..].iter().any(|count| count.as_deref() != Some("0"));
    let recounted: Vec<_> = rows(&days).await.into_iter().filter(zeros).collect();
    let kept = "SELECT day, posted, accepted, verified, failed, cancelled, passed, not_passed, volume_cents FROM days ORDER BY 1";
    assert_eq!(rows(kept).await, recounted);

    let mut prices: BTreeMap<(i64, u32), i64> = BTreeMap::new();
    let paid = format!("SELECT e.at / 86400000000, j.price_cents {from} WHERE e.kind = 'verified' AND {others}");
    for row in rows(&paid).await {
        *prices.entry((number(&row[0]), bucket(number(&row[1])))).or_default() += 1;
    }
    let kept = rows("SELECT day, bucket, many FROM spreads WHERE measure = 'price' ORDER BY 1, 2").await;
    let kept: BTreeMap<_, _> =
        kept.iter().map(|row| ((number(&row[0]), number(&row[1]) as u32), number(&row[2]))).collect();
    assert_eq!(kept, prices);
    let accepts = "SELECT COALESCE(CAST(SUM(many) AS BIGINT), 0) FROM spreads WHERE measure = 'accept'";
    assert_eq!(h.number(accepts).await, prices.values().sum::<i64>());

    let voices = format!(
        "SELECT e.agent_id, j.sender_id, {}, {}, CAST(SUM(CASE WHEN e.kind = 'verified' THEN
                CASE WHEN a.submitted_at > a.accepted_at THEN (a.submitted_at - a.accepted_at) / 1000000 ELSE 0 END
                ELSE 0 END) AS BIGINT)
           {from} WHERE {others} AND (e.kind = 'verified' AND NOT {silent}
             OR e.kind IN ('gave_up', 'deadline_passed', 'verification_failed') AND e.status <> 'cancelled')
          GROUP BY 1, 2 ORDER BY 1, 2",
        sum("e.kind = 'verified'"),
        sum("e.kind <> 'verified'")
    );
    let voices = rows(&voices).await;
    assert_eq!(rows("SELECT * FROM voices ORDER BY 1, 2").await, voices);
    let mut standings: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    for voice in &voices {
        let (verified, failed) = (number(&voice[2]), number(&voice[3]));
        let agent = standings.entry(voice[0].clone().unwrap()).or_default();
        let more = [1, verified.min(3), failed.min(3), verified * 1_000_000 / (verified + failed)];
        agent.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let silence = format!("SELECT DISTINCT e.agent_id {from} WHERE {others} AND e.kind = 'verified'");
    for row in rows(&silence).await {
        standings.entry(row[0].clone().unwrap()).or_default();
    }
    let kept = rows("SELECT agent_id, senders, verified, failed, rates FROM standings ORDER BY 1").await;
    let kept: BTreeMap<_, _> =
        kept.iter().map(|row| (row[0].clone().unwrap(), [1, 2, 3, 4].map(|at: usize| number(&row[at])))).collect();
    assert_eq!(kept, standings);
    let active = format!(
        "SELECT last_day, COUNT(*) FROM (SELECT e.agent_id, MAX(e.at / 86400000000) AS last_day {from}
          WHERE {others} AND e.kind = 'verified' GROUP BY 1) last GROUP BY 1 ORDER BY 1"
    );
    assert_eq!(rows("SELECT day, last_active FROM days WHERE last_active <> 0 ORDER BY 1").await, rows(&active).await);
}

/// Asserts that what was counted in pieces is what is counted anew in others.
pub(crate) async fn assert_rebuilt(h: &Harness) {
    let before = counted(h).await;
    h.store.forget_counts().await.unwrap();
    assert_ne!(counted(h).await, before);
    count_all(&h.store, 3).await;
    assert_eq!(counted(h).await, before);
}

/// A job of the sender that the worker's default agent takes on and hands in, and a verdict.
async fn judged(h: &Harness, sender: UserId, worker: UserId, verdict: Verdict) -> JobId {
    let job = h.submitted(sender, worker, 500).await;
    h.moved(sender, review(job, verdict)).await;
    job
}

async fn a_job_that_was_paid_out_is_in_every_figure(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let job = h.post(ada, 1000).await;
    h.clock.advance(20);
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.clock.advance(15);
    h.moved(bob, crate::support::submission(job)).await;
    h.clock.advance(10);
    h.moved(ada, review(job, Verdict::Pass)).await;
    assert_eq!(h.store.count(vec![job]).await.unwrap(), []);
    let today = Day::of(START);
    let market = h.store.market(today, 30, 30).await.unwrap();
    assert!(market.statuses.contains(&(Status::Verified, 1)), "{market:?}");
    assert_eq!(market.statuses.iter().map(|(_, many)| many).sum::<i64>(), 1);
    let counts = market.days[&today];
    assert_eq!((counts.posted, counts.accepted, counts.verified, counts.passed), (1, 1, 1, 1));
    assert_eq!((counts.volume.0, counts.last_active), (1000, 1));
    for (measure, value) in [(Measure::Price, 1000), (Measure::Accept, 20), (Measure::Verify, 10)] {
        assert_eq!(market.spreads[&measure], BTreeMap::from([(bucket(value), 1)]));
    }
    let agent = h.default_agent(bob).await;
    let listed = h.store.directory(DirectoryPlace::START, 10).await.unwrap().remove(0).1.unwrap();
    assert_eq!((listed.id, listed.standing.senders, listed.standing.verified), (agent, 1, 1));
    assert_eq!(h.number("SELECT seconds FROM voices").await, 15);
    assert_recount(h).await;
    let yesterday = h.store.market(today.minus(1), 30, 30).await.unwrap();
    assert!(yesterday.days.is_empty() && yesterday.spreads.values().all(BTreeMap::is_empty), "no day ahead is shown");
}

async fn what_is_counted_again_counts_once(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let done = judged(h, ada, bob, Verdict::Pass).await;
    let again = judged(h, ada, bob, Verdict::Fail).await;
    let nobodys: JobId = "zzzzzzzzzzzz".parse().unwrap();
    h.store.count(vec![done, again, done, nobodys]).await.unwrap();
    let once = counted(h).await;
    for _ in 0..2 {
        h.store.count(vec![done, again]).await.unwrap();
        h.node().await.count(vec![again]).await.unwrap();
    }
    assert_eq!(counted(h).await, once);
    h.moved(bob, Action::Claim { agent: None, job: again }).await;
    h.store.count(vec![done, again]).await.unwrap();
    assert_ne!(counted(h).await, once);
    assert_recount(h).await;
    h.assert_books_balance().await;
}

async fn counting_that_fails_has_counted_nothing(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let job = judged(h, ada, bob, Verdict::Pass).await;
    let before = counted(h).await;
    // The sums are the last thing that is written.
    h.raw("ALTER TABLE spreads RENAME TO elsewhere").await;
    assert!(h.store.count(vec![job]).await.is_err());
    h.raw("ALTER TABLE elsewhere RENAME TO spreads").await;
    assert_eq!(counted(h).await, before);
    h.store.count(vec![job]).await.unwrap();
    assert_recount(h).await;
}

async fn several_that_count_at_once_count_once(h: &Harness) {
    let ada = h.user("ada", 50_000).await;
    let workers = [h.user("bob", 0).await, h.user("cy", 0).await, h.user("di", 0).await];
    let nodes = [h.store.clone(), h.node().await, h.node().await];
    let mut jobs = Vec::new();
    let mut counting = Vec::new();
    for round in 0..12 {
        let worker = workers[round % 3];
        jobs.push(judged(h, ada, worker, if round % 4 == 3 { Verdict::Fail } else { Verdict::Pass }).await);
        for node in &nodes {
            let (node, mut jobs) = (node.clone(), jobs.clone());
            jobs.reverse();
            counting.push(background(async move { node.count(jobs).await }));
        }
    }
    for one in counting {
        assert_eq!(one.await.unwrap().unwrap(), []);
    }
    assert_recount(h).await;
    assert_rebuilt(h).await;
}

async fn long_histories_are_counted_in_pieces(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let job = h.post(ada, 500).await;
    for _ in 0..70 {
        h.moved(bob, Action::Claim { agent: None, job }).await;
        h.moved(bob, Action::Reject(job)).await;
    }
    assert_eq!(h.store.count(vec![job]).await.unwrap(), [job], "141 events are more than are counted at once");
    assert_eq!(h.store.uncounted(None, 10).await.unwrap().jobs, [job]);
    assert_eq!(h.store.count(vec![job]).await.unwrap(), []);
    assert_eq!(h.store.uncounted(None, 10).await.unwrap().jobs, []);
    assert_recount(h).await;
}

async fn a_walk_finds_what_nobody_was_told_of(h: &Harness) {
    let (ada, bob) = (h.user("ada", 50_000).await, h.user("bob", 0).await);
    let mut jobs = Vec::new();
    for _ in 0..10 {
        jobs.push(h.post(ada, 500).await);
        h.clock.advance(1);
    }
    let mut expected = jobs.clone();
    expected.sort();
    let found = h.store.uncounted(None, 4).await.unwrap();
    assert_eq!((&found.jobs[..], found.next), (&expected[..4], Some(expected[3])));
    count_all(&h.store, 5).await;
    h.moved(bob, Action::Claim { agent: None, job: jobs[6] }).await;
    let found = h.store.uncounted(None, 100).await.unwrap();
    assert_eq!((found.jobs, found.next), (vec![jobs[6]], None));
    count_all(&h.store, 5).await;
    assert_recount(h).await;
    assert_rebuilt(h).await;
}

/// Makes an agent that says what it can do.
async fn described(h: &Harness, owner: UserId, name: &str, personality: &str) -> AgentId {
    let fields = AgentFields { name: name.to_owned(), personality: Some(personality.to_owned()), avatar_url: None };
    match h.done(Actor::User(owner), Action::CreateAgent(fields)).await {
        Answer::Agent(agent) => agent.id,
        other => panic!("{other:?}"),
    }
}

/// All of the directory, so many places at once.
async fn directory(h: &Harness, limit: u32) -> Vec<Listed> {
    let (mut all, mut after) = (Vec::new(), DirectoryPlace::START);
    loop {
        let some = h.store.directory(after, limit).await.unwrap();
        assert!(some.len() <= limit as usize);
        let Some((last, _)) = some.last() else { return all };
        after = last.to_string().parse().unwrap();
        assert_eq!(after, *last);
        all.extend(some.into_iter().filter_map(|(_, listed)| listed));
    }
}

async fn the_best_agents_come_first_and_then_the_new_ones(h: &Harness) {
    let mut senders = Vec::new();
    for name in ["ada", "eve", "ida"] {
        senders.push(h.user(name, 50_000).await);
    }
    let (bob, cy, di) = (h.user("bob", 0).await, h.user("cy", 0).await, h.user("di", 0).await);
    let mut new = Vec::new();
    for name in ["n1", "n2", "n3"] {
        new.push(described(h, di, name, "patient").await);
        h.clock.advance(1);
    }
    for sender in &senders {
        judged(h, *sender, bob, Verdict::Pass).await;
    }
    for verdict in [Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Pass] {
        judged(h, senders[0], cy, verdict).await;
    }
    judged(h, senders[1], di, Verdict::Fail).await;
    count_all(&h.store, 9).await;
    let worked = [h.default_agent(bob).await, h.default_agent(cy).await, h.default_agent(di).await];
    let expected: Vec<AgentId> = worked.into_iter().chain(new).collect();
    for limit in [1, 2, 4, 100] {
        let found: Vec<AgentId> = directory(h, limit).await.iter().map(|listed| listed.id).collect();
        assert_eq!(found, expected, "{limit} at once");
    }
    let standings: Vec<Standing> = directory(h, 100).await.iter().map(|listed| listed.standing).collect();
    assert_eq!((standings[0].pass_rate(), standings[0].verified), (Some(1.0), 3));
    assert_eq!((standings[1].pass_rate(), standings[1].verified, standings[1].senders), (None, 3, 1));
    assert_eq!((standings[2].failed, standings[2].score(), standings[5]), (1, 0, Standing::default()));
    assert_recount(h).await;
}

async fn agents_that_are_gone_are_not_listed(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let (worked, new) = (described(h, bob, "worked", "quick").await, described(h, bob, "new", "slow").await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: Some(worked), job }).await;
    h.moved(bob, Action::Accept(job)).await;
    h.moved(bob, crate::support::submission(job)).await;
    h.moved(ada, review(job, Verdict::Pass)).await;
    count_all(&h.store, 9).await;
    let ids = async || directory(h, 10).await.iter().map(|listed| listed.id).collect::<BTreeSet<_>>();
    assert_eq!(ids().await, BTreeSet::from([worked, new]));
    let renamed = Action::UpdateAgent {
        agent: worked,
        name: Some("other".to_owned()),
        personality: Some(None),
        avatar_url: None,
    };
    h.done(Actor::User(bob), renamed).await;
    let listed = directory(h, 10).await.remove(0);
    assert_eq!((listed.name.as_str(), listed.personality, listed.standing.verified), ("other", None, 1));
    for agent in [worked, new] {
        h.done(Actor::User(bob), Action::DeleteAgent(agent)).await;
    }
    assert_eq!(ids().await, BTreeSet::new());
    assert_eq!(h.number("SELECT COUNT(*) FROM standings").await, 1, "what happened stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_after_later_jobs_were_counted_is_counted_too() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 5000).await;
    let job = h.post(ada, 500).await;
    // A job that is older than all others, in a transaction that takes its time.
    h.raw("BEGIN").await;
    h.raw("INSERT INTO jobs SELECT '000000000001', sender_id, status, price_cents, fee_cents, escrow_cents, time_limit_seconds,
                  NULL, NULL, NULL, 0, 0, NULL, 1, NULL, created_at, updated_at FROM jobs").await;
    h.raw("INSERT INTO events SELECT '000000000001', 1, at, kind, by_whom, status, NULL, NULL, NULL, NULL, NULL FROM events").await;
    let late: JobId = "000000000001".parse().unwrap();
    h.store.count(vec![late, job]).await.unwrap();
    count_all(&h.store, 9).await;
    h.raw("COMMIT").await;
    assert_eq!(h.store.uncounted(None, 9).await.unwrap().jobs, [late]);
    h.store.count(vec![late]).await.unwrap();
    assert_recount(&h).await;
}
