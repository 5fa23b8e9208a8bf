//! The moves of a job where a moment, a cent or another agent decides.

use clawrk_domain::action::Review;
use clawrk_domain::change::{AttemptRecord, Outcome};
use clawrk_domain::policy::COOL_DOWN_SECONDS;
use clawrk_domain::verification::{Found, Looks, Stage};
use clawrk_domain::{
    Account, Action, Actor, AgentId, Answer, Cents, Change, Check, CheckResult, CriterionResult, EventKind, Job, JobId,
    Lease, Policy, Reason, Rejection, State, Status, Task, TaskKind, UserId, Verdict, Write,
};

use crate::world::{World, posting};

/// A sender with ten dollars, two workers, and a job of five dollars.
struct Scene {
    world: World,
    sender: UserId,
    workers: [(UserId, AgentId); 2],
    job: JobId,
}

fn scene() -> Scene {
    let mut world = World::new();
    let sender = world.user("sender", 10_00).0;
    let workers = [world.user("ada", 0), world.user("bob", 0)];
    let job = post(&mut world, sender, 500);
    Scene { world, sender, workers, job }
}

fn post(world: &mut World, sender: UserId, cents: i64) -> JobId {
    match world.act(Actor::User(sender), Action::Post(posting(cents))).unwrap() {
        Answer::Job(job) | Answer::Short { job, .. } => job.id,
        other => panic!("{other:?}"),
    }
}

fn claim(job: JobId) -> Action {
    Action::Claim { agent: None, job }
}

fn review(job: JobId, verdict: Verdict, attempt: Option<u32>) -> Action {
    Action::Review { job, review: Review { verdict, reason: Some("so".to_owned()), attempt } }
}

/// The job as a change leaves it.
fn after(change: &Change, job: JobId) -> Job {
    let left = change.writes.iter().filter_map(|write| write.job()).rfind(|written| written.id == job);
    Job::clone(left.expect("the job changes"))
}

impl Scene {
    fn act(&mut self, user: UserId, action: Action) -> Answer {
        self.world.act(Actor::User(user), action).expect("the scene can be set")
    }

    /// The first worker has submitted its work.
    fn submitted(mut self) -> Self {
        let (ada, job) = (self.workers[0].0, self.job);
        for action in [claim(job), Action::Accept(job), Action::Submit { job, output_text: Some("5".to_owned()) }] {
            self.act(ada, action);
        }
        self
    }

    fn later(&mut self, seconds: i64) {
        self.world.now = self.world.now.plus_seconds(seconds);
    }

    fn passed(&self) -> Change {
        self.world.decide(Actor::User(self.sender), review(self.job, Verdict::Pass, None)).unwrap()
    }
}

fn transfers(change: &Change) -> Vec<(&'static str, &'static str, i64)> {
    let transfer = |write: &Write| match write {
        Write::Transfer(moved) => Some((moved.from.kind(), moved.to.kind(), moved.amount.0)),
        _ => None,
    };
    change.writes.iter().filter_map(transfer).collect()
}

#[test]
fn a_job_is_paid_to_the_cent_and_short_by_one() {
    let mut world = World::new();
    let sender = world.user("sender", 5_00).0;
    let post = |world: &World, cents| world.decide(Actor::User(sender), Action::Post(posting(cents))).unwrap();
    assert!(matches!(post(&world, 500).answer, Answer::Job(job) if job.status() == Status::Queued));
    let Answer::Short { job, required, available } = post(&world, 501).answer else { panic!("it is short") };
    assert_eq!((job.status(), required, available), (Status::PendingPayment, Cents(501), Cents(500)));
    let job = self::post(&mut world, sender, 501);
    let pay = |world: &World| world.decide(Actor::User(sender), Action::Pay(job));
    let short = Rejection::BalanceTooLow { required: Cents(501), available: Cents(500) };
    assert_eq!(pay(&world).unwrap_err(), short);
    world.act(Actor::Operator, Action::Grant { user: sender, amount: Cents(1) }).unwrap();
    assert_eq!(after(&pay(&world).unwrap(), job).status(), Status::Queued);
}

