//! Many at once: whoever wins, exactly one does, and the books balance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clawrk_domain::action::{AgentFields, NewUser};
use clawrk_domain::key::NewKey;
use clawrk_domain::{
    Action, Actor, AgentId, Answer, Cents, Command, JobId, Rejection, Scopes, State, Status, UserId, Verdict,
};
use clawrk_store::{Due, Outcome, Request, Store, StoreError};
use futures_util::future::join_all;

use crate::support::{Harness, background, new_user, on_both_databases, posting, receipt, review, seed, submission};
use crate::throwaway::connect;

on_both_databases!(
    pulls_at_once_hold_each_job_once,
    one_agent_pulling_at_once_holds_one_job,
    claims_at_once_have_one_winner,
    agents_that_claim_what_the_other_holds_do_not_wait_for_ever,
    a_job_pulled_from_all_sides_moves_one_way,
    a_key_sent_many_times_at_once_has_one_effect,
    a_name_goes_to_exactly_one_agent,
    an_address_goes_to_exactly_one_user,
    a_wallet_pays_for_as_many_jobs_as_it_can,
    runners_at_once_fire_each_task_once,
    other_nodes_hear_within_a_second,
    what_is_remembered_elsewhere_is_forgotten_within_a_second,
    nodes_may_start_at_once,
);

/// Sends all of it at once, in turn to each node, and waits for every outcome.
pub(crate) async fn at_once(nodes: &[Store], requests: Vec<Request>) -> Vec<Result<Outcome, StoreError>> {
    let (start, _) = tokio::sync::broadcast::channel::<()>(1);
    let sent = requests.into_iter().zip(nodes.iter().cycle()).map(|(request, node)| {
        let (node, mut started, (answer, answered)) =
            (node.clone(), start.subscribe(), tokio::sync::oneshot::channel());
        background(async move {
            let _ = started.recv().await;
            let _ = answer.send(node.submit(request).await);
        });
        async { answered.await.unwrap() }
    });
    let sent: Vec<_> = sent.collect();
    start.send(()).unwrap();
    join_all(sent).await
}

async fn two_nodes(h: &Harness) -> [Store; 2] {
    [h.store.clone(), h.node().await]
}

fn done(outcomes: &[Result<Outcome, StoreError>]) -> Vec<&Answer> {
    let answers = outcomes.iter().filter_map(|outcome| match outcome {
        Ok(Outcome::Done(answer)) => Some(answer),
        Ok(_) => None,
        Err(error) => panic!("{error}: {error:?}"),
    });
    answers.collect()
}

/// How often each refusal was given.
fn refusals(outcomes: &[Result<Outcome, StoreError>]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        if let Ok(Outcome::Rejected(rejection)) = outcome {
            *counts.entry(rejection.code().0).or_default() += 1;
        }
    }
    counts
}

async fn agents(h: &Harness, owner: UserId, count: usize) -> Vec<AgentId> {
    let mut agents = Vec::new();
    for n in 0..count {
        agents.push(h.agent(owner, &format!("agent {n}")).await.id);
    }
    agents
}

async fn jobs(h: &Harness, sender: UserId, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(h.post(sender, 100).await);
    }
    jobs
}

async fn pulls_at_once_hold_each_job_once(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let (jobs, agents) = (jobs(h, ada, 10).await, agents(h, bob, 64).await);
    let pull = |agent| Action::Pull { agent: Some(agent), candidates: jobs.clone() };
    let pulls = agents.into_iter().map(|agent| h.request(Actor::User(bob), pull(agent))).collect();
    let outcomes = at_once(&two_nodes(h).await, pulls).await;
    let mut held: Vec<JobId> = done(&outcomes)
        .into_iter()
        .filter_map(|answer| if let Answer::Job(job) = answer { Some(job.id) } else { None })
        .collect();
    // A pull passes over a job that another one has in hand, even if that one leaves it: a second round takes the rest.
    let idle = h.rows("SELECT id FROM agents WHERE is_default = 0 AND id NOT IN (SELECT worker_agent_id FROM jobs WHERE status = 'held')");
    for row in idle.await.unwrap() {
        let agent = row[0].as_deref().unwrap().parse().unwrap();
        if let Answer::Job(job) = h.done(Actor::User(bob), pull(agent)).await {
            held.push(job.id);
        }
    }
    assert_eq!(held.len(), 10, "each job is held once");
    assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), jobs.into_iter().collect());
    assert_eq!(h.number("SELECT COUNT(DISTINCT worker_agent_id) FROM jobs WHERE status = 'held'").await, 10);
    assert_eq!(h.number("SELECT COUNT(*) FROM events WHERE kind = 'pulled'").await, 10);
}

