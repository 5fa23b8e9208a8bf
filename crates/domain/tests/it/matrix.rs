//! Every state × every action × every actor, as one snapshot; and the page of the state machine made from it.

use std::fmt::Write as _;

use clawrk_domain::action::Review;
use clawrk_domain::verification::{Found, Looks};
use clawrk_domain::{
    Action, Actor, AgentId, Cents, Check, CheckResult, CriterionResult, JobId, Lease, Status, TaskKind, UserId,
    Verdict, Write,
};

use crate::world::{World, posting};

/// A job in some state, and everybody around it.
struct Scene {
    name: &'static str,
    world: World,
    job: JobId,
    sender: UserId,
    worker: UserId,
    worker_agent: AgentId,
    presented: UserId,
    stranger: UserId,
}

impl Scene {
    fn act(&mut self, user: UserId, action: Action) {
        self.world.act(Actor::User(user), action).expect("the scene can be set");
    }
}

/// A scene for each state, and one more where a state behaves in two ways.
fn scenes() -> Vec<Scene> {
    let names = [
        "pending_payment",
        "pending_payment, topped up",
        "queued",
        "held",
        "held, hold over",
        "accepted",
        "accepted, cancellation requested",
        "accepted, last attempt",
        "accepted, deadline over",
        "submitted",
        "submitted, being checked",
        "submitted, being judged",
        "submitted, being judged with a cancellation requested",
        "submitted, cancellation requested",
        "submitted, last attempt",
        "verified",
        "failed",
        "cancelled",
    ];
    names.into_iter().map(scene).collect()
}

fn scene(name: &'static str) -> Scene {
    let mut world = World::new();
    let sender = world.user("sender", if name.starts_with("pending_payment") { 0 } else { 10_00 }).0;
    let (worker, worker_agent) = world.user("worker", 0);
    let (presented, _) = world.user("presented", 0);
    let (stranger, _) = world.user("stranger", 0);
    world.policy.has_judge = true;
    let mut posting = posting(500);
    if name.contains("being checked") {
        posting.checks = vec![Check::MinWords { count: 1 }];
    } else if name.contains("being judged") {
        posting.criteria = vec!["names a number".to_owned()];
    }
    let answer = world.act(Actor::User(sender), Action::Post(posting)).expect("a job is posted");
    let job = *world.jobs.keys().next().unwrap_or_else(|| panic!("no job after {answer:?}"));
    let mut scene = Scene { name, world, job, sender, worker, worker_agent, presented, stranger };
    if name.starts_with("pending_payment") {
        let amount = Cents(if name.ends_with("topped up") { 10_00 } else { 1 });
        scene.world.act(Actor::Operator, Action::Grant { user: sender, amount }).expect("balance is granted");
        return scene;
    }
    scene.act(presented, Action::Claim { agent: None, job });
    scene.act(presented, Action::Reject(job));
    match name {
        "queued" => {}
        "cancelled" => scene.act(sender, Action::Cancel(job)),
        _ => work(&mut scene),
    }
    scene
}

/// Takes the job from queued to where the scene's name says.
fn work(scene: &mut Scene) {
    let (job, sender, worker, name) = (scene.job, scene.sender, scene.worker, scene.name);
    let claim = Action::Claim { agent: None, job };
    let before = if name.ends_with("last attempt") {
        2
    } else if name == "failed" {
        3
    } else {
        0
    };
    for _ in 0..before {
        scene.act(worker, claim.clone());
        scene.act(worker, Action::Accept(job));
        scene.act(worker, Action::Fail { job, reason: None });
    }
    if name == "failed" {
        return;
    }
    scene.act(worker, claim);
    if name.starts_with("held") {
        scene.world.now = scene.world.now.plus_seconds(if name == "held" { 0 } else { 31 });
        return;
    }
    scene.act(worker, Action::Accept(job));
    if name.ends_with("cancellation requested") {
        scene.act(sender, Action::Cancel(job));
    }
    if name == "accepted, deadline over" {
        scene.world.now = scene.world.now.plus_seconds(601);
    }
    if name.starts_with("submitted") || name == "verified" {
        scene.act(worker, Action::Submit { job, output_text: Some("5".to_owned()), files: Vec::new() });
    }
    if name == "verified" {
        scene.act(sender, Action::Review { job, review: review(Verdict::Pass) });
    }
}