#[test]
fn an_agent_that_holds_a_job_may_claim_no_other_until_the_hold_is_over() {
    let mut scene = scene();
    let other = post(&mut scene.world, scene.sender, 500);
    let (ada, agent) = scene.workers[0];
    scene.act(ada, claim(scene.job));
    let decide = |scene: &Scene, job| scene.world.decide(Actor::User(ada), claim(job));
    assert_eq!(decide(&scene, other).unwrap_err(), Rejection::HoldsAnother);
    assert!(matches!(decide(&scene, scene.job).unwrap_err(), Rejection::WrongState { is: Status::Held, .. }));
    scene.later(Policy::default().hold_seconds);
    let change = decide(&scene, other).unwrap();
    assert_eq!(after(&change, scene.job).status(), Status::Queued);
    let held = after(&change, other);
    assert_eq!((held.status(), held.offers[0].worker.agent), (Status::Held, agent));
    // The very job, too, before the task that puts it back has run.
    let again = after(&decide(&scene, scene.job).unwrap(), scene.job);
    assert_eq!((again.status(), again.offers.len()), (Status::Held, 1));
}

#[test]
fn after_a_hold_ran_out_the_agent_is_offered_the_job_again_when_it_has_cooled_down() {
    let mut scene = scene();
    let [(ada, agent), (_, other)] = scene.workers;
    scene.act(ada, claim(scene.job));
    scene.later(Policy::default().hold_seconds);
    scene.world.run_due();
    let job = &scene.world.jobs[&scene.job];
    let open = |agent, seconds| job.is_open_to(agent, scene.world.now.plus_seconds(seconds));
    assert!(open(other, 0) && !open(agent, 0) && !open(agent, COOL_DOWN_SECONDS - 1));
    assert!(open(agent, COOL_DOWN_SECONDS) && open(agent, COOL_DOWN_SECONDS + 1));
}

#[test]
fn an_agent_is_in_the_list_of_offers_once_and_another_beside_it() {
    let mut scene = scene();
    let [(ada, first), (bob, second)] = scene.workers;
    for user in [ada, ada, bob] {
        scene.act(user, claim(scene.job));
        scene.act(user, Action::Reject(scene.job));
    }
    let offers = &scene.world.jobs[&scene.job].offers;
    assert_eq!(offers.iter().map(|offer| offer.worker.agent).collect::<Vec<_>>(), [first, second]);
    assert!(offers.iter().all(|offer| offer.barred));
}

#[test]
fn what_happens_to_a_held_job_names_the_agent_that_held_it() {
    let mut scene = scene();
    let (ada, agent) = scene.workers[0];
    scene.act(ada, claim(scene.job));
    let change = scene.world.decide(Actor::User(scene.sender), Action::Cancel(scene.job)).unwrap();
    let event = change.writes.iter().find_map(|write| if let Write::Event(event) = write { Some(event) } else { None });
    let event = event.expect("it is told");
    assert_eq!((event.kind, event.worker.map(|worker| worker.agent)), (EventKind::Cancelled, Some(agent)));
}

#[test]
fn a_review_is_of_the_current_attempt_or_of_none_in_particular() {
    let scene = scene().submitted();
    let decide = |attempt| {
        let action = review(scene.job, Verdict::Pass, attempt);
        scene.world.decide(Actor::User(scene.sender), action).map(|change| after(&change, scene.job).status())
    };
    assert_eq!((decide(None), decide(Some(1))), (Ok(Status::Verified), Ok(Status::Verified)));
    assert_eq!((decide(Some(0)), decide(Some(2))), (Err(Rejection::AttemptOver(1)), Err(Rejection::AttemptOver(1))));
}