async fn one_agent_pulling_at_once_holds_one_job(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let jobs = jobs(h, ada, 5).await;
    let pull = |_| h.request(Actor::User(bob), Action::Pull { agent: None, candidates: jobs.clone() });
    let outcomes = at_once(&two_nodes(h).await, (0..24).map(pull).collect()).await;
    let held: BTreeSet<_> = done(&outcomes).into_iter().map(|answer| format!("{answer:?}")).collect();
    assert_eq!((outcomes.len(), held.len()), (24, 1), "{held:?}");
    assert_eq!(h.number("SELECT COUNT(*) FROM jobs WHERE status = 'held'").await, 1);
}

async fn claims_at_once_have_one_winner(h: &Harness) {
    let (ada, bob) = (h.user("ada", 500).await, h.user("bob", 0).await);
    let (job, agents) = (h.post(ada, 500).await, agents(h, bob, 20).await);
    let claim = |agent| h.request(Actor::User(bob), Action::Claim { agent: Some(agent), job });
    let outcomes = at_once(&two_nodes(h).await, agents.into_iter().map(claim).collect()).await;
    assert_eq!(done(&outcomes).len(), 1);
    assert_eq!(refusals(&outcomes), BTreeMap::from([("wrong_state", 19)]));
}

async fn agents_that_claim_what_the_other_holds_do_not_wait_for_ever(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let (jobs, agents) = (jobs(h, ada, 2).await, agents(h, bob, 2).await);
    let nodes = two_nodes(h).await;
    for round in 0..10 {
        let (mine, other) = (jobs[round % 2], jobs[(round + 1) % 2]);
        let claim = |agent, job| h.request(Actor::User(bob), Action::Claim { agent: Some(agent), job });
        for (agent, job) in [(agents[0], mine), (agents[1], other)] {
            h.moved(bob, Action::Claim { agent: Some(agent), job }).await;
        }
        h.clock.advance(31);
        let crossed = vec![claim(agents[0], other), claim(agents[1], mine)];
        let before = std::time::Instant::now();
        let outcomes = at_once(&nodes, crossed).await;
        assert!(before.elapsed() < Duration::from_millis(900), "a deadlock was waited for");
        // A job whose hold ran out is not queued before its task has run.
        assert_eq!((done(&outcomes).len(), refusals(&outcomes)), (0, BTreeMap::from([("wrong_state", 2)])));
        h.clock.advance(100);
        h.run_due_tasks().await;
    }
}

async fn a_job_pulled_from_all_sides_moves_one_way(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let nodes = two_nodes(h).await;
    let mut ends = BTreeSet::new();
    for round in 0..12 {
        let job = if round % 2 == 0 { h.accepted(ada, bob, 100).await } else { h.submitted(ada, bob, 100).await };
        let (sender, worker) = (Actor::User(ada), Actor::User(bob));
        let mut moves = vec![
            h.request(worker, submission(job)),
            h.request(sender, Action::Cancel(job)),
            h.request(sender, review(job, Verdict::Pass)),
            h.request(sender, review(job, Verdict::Fail)),
            h.request(worker, Action::Fail { job, reason: None }),
            h.request(sender, review(job, Verdict::Pass)),
        ];
        moves.rotate_left(round % 6);
        let outcomes = at_once(&nodes, moves).await;
        done(&outcomes);
        let events = h.store.events(job).await.unwrap();
        let stored = h.job(job).await;
        assert!(events.iter().zip(1..).all(|(event, n)| event.n == n));
        assert_eq!(events.len(), stored.version as usize, "every change left one event");
        assert_eq!(events.last().unwrap().status, stored.status());
        ends.insert(stored.status());
        h.assert_books_balance().await;
        let escrow = h.number(&format!("SELECT escrow_cents FROM jobs WHERE id = '{job}'")).await;
        assert_eq!(escrow, if stored.status().is_funded() { 100 } else { 0 });
    }
    assert!(ends.contains(&Status::Verified), "{ends:?}");
}