fn review(verdict: Verdict) -> Review {
    Review { verdict, reason: Some("looked at it".to_owned()), attempt: None }
}

fn actions(job: JobId) -> Vec<(&'static str, Action)> {
    vec![
        ("pay", Action::Pay(job)),
        ("cancel", Action::Cancel(job)),
        ("pull", Action::Pull { agent: None, candidates: vec![job] }),
        ("claim", Action::Claim { agent: None, job }),
        ("accept", Action::Accept(job)),
        ("reject", Action::Reject(job)),
        ("submit", Action::Submit { job, output_text: Some("6".to_owned()), files: Vec::new() }),
        ("fail", Action::Fail { job, reason: None }),
        ("review pass", Action::Review { job, review: review(Verdict::Pass) }),
        ("review fail", Action::Review { job, review: review(Verdict::Fail) }),
    ]
}

/// What may be done about a task that is due: it is run, or a verifier reports what it found.
fn due_actions(task: clawrk_domain::Task) -> Vec<(&'static str, Action)> {
    let lease = Lease { task, token: 1 };
    let TaskKind::Verify(at) = task.kind else { return vec![("", Action::Run(lease))] };
    let check = |pass| Found::Checks(vec![CheckResult { kind: "min_words".to_owned(), pass, detail: "so".to_owned() }]);
    let criterion = |pass| CriterionResult { text: "names a number".to_owned(), pass, reason: "so".to_owned() };
    let judged = |pass| Found::Criteria(vec![criterion(pass)], "judge:model".to_owned());
    let trouble = || Found::Trouble { problem: "it is away".to_owned(), pause_seconds: None };
    let found = match at {
        Looks::Checks | Looks::Commands => {
            vec![
                ("checks passed: ", check(true)),
                ("a check failed: ", check(false)),
                ("trouble: ", trouble()),
                ("about something else: ", judged(true)),
            ]
        }
        Looks::Criteria => vec![
            ("criteria met: ", judged(true)),
            ("a criterion not met: ", judged(false)),
            ("trouble: ", trouble()),
            ("no judge: ", Found::NoJudge),
            ("about something else: ", check(true)),
        ],
    };
    found.into_iter().map(|(what, found)| (what, Action::Report { lease, found, log: Vec::new() })).collect()
}

/// What became of the job and which money moved, or the refusal's code.
fn outcome(scene: &Scene, actor: Actor, action: Action) -> String {
    let change = match scene.world.decide(actor, action) {
        Ok(change) => change,
        Err(rejection) => return rejection.code().0.to_owned(),
    };
    let job = change.writes.iter().filter_map(|write| write.job()).next_back();
    let status = job.map_or_else(|| scene.world.jobs[&scene.job].status(), |job| job.status());
    let mut text = if job.is_some() { format!("-> {status}") } else { "no change".to_owned() };
    for write in &change.writes {
        if let Write::Transfer(moved) = write {
            let _ = write!(text, ", {} {}>{}", moved.amount, moved.from.kind(), moved.to.kind());
        }
    }
    text
}

#[test]
fn every_state_and_every_action() {
    let mut table = String::new();
    for scene in scenes() {
        let _ = writeln!(table, "{}", scene.name);
        let users = [
            ("sender", scene.sender),
            ("worker", scene.worker),
            ("presented", scene.presented),
            ("stranger", scene.stranger),
        ];
        for (name, action) in actions(scene.job) {
            let row: Vec<String> = users
                .iter()
                .map(|(who, user)| format!("{who}: {}", outcome(&scene, Actor::User(*user), action.clone())))
                .collect();
            let _ = writeln!(table, "  {name:<12} {}", row.join(" | "));
        }
        let of_jobs = |kind: &TaskKind| !matches!(kind, TaskKind::TopUp | TaskKind::Pay | TaskKind::Heed);
        for kind in TaskKind::ALL.into_iter().filter(of_jobs) {
            let due = scene.world.tasks.iter().find(|task| task.kind == kind);
            let run = |task: clawrk_domain::Task| {
                let mut later = scene.world.clone();
                later.now = later.now.max(task.due_at);
                let later = Scene { world: later, ..copy(&scene) };
                let each = due_actions(task).into_iter();
                let each = each.map(|(what, action)| format!("{what}{}", outcome(&later, Actor::Exchange, action)));
                each.collect::<Vec<_>>().join(" | ")
            };
            let _ = writeln!(
                table,
                "  {:<12} {}",
                kind.as_str(),
                due.map_or("not scheduled".to_owned(), |task| run(*task))
            );
        }
    }
    insta::assert_snapshot!("matrix", table);
}