#[test]
fn a_task_that_is_stale_or_too_early_changes_nothing() {
    let mut scene = scene();
    let ada = scene.workers[0].0;
    scene.act(ada, claim(scene.job));
    let timer = scene.world.jobs[&scene.job].timer().unwrap();
    let run = |scene: &Scene, task: Task| {
        let mut world = scene.world.clone();
        world.tasks = vec![task];
        world.decide(Actor::Exchange, Action::Run(Lease { task, token: 1 })).unwrap()
    };
    let nothing = |change: Change, task: Task| {
        assert!(matches!(&change.writes[..], [Write::Unschedule(done)] if *done == task), "{change:?}");
    };
    // An early one stays for its time, since clocks go back; a stale one goes.
    assert!(run(&scene, timer).writes.is_empty());
    scene.later(Policy::default().hold_seconds);
    let stale = Task { due_at: timer.due_at.plus_seconds(-1), ..timer };
    nothing(run(&scene, stale), stale);
    let other = Task { kind: TaskKind::ExpireDeadline, ..timer };
    nothing(run(&scene, other), other);
    assert_eq!(after(&run(&scene, timer), scene.job).status(), Status::Queued);
}

#[test]
fn nothing_is_moved_where_the_fee_or_the_payout_is_nothing() {
    let moved = |fee_bps, fee_flat| {
        let mut world = World::new();
        world.policy = Policy { fee_bps, fee_flat: Cents(fee_flat), ..Policy::default() };
        let sender = world.user("sender", 10_00).0;
        let workers = [world.user("ada", 0), world.user("bob", 0)];
        let job = post(&mut world, sender, 500);
        transfers(&Scene { world, sender, workers, job }.submitted().passed())
    };
    assert_eq!(moved(2_000, 50), [("escrow", "wallet", 350), ("escrow", "platform", 150)]);
    assert_eq!(moved(0, 0), [("escrow", "wallet", 500)]);
    assert_eq!(moved(10_000, 0), [("escrow", "platform", 500)]);
}

#[test]
fn a_transfer_takes_on_one_side_what_it_gives_on_the_other() {
    let scene = scene().submitted();
    let change = scene.passed();
    let [payout, fee] = &change
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Transfer(transfer) => Some((write, transfer)),
            _ => None,
        })
        .collect::<Vec<_>>()[..]
    else {
        panic!("{change:?}")
    };
    let worker = scene.workers[0].0;
    assert_eq!((payout.1.wallet(), payout.1.escrow()), (Some((worker, Cents(350))), Some((scene.job, Cents(-350)))));
    assert_eq!((payout.0.wallet(), fee.0.wallet()), (Some((worker, Cents(350))), None));
    assert_eq!((fee.1.wallet(), fee.1.escrow()), (None, Some((scene.job, Cents(-150)))));
    assert_eq!(fee.1.to, Account::Platform);
    let [granted, funded] = &scene.world.transfers[..] else { panic!("a grant and a payment") };
    assert_eq!((granted.wallet(), granted.escrow()), (Some((scene.sender, Cents(1_000))), None));
    assert_eq!(funded.wallet(), Some((scene.sender, Cents(-500))));
    assert_eq!(funded.escrow(), Some((scene.job, Cents(500))));
    for (reason, text) in [
        (granted.reason, format!("grant:{}", granted.id)),
        (funded.reason, format!("job:{}", scene.job)),
        (payout.1.reason, format!("earning:{}", scene.job)),
        (Reason::Refund(scene.job), format!("refund:{}", scene.job)),
    ] {
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn an_attempt_is_kept_with_how_it_ended() {
    let scene = scene().submitted();
    let record = |verdict| {
        let change = scene.world.decide(Actor::User(scene.sender), review(scene.job, verdict, None)).unwrap();
        let record = change.writes.into_iter().find_map(|write| match write {
            Write::Attempt(record) => Some(record),
            _ => None,
        });
        record.expect("the attempt is recorded")
    };
    for (verdict, outcome, name) in
        [(Verdict::Pass, Outcome::Verified, "verified"), (Verdict::Fail, Outcome::Failed, "failed")]
    {
        let AttemptRecord { submission, verification, outcome: ended, ended_at, .. } = record(verdict);
        assert_eq!((ended, outcome.as_str(), ended_at), (Some(outcome), name, Some(scene.world.now)));
        assert_eq!(submission.unwrap().output_text.as_deref(), Some("5"));
        assert_eq!(verification.unwrap().verdict, verdict);
    }
}

#[test]
fn kinds_of_tasks_and_statuses_are_known_by_their_names_alone() {
    for kind in TaskKind::ALL {
        assert_eq!(TaskKind::from_name(kind.as_str()), Some(kind));
    }
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
        let finished = matches!(status, Status::Verified | Status::Failed | Status::Cancelled);
        assert_eq!(
            (status.is_finished(), status.is_funded()),
            (finished, !finished && status != Status::PendingPayment)
        );
    }
    assert_eq!((TaskKind::from_name(""), "Queued".parse::<Status>()), (None, Err(())));
}