async fn a_key_sent_many_times_at_once_has_one_effect(h: &Harness) {
    let ada = h.user("ada", 5000).await;
    let keyed = |_| {
        let mut request = h.request(Actor::User(ada), Action::Post(posting(100)));
        request.receipt = receipt(ada, "the same", 1);
        request
    };
    let outcomes = at_once(&two_nodes(h).await, (0..16).map(keyed).collect()).await;
    let first = done(&outcomes);
    assert_eq!(first.len(), 1);
    let kept = format!("{:?}", first[0]).into_bytes();
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Replayed(bytes)) if *bytes == kept));
    assert_eq!(replayed.count(), 15);
    assert_eq!((h.balance(ada).await, h.number("SELECT COUNT(*) FROM jobs").await), (4900, 1));
}

async fn a_name_goes_to_exactly_one_agent(h: &Harness) {
    let ada = h.user("ada", 0).await;
    let fields = AgentFields { name: "poet".to_owned(), personality: None, avatar_url: None };
    let create = |_| h.request(Actor::User(ada), Action::CreateAgent(fields.clone()));
    let outcomes = at_once(&two_nodes(h).await, (0..16).map(create).collect()).await;
    assert_eq!((done(&outcomes).len(), refusals(&outcomes)), (1, BTreeMap::from([("name_taken", 15)])));
}

async fn an_address_goes_to_exactly_one_user(h: &Harness) {
    let new = NewUser { email: Some("ada@example.org".to_owned()), ..new_user("ada", Some(Cents(100))) };
    let create = |_| h.request(Actor::Operator, Action::CreateUser(new.clone()));
    let outcomes = at_once(&two_nodes(h).await, (0..16).map(create).collect()).await;
    assert_eq!((done(&outcomes).len(), refusals(&outcomes)), (1, BTreeMap::from([("email_taken", 15)])));
    h.assert_books_balance().await;
}

async fn a_wallet_pays_for_as_many_jobs_as_it_can(h: &Harness) {
    let ada = h.user("ada", 1000).await;
    let post = |_| h.request(Actor::User(ada), Action::Post(posting(100)));
    let outcomes = at_once(&two_nodes(h).await, (0..20).map(post).collect()).await;
    let short = done(&outcomes).iter().filter(|answer| matches!(answer, Answer::Short { .. })).count();
    assert_eq!((short, h.balance(ada).await), (10, 0));
    for (status, count) in [("queued", 10), ("pending_payment", 10)] {
        assert_eq!(h.number(&format!("SELECT COUNT(*) FROM jobs WHERE status = '{status}'")).await, count);
    }
    h.assert_books_balance().await;
}

async fn runners_at_once_fire_each_task_once(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let nodes = two_nodes(h).await;
    for (job, agent) in jobs(h, ada, 20).await.into_iter().zip(agents(h, bob, 20).await) {
        h.moved(bob, Action::Claim { agent: Some(agent), job }).await;
    }
    h.clock.advance(30);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let run = (0..8).map(|n| {
        let (node, taken) = (nodes[n % 2].clone(), Arc::clone(&taken));
        async move {
            for lease in node.take_due_tasks(Due::Timers, 20, 30).await.unwrap() {
                taken.lock().unwrap().push(lease.task.job().unwrap());
                let command = Command { seed: seed(n as u64), actor: Actor::Exchange, action: Action::Run(lease) };
                let outcome = node.submit(Request { command, receipt: None }).await.unwrap();
                assert!(matches!(outcome, Outcome::Done(Answer::Job(_))), "{outcome:?}");
            }
        }
    });
    join_all(run).await;
    let taken = taken.lock().unwrap().clone();
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    assert_eq!(h.number("SELECT COUNT(*) FROM events WHERE kind = 'hold_expired'").await, 20);
    assert_eq!(h.number("SELECT COUNT(*) FROM tasks").await, 0);
}

