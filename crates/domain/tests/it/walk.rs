//! Long random walks: whatever anyone asks for, the books balance and no job goes where it must not.

use std::collections::BTreeMap;

use clawrk_domain::action::{Posting, Review};
use clawrk_domain::verification::Found;
use clawrk_domain::{
    Account, Action, Actor, AgentId, Cents, Check, CheckResult, CriterionResult, Job, JobId, Status, TaskKind, UserId,
    Verdict,
};
use proptest::prelude::*;

use crate::world::{World, posting};

/// One step, by numbers that are taken modulo what there is.
#[derive(Debug, Clone)]
struct Step {
    what: u8,
    user: u8,
    job: u8,
    number: i64,
}

fn step() -> impl Strategy<Value = Step> {
    (0_u8..14, any::<u8>(), any::<u8>(), 0_i64..2_000).prop_map(|(what, user, job, number)| Step {
        what,
        user,
        job,
        number,
    })
}

fn action(step: &Step, jobs: &[JobId], own: AgentId) -> Option<Action> {
    if step.what == 0 {
        let contains = Check::Contains { text: "x".to_owned() };
        let checks = if step.user.is_multiple_of(2) { vec![contains] } else { Vec::new() };
        let criteria = if step.user.is_multiple_of(3) { vec!["is good".to_owned()] } else { Vec::new() };
        return Some(Action::Post(Posting { checks, criteria, ..posting(100 + step.number) }));
    }
    let job = *jobs.get(usize::from(step.job) % jobs.len().max(1))?;
    let review = |verdict| Review { verdict, reason: Some("so".to_owned()), attempt: None };
    Some(match step.what {
        1 => Action::Pay(job),
        2 => Action::Cancel(job),
        3 => Action::Pull { agent: Some(own), candidates: jobs.to_vec() },
        4 | 5 => Action::Claim { agent: Some(own), job },
        6 | 7 => Action::Accept(job),
        8 => Action::Reject(job),
        9 | 10 => Action::Submit { job, output_text: Some("x".to_owned()), files: Vec::new() },
        11 => Action::Fail { job, reason: None },
        12 => Action::Review { job, review: review(Verdict::Pass) },
        _ => Action::Review { job, review: review(Verdict::Fail) },
    })
}

/// What a verifier finds: what it should be about, mostly.
fn found(step: &Step, job: &Job) -> Found {
    let pass = step.number % 3 > 0;
    let check = CheckResult { kind: "contains".to_owned(), pass, detail: "so".to_owned() };
    let judged = |text: &String| CriterionResult { text: text.clone(), pass, reason: "so".to_owned() };
    match step.number % 7 {
        0 => Found::Trouble { problem: "away".to_owned(), pause_seconds: None },
        1 => Found::NoJudge,
        2..5 if job.brief.checks.is_empty() => {
            Found::Criteria(job.brief.criteria.iter().map(judged).collect(), "judge:m".into())
        }
        2..6 => Found::Checks(vec![check]),
        _ => Found::Criteria(job.brief.criteria.iter().map(judged).collect(), "judge:m".into()),
    }
}

fn check(world: &World) {
    let stored: Cents =
        world.wallets.values().chain(world.escrows.values()).fold(Cents::ZERO, |sum, cents| sum + *cents);
    let mut houses: BTreeMap<&str, Cents> = BTreeMap::new();
    let mut by_job: BTreeMap<(JobId, &str, &str), u32> = BTreeMap::new();
    for transfer in &world.transfers {
        for (account, delta) in [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)] {
            if matches!(account, Account::Platform | Account::Outside | Account::InTransit | Account::Losses) {
                let sum = houses.entry(account.kind()).or_default();
                *sum = *sum + delta;
            }
        }
        if let Some((job, _)) = transfer.escrow() {
            *by_job.entry((job, transfer.from.kind(), transfer.to.kind())).or_default() += 1;
        }
    }
    assert_eq!(houses.values().fold(stored, |sum, cents| sum + *cents), Cents::ZERO, "all accounts sum to zero");
    assert!(by_job.values().all(|count| *count == 1), "a job is funded, paid out and charged once at most");
    for job in world.jobs.values() {
        let expected = if job.status().is_funded() { job.price } else { Cents::ZERO };
        assert_eq!(world.escrows[&job.id], expected, "the escrow of a job that is {}", job.status());
        assert!(job.attempt_count <= world.policy.max_attempts);
        let timers = world.tasks.iter().filter(|task| task.job() == Some(job.id));
        assert_eq!(timers.copied().collect::<Vec<_>>(), Vec::from_iter(job.timer()), "exactly the timer of its state");
    }
    for agent in world.agents.keys() {
        let held = |job: &&clawrk_domain::Job| matches!(&job.state, clawrk_domain::State::Held { by, .. } if by.agent == *agent);
        assert!(world.jobs.values().filter(held).count() <= 1, "an agent holds one job at most");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_whatever_happens(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        world.policy.has_judge = true;
        let users: Vec<(UserId, AgentId)> = (0..3).map(|n| world.user(&format!("user {n}"), 20_00 * n)).collect();
        for step in &steps {
            let (user, agent) = users[usize::from(step.user) % users.len()];
            let jobs: Vec<JobId> = world.jobs.keys().copied().collect();
            let finished: Vec<(JobId, Status)> =
                world.jobs.values().filter(|job| job.status().is_finished()).map(|job| (job.id, job.status())).collect();
            let looked_at = |job: &&Job| matches!(job.timer().map(|task| task.kind), Some(TaskKind::Verify(_)));
            let looked_at = world.jobs.values().find(looked_at).filter(|_| step.what >= 12).cloned();
            if let Some(job) = looked_at {
                world.report(job.id, found(step, &job)).unwrap();
                let now = &world.jobs[&job.id];
                let pass = now.verification().filter(|_| now.status() == Status::Verified);
                let passed = pass.map_or(0, |pass| pass.checks.iter().filter(|check| check.pass).count());
                prop_assert!(pass.is_none() || passed == job.brief.checks.len(), "none passes that has not passed all checks");
            } else if let Some(action) = action(step, &jobs, agent) {
                let _ = world.act(Actor::User(user), action);
            }
            if step.number % 7 == 0 {
                world.now = world.now.plus_seconds(step.number);
                world.run_due();
            }
            check(&world);
            for (job, status) in finished {
                prop_assert_eq!(world.jobs[&job].status(), status, "what is over stays as it is");
            }
        }
    }
}