/// A submission with a check and a criterion to it, at a market with a judge.
fn looked_at() -> Scene {
    let mut scene = scene();
    scene.world.policy.has_judge = true;
    let mut posting = posting(500);
    posting.checks = vec![Check::Command { run: "true".to_owned(), timeout_seconds: 60, env: false }];
    posting.criteria = vec!["is good".to_owned()];
    let Answer::Job(job) = scene.act(scene.sender, Action::Post(posting)) else { panic!("it is posted") };
    scene.job = job.id;
    scene.submitted()
}

fn checks(pass: bool) -> Found {
    Found::Checks(vec![CheckResult { kind: "command".to_owned(), pass, detail: "it ended".to_owned() }])
}

fn judged(pass: bool) -> Found {
    let criterion = CriterionResult { text: "is good".to_owned(), pass, reason: "so".to_owned() };
    Found::Criteria(vec![criterion], "judge:model".to_owned())
}

fn trouble(pause_seconds: Option<i64>) -> Found {
    Found::Trouble { problem: "the model is away".to_owned(), pause_seconds }
}

impl Scene {
    fn status(&self) -> Status {
        self.world.jobs[&self.job].status()
    }

    /// What is looked at now, and in how many seconds.
    fn looks(&self) -> Option<(Looks, i64)> {
        match &self.world.jobs[&self.job].state {
            State::Submitted(.., Stage::Looking(look)) => {
                Some((look.at, (look.due_at.micros() - self.world.now.micros()) / 1_000_000))
            }
            _ => None,
        }
    }

    fn report(&mut self, found: Found) {
        self.world.report(self.job, found).expect("a finding about what is looked at is taken");
    }
}

#[test]
fn checks_come_before_criteria_and_the_verdict_rests_on_both() {
    let mut scene = looked_at();
    assert_eq!(scene.looks(), Some((Looks::Commands, 0)), "a command wants a sandbox");
    scene.report(checks(true));
    assert_eq!((scene.status(), scene.looks()), (Status::Submitted, Some((Looks::Criteria, 0))));
    scene.report(judged(true));
    let job = &scene.world.jobs[&scene.job];
    let verification = job.verification().expect("it has a verdict");
    assert_eq!((job.status(), verification.verifier.as_str()), (Status::Verified, "judge:model"));
    assert_eq!((verification.checks.len(), verification.criteria.len()), (1, 1));
    assert_eq!(scene.world.wallets[&scene.workers[0].0].0, 350);
}

#[test]
fn one_failure_is_enough_and_nobody_is_asked_about_the_rest() {
    for (first, second) in [(checks(false), None), (checks(true), Some(judged(false)))] {
        let mut scene = looked_at();
        scene.report(first);
        second.into_iter().for_each(|found| scene.report(found));
        let job = &scene.world.jobs[&scene.job];
        assert_eq!((job.status(), job.attempt_count), (Status::Queued, 1));
        assert_eq!(scene.world.wallets[&scene.workers[0].0], Cents::ZERO);
    }
}

#[test]
fn trouble_costs_nobody_an_attempt_and_is_tried_again_later_and_later() {
    let mut scene = looked_at();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        scene.report(trouble(None));
        let (at, seconds) = scene.looks().expect("it is looked at again");
        assert_eq!(at, Looks::Commands);
        pauses.push(seconds);
        scene.later(seconds);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    scene.report(trouble(Some(50)));
    assert_eq!(scene.looks().unwrap().1, 60, "what is asked for is the least");
    let mut asked = looked_at();
    asked.report(trouble(Some(30)));
    assert_eq!(asked.looks().unwrap().1, 30);
    asked.report(trouble(Some(4_000)));
    assert_eq!(asked.looks().unwrap().1, 60, "nobody may put it off for longer");
    let job = &scene.world.jobs[&scene.job];
    assert_eq!(
        (job.status(), job.attempt_count, job.version),
        (Status::Submitted, 1, 4),
        "the history has no line of it"
    );
}