async fn other_nodes_hear_within_a_second(h: &Harness) {
    let (ada, bob) = (h.user("ada", 5000).await, h.user("bob", 0).await);
    let other = h.node().await;
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    other.observe(Arc::new(move |jobs| {
        jobs.iter().for_each(|job| drop(tell.send((job.id, job.version, job.state.clone()))))
    }));
    let mut hears = async |job: JobId, version: u32| {
        let heard = async {
            loop {
                let (id, heard_version, state) = heard.recv().await.unwrap();
                if (id, heard_version) == (job, version) {
                    break state;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(1), heard).await.expect("the other node heard of it in time")
    };
    for _ in 0..5 {
        let job = h.post(ada, 100).await;
        assert_eq!(hears(job, 1).await, State::Queued);
        h.moved(bob, Action::Claim { agent: None, job }).await;
        assert!(matches!(hears(job, 2).await, State::Held { .. }));
        h.moved(ada, Action::Cancel(job)).await;
        assert_eq!(hears(job, 3).await, State::Cancelled(None));
    }
}

async fn what_is_remembered_elsewhere_is_forgotten_within_a_second(h: &Harness) {
    let ada = h.user("ada", 0).await;
    let other = h.beside().await;
    for round in 0..3 {
        let id = format!("key{round:09}").parse().unwrap();
        let scopes = Scopes::USER;
        let new = NewKey { id, hash: [7; 32], name: "x".to_owned(), scopes, expires_at: None };
        h.done(Actor::User(ada), Action::CreateKey(new)).await;
        let fields = AgentFields { name: format!("agent {round}"), personality: None, avatar_url: None };
        let before = other.known_agents(ada).await.unwrap().len();
        assert!(other.known_key(id).await.unwrap().is_some());
        h.done(Actor::User(ada), Action::RevokeKey(id)).await;
        h.done(Actor::User(ada), Action::CreateAgent(fields)).await;
        assert!(h.store.known_key(id).await.unwrap().is_none(), "here at once");
        let began = Instant::now();
        while other.known_key(id).await.unwrap().is_some() || other.known_agents(ada).await.unwrap().len() == before {
            assert!(began.elapsed() < Duration::from_secs(1), "round {round}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn nodes_may_start_at_once(h: &Harness) {
    let nodes = join_all((0..4).map(|_| h.node())).await;
    for node in nodes {
        node.ping().await.unwrap();
    }
    let nobody = UserId(uuid::Uuid::nil());
    let refused = h.refused(Actor::Operator, Action::Grant { user: nobody, amount: Cents(1) }).await;
    assert_eq!(refused, Rejection::NotFound("user"));
}

#[tokio::test]
async fn whoever_may_not_know_of_a_job_does_not_wait_for_it() {
    let Some(h) = Harness::postgres().await else { return };
    let (ada, bob, eve) = (h.user("ada", 500).await, h.user("bob", 0).await, h.user("eve", 0).await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    h.raw(&format!("BEGIN; SELECT FROM jobs WHERE id = '{job}' FOR UPDATE")).await;
    let refused = h.refused(Actor::User(eve), Action::Accept(job));
    let refused = tokio::time::timeout(Duration::from_secs(5), refused).await;
    assert_eq!(refused, Ok(Rejection::NotFound("job")));
    let accepted = h.moved(bob, Action::Accept(job));
    let waits = tokio::time::timeout(Duration::from_millis(200), accepted).await;
    assert!(waits.is_err(), "whoever holds it waits");
    h.raw("COMMIT").await;
}

#[tokio::test]
async fn a_job_that_becomes_known_too_late_to_be_locked_is_not_decided_about() {
    let Some(h) = Harness::postgres().await else { return };
    let (ada, bob, eve) = (h.user("ada", 500).await, h.user("bob", 0).await, h.user("eve", 0).await);
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: None, job }).await;
    // The job's row is found to be nothing to eve; then the look waits, and meanwhile the job is open to all.
    let other = connect(h.url().unwrap()).await;
    other.batch_execute("BEGIN; LOCK TABLE briefs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let meanwhile = async {
        while h.number("SELECT COUNT(*) FROM pg_locks WHERE relation = 'briefs'::regclass AND NOT granted").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        h.raw(&format!(
            "UPDATE jobs SET status = 'queued', worker_agent_id = NULL, worker_user_id = NULL,
                        hold_expires_at = NULL WHERE id = '{job}'"
        ))
        .await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    let claim = h.submit(Actor::User(eve), Action::Claim { agent: None, job });
    let (claimed, ()) = tokio::join!(claim, meanwhile);
    assert!(matches!(claimed.unwrap(), Outcome::Rejected(Rejection::NotFound("job"))));
    h.moved(eve, Action::Claim { agent: None, job }).await;
}
