//! A small world in memory that keeps what `decide` says, as a store would, and checks it while it does.

use std::collections::BTreeMap;

use clawrk_domain::action::{NewUser, Posting};
use clawrk_domain::verification::Found;
use clawrk_domain::{
    Account, Action, Actor, Agent, AgentId, Answer, Cents, Change, Command, Facts, Job, JobId, Lease, Policy,
    Rejection, State, Task, TaskKind, Timestamp, Transfer, UserId, Write, decide,
};

/// Everything there is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) policy: Policy,
    pub(crate) wallets: BTreeMap<UserId, Cents>,
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) escrows: BTreeMap<JobId, Cents>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) tasks: Vec<Task>,
    seed: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: "2025-01-01T00:00:00Z".parse().unwrap(),
            policy: Policy::default(),
            wallets: BTreeMap::new(),
            agents: BTreeMap::new(),
            jobs: BTreeMap::new(),
            escrows: BTreeMap::new(),
            transfers: Vec::new(),
            tasks: Vec::new(),
            seed: 1,
        }
    }

    /// A user with this much, and their default agent.
    pub(crate) fn user(&mut self, name: &str, cents: i64) -> (UserId, AgentId) {
        let grant = (cents > 0).then_some(Cents(cents));
        let new = NewUser { name: name.to_owned(), email: None, is_admin: false, grant, key: None };
        let Ok(Answer::User(user)) = self.act(Actor::Operator, Action::CreateUser(new)) else {
            panic!("a user is made")
        };
        (user.id, self.default_agent(user.id))
    }

    pub(crate) fn default_agent(&self, owner: UserId) -> AgentId {
        self.agents.values().find(|agent| agent.owner == owner && agent.is_default).expect("every user has one").id
    }

    /// What a store would load for this action.
    fn facts(&self, actor: Actor, action: &Action) -> Facts {
        let user = if let Actor::User(user) = actor { Some(user) } else { None };
        let agent = action.agent().and_then(|named| named.or_else(|| user.map(|user| self.default_agent(user))));
        let agent = agent.and_then(|agent| self.agents.get(&agent));
        let holds =
            |job: &&Job| matches!(&job.state, State::Held { by, .. } if Some(by.agent) == agent.map(|agent| agent.id));
        let job = match action {
            Action::Pull { candidates, .. } => candidates
                .iter()
                .filter_map(|id| self.jobs.get(id))
                .find(|job| agent.is_some_and(|agent| job.is_open_to(agent.id, self.now))),
            _ => action.job().and_then(|id| self.jobs.get(&id)),
        };
        Facts {
            now: Some(self.now),
            job: job.cloned(),
            agent: agent.cloned(),
            agents: self.agents.values().filter(|agent| Some(agent.owner) == user).cloned().collect(),
            holding: self.jobs.values().find(holds).cloned(),
            agent_engaged: false,
            wallet: user.and_then(|user| self.wallets.get(&user)).copied().unwrap_or_default(),
            user_exists: true,
            email_taken: false,
            keys: Vec::new(),
            lease_is_current: matches!(action, Action::Run(lease) | Action::Report { lease, .. } if self.tasks.contains(&lease.task)),
        }
    }

    /// Decides without writing.
    pub(crate) fn decide(&self, actor: Actor, action: Action) -> Result<Change, Rejection> {
        let facts = self.facts(actor, &action);
        decide(&Command { seed: self.seed, actor, action }, &self.policy, facts)
    }

    /// Decides and writes.
    pub(crate) fn act(&mut self, actor: Actor, action: Action) -> Result<Answer, Rejection> {
        self.seed += 1;
        let change = self.decide(actor, action)?;
        change.writes.into_iter().for_each(|write| self.write(write));
        Ok(change.answer)
    }

    /// A verifier says what it found about what is looked at of a job.
    pub(crate) fn report(&mut self, job: JobId, found: Found) -> Result<Answer, Rejection> {
        let task = self.jobs[&job].timer().expect("it is looked at");
        self.act(Actor::Exchange, Action::Report { lease: Lease { task, token: 1 }, found, log: Vec::new() })
    }

    /// Runs every task that is due now, but for what verifiers do.
    pub(crate) fn run_due(&mut self) {
        let is_timer = |task: &&Task| task.due_at <= self.now && !matches!(task.kind, TaskKind::Verify(_));
        let due: Vec<Task> = self.tasks.iter().filter(is_timer).copied().collect();
        for task in due {
            self.act(Actor::Exchange, Action::Run(Lease { task, token: 1 })).expect("a task that is there may run");
        }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::CreateUser(user) => {
                self.wallets.insert(user.id, Cents::ZERO);
            }
            Write::CreateAgent(agent) => {
                self.agents.insert(agent.id, agent);
            }
            Write::CreateJob(job) => {
                self.escrows.insert(job.id, Cents::ZERO);
                assert!(self.jobs.insert(job.id, Job::clone(&job)).is_none(), "a job is created once");
            }
            Write::UpdateJob(job) => {
                let before = self.jobs.insert(job.id, Job::clone(&job)).expect("an updated job was there");
                assert_eq!(job.version, before.version + 1, "every change counts");
            }
            // A job that is looked at again is not written anew.
            Write::Attempt(record) => {
                let state = self.jobs.get_mut(&record.job).map(|job| &mut job.state);
                if let (Some(State::Submitted(.., stage)), Some(next)) = (state, record.stage) {
                    *stage = next;
                }
            }
            Write::Transfer(transfer) => self.transfer(transfer),
            Write::Schedule(task) => {
                self.tasks.retain(|other| (other.kind, other.job) != (task.kind, task.job));
                self.tasks.push(task);
            }
            Write::Unschedule(task) => self.tasks.retain(|other| *other != task),
            _ => {}
        }
    }

    fn transfer(&mut self, transfer: Transfer) {
        assert!(transfer.amount > Cents::ZERO);
        for (account, delta) in [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)] {
            let balance = match account {
                Account::Wallet(user) => self.wallets.get_mut(&user),
                Account::Escrow(job) => self.escrows.get_mut(&job),
                Account::Platform | Account::Outside => continue,
            };
            let balance = balance.expect("the account is there");
            *balance = *balance + delta;
            assert!(*balance >= Cents::ZERO, "no wallet and no escrow goes below zero");
        }
        self.transfers.push(transfer);
    }
}

/// A job worth five dollars.
pub(crate) fn posting(price_cents: i64) -> Posting {
    Posting {
        checks: Vec::new(),
        prompt: "Count the vowels".to_owned(),
        title: "Count the vowels".to_owned(),
        description: None,
        requirements: None,
        criteria: Vec::new(),
        sealed_env: None,
        price: Cents(price_cents),
        time_limit_seconds: 600,
    }
}