fn copy(scene: &Scene) -> Scene {
    Scene { world: scene.world.clone(), ..*scene }
}

/// `docs/state-machine.md` says what the code does: it is made from the code, here.
#[test]
fn the_page_of_the_state_machine_is_true() {
    let mut edges = Vec::new();
    for scene in scenes() {
        let from = scene.world.jobs[&scene.job].status();
        for (who, user) in [("sender", scene.sender), ("agent", scene.worker)] {
            for (name, action) in actions(scene.job) {
                // The sender could work too; who works is the agent here.
                let works = !matches!(name, "pay" | "cancel" | "review pass" | "review fail");
                if works != (who == "agent") {
                    continue;
                }
                edge(&scene, Actor::User(user), action, from, &format!("{who}: {name}"), &mut edges);
            }
        }
        for task in scene.world.tasks.clone() {
            let mut later = copy(&scene);
            later.world.now = later.world.now.max(task.due_at);
            for (what, action) in due_actions(task) {
                let what = if what.is_empty() { task.kind.as_str().replace('_', " ") } else { what.replace(": ", "") };
                edge(&later, Actor::Exchange, action, from, &format!("exchange: {what}"), &mut edges);
            }
        }
    }
    let order = |status: Status| Status::ALL.iter().position(|other| *other == status);
    edges.sort_by_key(|(from, to, label)| (order(*from), order(*to), label.clone()));
    edges.dedup();
    // What happens anyway is not said again for a special case.
    let plain: Vec<_> = edges.clone();
    edges.retain(|(from, to, label)| {
        let unconditional = label
            .split_once(" (")
            .map(|(what, rest)| format!("{what}{}", rest.split_once(')').map_or("", |(_, money)| money)));
        unconditional.is_none_or(|label| !plain.contains(&(*from, *to, label)))
    });
    let mut page = String::from(
        "# The life of a job\n\nMade from the code by `crates/domain/tests/it/matrix.rs`; \
         `UPDATE_DOCS=1 cargo test -p clawrk-domain` writes it anew.\n\n```mermaid\nstateDiagram-v2\n    [*] --> pending_payment: balance short\n    [*] --> queued: price to escrow\n",
    );
    for status in Status::ALL {
        for other in Status::ALL {
            let labels: Vec<&str> = edges
                .iter()
                .filter(|(from, to, _)| (*from, *to) == (status, other))
                .map(|(_, _, label)| label.split(',').next().unwrap_or(label))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            if !labels.is_empty() {
                let _ = writeln!(page, "    {status} --> {other}: {}", labels.join(" / ").replace(": ", " "));
            }
        }
    }
    page.push_str("    verified --> [*]\n    failed --> [*]\n    cancelled --> [*]\n```\n\n| From | To | Who and what, and the money of a $5.00 job |\n|---|---|---|\n");
    for (from, to, label) in &edges {
        let _ = writeln!(page, "| {from} | {to} | {label} |");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/state-machine.md");
    #[expect(clippy::disallowed_methods, reason = "a switch of this test")]
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/state-machine.md is out of date: run UPDATE_DOCS=1 cargo test -p clawrk-domain");
}

fn edge(
    scene: &Scene,
    actor: Actor,
    action: Action,
    from: Status,
    label: &str,
    edges: &mut Vec<(Status, Status, String)>,
) {
    let Ok(change) = scene.world.decide(actor, action.clone()) else { return };
    let Some(job) = change.writes.iter().filter_map(|write| write.job()).next_back() else { return };
    let text = outcome(scene, actor, action);
    let money = text.split_once(", ").map_or(String::new(), |(_, money)| format!(", {money}"));
    let condition = scene.name.split_once(", ").map_or(String::new(), |(_, when)| format!(" ({when})"));
    edges.push((from, job.status(), format!("{label}{condition}{money}")));
}

#[test]
fn the_workers_agent_is_the_one_who_was_paid() {
    let scene = scene("verified");
    let receiver = scene.world.jobs[&scene.job].receiver().expect("a verified job has one");
    assert_eq!((receiver.agent, receiver.user), (scene.worker_agent, scene.worker));
    assert_eq!(scene.world.wallets[&scene.worker].0, 350);
}
