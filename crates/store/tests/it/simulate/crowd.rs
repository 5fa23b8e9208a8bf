//! The simulation with several commands of each step sent at once, from all nodes. Two databases may put them in
//! another order, so the answers are not compared: what must hold afterwards, whoever was first, is.

use std::collections::BTreeSet;

use clawrk_domain::{Action, Actor, JobId, Status, TaskKind};
use clawrk_store::{Request, Store};

use super::{AT_ONCE, Counts, Simulation, assert_reached, judging};
use crate::races::at_once;
use crate::support::{Harness, background, on_both_databases, variable};

/// Seeds on each database.
const SEEDS: u64 = 8;
const STEPS: usize = 50;

/// What must have happened at least once over all seeds: pairs of commands that were sent at once, for one job.
const MUST_HAPPEN: [&str; 24] = [
    "at once: accept, cancel",
    "at once: accept, reject",
    "at once: accept, expire_hold",
    "at once: cancel, claim",
    "at once: cancel, fail",
    "at once: cancel, review",
    "at once: cancel, submit",
    "at once: claim, claim",
    "at once: claim, pull",
    "at once: expire_deadline, submit",
    "at once: fail, submit",
    "at once: cancel, report",
    "at once: report, review",
    "at once: report, report",
    "at once: close_review, review",
    "at once: review, review",
    "at once: submit, submit",
    "at once: the same key",
    "status verified",
    "status cancelled",
    "event hold_expired",
    "event deadline_passed",
    "replayed",
    "no wrong_state",
];

on_both_databases!(a_crowd_breaks_nothing);

async fn a_crowd_breaks_nothing(h: &Harness) {
    let number = |name: &str, default| variable(name).map_or(default, |text| text.parse().unwrap());
    let (first, seeds) = (number("CLAWRK_SIM_FIRST", 1), number("CLAWRK_SIM_SEEDS", SEEDS));
    let mut counts = Counts::new();
    // Who meets whom is partly chance: what was not reached gets more seeds before it counts as out of reach.
    let all: Vec<u64> = (first..first + seeds * if seeds < SEEDS { 1 } else { 4 }).collect();
    for (at, some) in all.chunks(AT_ONCE).enumerate() {
        let reached = MUST_HAPPEN.iter().all(|what| counts.contains_key(*what));
        if reached && (at * AT_ONCE) as u64 >= seeds {
            break;
        }
        let mut running = Vec::new();
        for seed in some {
            let one = if h.is_sqlite() {
                Some(Harness::sqlite_by(judging()).await)
            } else {
                Harness::postgres_by(judging()).await
            };
            let world = Simulation::new(*seed, one.expect("it was there before"), None).await;
            running.push((seed, background(world.crowded())));
        }
        for (seed, run) in running {
            let Ok(reached) = run.await else { panic!("seed {seed} failed: see above, CLAWRK_SIM_FIRST={seed}") };
            for (what, count) in reached {
                *counts.entry(what).or_default() += count;
            }
        }
    }
    assert_reached(&counts, &MUST_HAPPEN, seeds >= SEEDS);
}

impl Simulation {
    async fn crowded(mut self) -> Counts {
        let nodes = [self.one.store.clone(), self.one.node().await];
        for step in 0..STEPS {
            let gathered = self.gather().await;
            if gathered.is_empty() {
                continue;
            }
            let touched: BTreeSet<JobId> =
                gathered.iter().filter_map(|request| subject(&request.command.action)).collect();
            self.note_pairs(&gathered);
            self.send_at_once(&nodes, gathered).await;
            self.check(step).await;
            for job in touched {
                if self.jobs.contains(&job) {
                    self.check_history(job).await;
                }
            }
        }
        self.finish().await
    }

