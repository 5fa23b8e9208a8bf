//! A small world in memory that keeps what `decide` says, as a store would, and checks it while it does.

use std::collections::BTreeMap;

use clawrk_domain::action::{NewUser, Posting};
use clawrk_domain::payment::{AutoTopUp, NoticeEnd, StripeIds};
use clawrk_domain::verification::Found;
use clawrk_domain::{
    Account, Action, Actor, Agent, AgentId, Answer, Cents, Change, Command, Facts, Job, JobId, Lease, NoticeId,
    Payment, PaymentId, PaymentKind, PaymentState, Policy, Purse, Rejection, State, Task, TaskKind, Timestamp,
    Transfer, UserId, Write, decide,
};

/// Everything there is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) policy: Policy,
    pub(crate) wallets: BTreeMap<UserId, Cents>,
    pub(crate) owed: BTreeMap<UserId, Cents>,
    pub(crate) house: BTreeMap<Account, Cents>,
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    pub(crate) stripe: BTreeMap<UserId, StripeIds>,
    pub(crate) auto: BTreeMap<UserId, AutoTopUp>,
    pub(crate) notices: BTreeMap<NoticeId, (Timestamp, Option<NoticeEnd>)>,
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
            owed: BTreeMap::new(),
            house: BTreeMap::new(),
            payments: BTreeMap::new(),
            stripe: BTreeMap::new(),
            auto: BTreeMap::new(),
            notices: BTreeMap::new(),
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
        let payment = action.payment().and_then(|id| self.payments.get(&id)).cloned();
        let dealer = payment.as_ref().map(|payment| payment.user).or_else(|| action.dealer()).or(user);
        let granted = if let Action::Grant { user, .. } = action { Some(*user) } else { None };
        let auto_top_up = dealer.and_then(|user| self.auto.get(&user)).cloned().unwrap_or_default();
        let charges: Vec<&Payment> = self
            .payments
            .values()
            .filter(|payment| Some(payment.user) == dealer && payment.kind == PaymentKind::AutoTopUp)
            .collect();
        let is_under_way = |payment: &&&Payment| matches!(payment.state, PaymentState::Sending | PaymentState::Parked);
        let since = self.now.plus_seconds(-24 * 3600);
        let today = charges.iter().filter(|payment| payment.created_at > since).count();
        let notice = action.notice().and_then(|id| self.notices.get(&id));
        let lease = action.lease();
        let purse = granted.or(dealer).map(|user| Purse {
            balance: self.wallets.get(&user).copied().unwrap_or_default(),
            owed: self.owed.get(&user).copied().unwrap_or_default(),
            tops_up_below: Some(auto_top_up.threshold).filter(|_| auto_top_up.enabled),
        });
        Facts {
            purse: purse.unwrap_or_default(),
            charges: (charges.iter().any(|payment| is_under_way(&payment)), u32::try_from(today).unwrap()),
            payment,
            stripe: dealer.and_then(|user| self.stripe.get(&user)).cloned().unwrap_or_default(),
            auto_top_up,
            notice_at: notice.map(|(at, _)| *at),
            uploads: Vec::new(),
            upload_in_use: false,
            uploaded_bytes: 0,
            now: Some(self.now),
            job: job.cloned(),
            agent: agent.cloned(),
            agents: self.agents.values().filter(|agent| Some(agent.owner) == user).cloned().collect(),
            holding: self.jobs.values().find(holds).cloned(),
            agent_engaged: false,
            user_exists: true,
            email_taken: false,
            keys: Vec::new(),
            lease_is_current: lease.is_some_and(|lease| self.tasks.contains(&lease.task)),
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
                self.tasks.retain(|other| (other.kind, other.subject) != (task.kind, task.subject));
                self.tasks.push(task);
            }
            Write::CreatePayment(payment) => {
                assert!(self.payments.insert(payment.id, payment).is_none(), "a payment is created once");
            }
            Write::UpdatePayment(payment) => {
                let before = self.payments.insert(payment.id, payment.clone()).expect("it was there");
                assert_eq!(payment.version, before.version + 1, "every change counts");
            }
            Write::Owe(user, more) => {
                let owed = self.owed.entry(user).or_default();
                *owed = *owed + more;
                assert!(*owed >= Cents::ZERO, "nobody owes less than nothing");
            }
            Write::Stripe(user, ids) => {
                self.stripe.insert(user, ids);
            }
            Write::AutoTopUp(user, auto) => {
                self.auto.insert(user, auto);
            }
            Write::CreateNotice(notice, at) => {
                self.notices.entry(notice.id).or_insert((at, None));
            }
            Write::EndNotice(notice, end, _) => {
                self.notices.get_mut(&notice).expect("it was there").1 = Some(end);
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
                house => Some(self.house.entry(house).or_default()),
            };
            let balance = balance.expect("the account is there");
            *balance = *balance + delta;
            let is_debt = matches!(account, Account::Outside | Account::Losses);
            assert!(is_debt || *balance >= Cents::ZERO, "{account:?} goes below zero");
        }
        self.transfers.push(transfer);
    }
}

/// A job worth five dollars.
pub(crate) fn posting(price_cents: i64) -> Posting {
    Posting {
        checks: Vec::new(),
        attachments: Vec::new(),
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