#[test]
fn after_an_hour_of_trouble_the_sender_decides() {
    let mut scene = looked_at();
    scene.report(checks(true));
    scene.later(3_599);
    scene.report(trouble(None));
    assert!(scene.looks().is_some());
    scene.later(1);
    scene.report(trouble(None));
    let State::Submitted(.., Stage::Review { until, checks }) = &scene.world.jobs[&scene.job].state else {
        panic!("the sender is asked")
    };
    assert_eq!(*until, scene.world.now.plus_seconds(Policy::default().review_window_seconds));
    assert_eq!(checks.len(), 1, "what was passed stays passed");
    scene.act(scene.sender, review(scene.job, Verdict::Pass, None));
    assert_eq!(scene.world.jobs[&scene.job].verification().unwrap().checks.len(), 1);
}

#[test]
fn a_sender_cannot_decide_while_it_is_looked_at() {
    let scene = looked_at();
    for verdict in [Verdict::Pass, Verdict::Fail] {
        let refusal = scene.world.decide(Actor::User(scene.sender), review(scene.job, verdict, None)).unwrap_err();
        assert_eq!(refusal.code().0, "being_verified");
    }
}

#[test]
fn a_finding_about_something_else_is_no_verdict() {
    let too_many = Found::Checks(vec![CheckResult { kind: "command".into(), pass: true, detail: "x".into() }; 2]);
    for found in [judged(true), too_many, Found::Checks(Vec::new()), Found::NoJudge] {
        let mut scene = looked_at();
        scene.report(found);
        assert_eq!((scene.status(), scene.looks()), (Status::Submitted, Some((Looks::Commands, 1))));
    }
    let other = CriterionResult { text: "is blue".to_owned(), pass: true, reason: "so".to_owned() };
    for found in [checks(true), Found::Criteria(vec![other], "judge:m".into()), Found::Criteria(Vec::new(), "j".into())]
    {
        let mut scene = looked_at();
        scene.report(checks(true));
        scene.report(found);
        assert_eq!((scene.status(), scene.looks()), (Status::Submitted, Some((Looks::Criteria, 1))));
    }
}

#[test]
fn a_finding_of_an_earlier_look_is_stale() {
    let mut scene = looked_at();
    let earlier = scene.world.jobs[&scene.job].timer().unwrap();
    scene.later(1);
    scene.report(trouble(None));
    let report = |found| Action::Report { lease: Lease { task: earlier, token: 1 }, found, log: Vec::new() };
    for found in [checks(true), checks(false), trouble(None)] {
        assert_eq!(scene.world.act(Actor::Exchange, report(found)).unwrap_err(), Rejection::LeaseLost);
    }
    assert_eq!(scene.status(), Status::Submitted);
}

#[test]
fn without_a_judge_criteria_are_the_senders_to_judge_but_checks_still_fail() {
    let mut scene = looked_at();
    scene.world.policy.has_judge = false;
    scene.report(checks(true));
    assert_eq!(scene.looks(), None);
    let mut scene = looked_at();
    scene.world.policy.has_judge = false;
    scene.report(checks(false));
    assert_eq!(scene.status(), Status::Queued);
    let mut scene = looked_at();
    scene.report(checks(true));
    scene.report(Found::NoJudge);
    assert_eq!((scene.status(), scene.looks()), (Status::Submitted, None), "the judge was taken away meanwhile");
}

#[test]
fn what_the_sender_wanted_cancelled_is_at_the_next_failure_and_not_before() {
    for (pass, status) in [(true, Status::Verified), (false, Status::Cancelled)] {
        let mut scene = looked_at();
        scene.act(scene.sender, Action::Cancel(scene.job));
        scene.report(checks(true));
        scene.report(judged(pass));
        assert_eq!(scene.status(), status);
    }
}