    /// A few commands; mostly about one job that everybody is after, often at the moment when its time runs out.
    async fn gather(&mut self) -> Vec<Request> {
        let found = self.under_way().await.filter(|_| self.random.percent(85));
        self.wanted = found.map(|(job, _)| job);
        let due = match found {
            Some((job, status)) => {
                let often = if status == Status::Submitted { 70 } else { 40 };
                self.random.percent(often) && self.approach(job).await.is_some()
            }
            None => {
                self.advance().await;
                false
            }
        };
        self.gathered = Some(Vec::new());
        for n in 0..2 + self.random.below(5) {
            match self.random.below(100) {
                _ if n == 0 && due => self.run_tasks().await,
                _ if n == 1 && due => self.move_a_job().await,
                0..10 => self.run_tasks().await,
                10..16 => self.post().await,
                16..28 => self.pull().await,
                28..32 if !self.sent.is_empty() => self.repeat().await,
                32..36 => self.tend_agents().await,
                36..39 => self.tend_users().await,
                39..43 => self.tend_files().await,
                _ if !self.jobs.is_empty() => self.move_a_job().await,
                _ => self.post().await,
            }
        }
        self.wanted = None;
        let mut gathered = self.gathered.take().unwrap_or_default();
        // An impatient client sends it twice.
        let twin = gathered.iter().find(|request| request.receipt.is_some()).cloned();
        if let Some(mut twin) = twin {
            self.renew(&mut twin);
            gathered.push(twin);
            self.count("at once: the same key");
        }
        gathered
    }

    /// One of the latest jobs that somebody is at, or could be; the further it has come the rather.
    async fn under_way(&mut self) -> Option<(JobId, Status)> {
        let mut under_way = Vec::new();
        for id in self.jobs.iter().rev().take(12) {
            let status = self.one.job(*id).await.status();
            let often = match status {
                Status::Submitted => 8,
                Status::Accepted => 3,
                Status::Held => 2,
                Status::Queued => 1,
                _ => 0,
            };
            under_way.extend(std::iter::repeat_n((*id, status), often));
        }
        (!under_way.is_empty()).then(|| self.random.pick(&under_way))
    }

    async fn send_at_once(&mut self, nodes: &[Store], requests: Vec<Request>) {
        let actors: Vec<Actor> = requests.iter().map(|request| request.command.actor).collect();
        let outcomes = at_once(nodes, requests).await;
        for (actor, outcome) in actors.into_iter().zip(outcomes) {
            self.learn(actor, &outcome);
        }
    }

    /// Counts which commands for one job are sent at once.
    fn note_pairs(&mut self, requests: &[Request]) {
        let named: Vec<_> = requests.iter().map(|request| &request.command.action).collect();
        for (at, one) in named.iter().enumerate() {
            for other in &named[at + 1..] {
                if subject(one).is_some() && subject(one) == subject(other) {
                    let mut names = [name(one), name(other)];
                    names.sort_unstable();
                    self.count(&format!("at once: {}, {}", names[0], names[1]));
                }
            }
        }
    }
}

/// The job that the command is about; for a pull, the one it would take first.
fn subject(action: &Action) -> Option<JobId> {
    match action {
        Action::Pull { candidates, .. } => candidates.first().copied(),
        Action::Run(lease) | Action::Report { lease, .. } => lease.task.job(),
        action => action.job(),
    }
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::Pay(_) => "pay",
        Action::Cancel(_) => "cancel",
        Action::Pull { .. } => "pull",
        Action::Claim { .. } => "claim",
        Action::Accept(_) => "accept",
        Action::Reject(_) => "reject",
        Action::Submit { .. } => "submit",
        Action::Fail { .. } => "fail",
        Action::Review { .. } => "review",
        Action::Report { .. } => "report",
        Action::Run(lease) => match lease.task.kind {
            TaskKind::ExpireHold => "expire_hold",
            TaskKind::ExpireDeadline => "expire_deadline",
            TaskKind::CloseReview => "close_review",
            TaskKind::Verify(_) => "verify",
            TaskKind::TopUp | TaskKind::Pay | TaskKind::Heed => "pay",
        },
        _ => "other",
    }
}
