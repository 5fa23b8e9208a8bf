//! The use cases, one short function each; the only caller of `Store::submit`.

use std::sync::Arc;

use clawrk_domain::action::{NewUser, Posting};
use clawrk_domain::matching::Vector;
use clawrk_domain::payment::NewNotice;
use clawrk_domain::verification::{Found, LogLine};
use clawrk_domain::{
    Action, Actor, AgentId, Answer, Cents, Command, JobId, KeyId, Lease, Payment, PaymentId, Rejection, Timestamp,
    User, UserId,
};
use clawrk_store::{Outcome, ReceiptRequest, Request, Store, StoreError};

use crate::input::Once;
use crate::market::Market;
use crate::reply::Reply;
use crate::vault::{Purpose, Vault};
use crate::{Error, random};

/// How many candidates a pull brings to the store at once.
const CANDIDATES: usize = 16;

/// Turns an answer into what the caller is sent.
pub type Render = Arc<dyn Fn(&Answer) -> Reply + Send + Sync>;

/// The use cases.
#[derive(Clone)]
pub struct Exchange {
    store: Store,
    vault: Vault,
}

impl Exchange {
    pub(crate) const fn new(store: Store, vault: Vault) -> Self {
        Self { store, vault }
    }

    /// A user asks for something. With an idempotency key the answer is kept, sealed, with its effect,
    /// and a repeat gets the same bytes.
    pub async fn act(&self, user: UserId, action: Action, once: Option<Once>, render: Render) -> Result<Reply, Error> {
        let command = Command { seed: random::seed(), actor: Actor::User(user), action };
        let receipt = once.map(|once| self.receipt(user, once, Arc::clone(&render)));
        match self.store.submit(Request { command, receipt }).await? {
            Outcome::Done(answer) => Ok(render(&answer)),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            Outcome::Replayed(sealed) => {
                let kept = self.vault.open(Purpose::Receipt, &sealed)?;
                Reply::replayed(&kept).ok_or_else(Error::internal)
            }
            Outcome::KeyReused => Err(Error::key_reused()),
            Outcome::KeyInProgress => Err(Error::key_in_progress()),
        }
    }

    fn receipt(&self, user: UserId, once: Once, render: Render) -> ReceiptRequest {
        let vault = self.vault.clone();
        let keep = move |answer: &Answer| vault.seal(Purpose::Receipt, &render(answer).to_bytes());
        ReceiptRequest { user, key: once.key, fingerprint: once.fingerprint, keep: Arc::new(keep) }
    }

    /// A sender posts a job.
    pub async fn post(
        &self,
        user: UserId,
        posting: Posting,
        once: Option<Once>,
        render: Render,
    ) -> Result<Reply, Error> {
        self.act(user, Action::Post(posting), once, render).await
    }

    /// An agent takes the best job that is open to it: the answer is the job, or nothing.
    pub async fn pull(
        &self,
        user: UserId,
        agent: AgentId,
        personality: Option<&str>,
        meaning: Option<&Vector>,
        market: &Market,
    ) -> Result<Answer, Error> {
        let mut tried: Vec<JobId> = Vec::new();
        // Another node may have acknowledged a job a moment ago, and it may be the best.
        self.store.catch_up().await;
        loop {
            let now = self.store.clock().now();
            let candidates = market.candidates(agent, personality, meaning, now, &tried, CANDIDATES);
            let action = Action::Pull { agent: Some(agent), candidates: candidates.clone() };
            let answer = self.done(Actor::User(user), action).await?;
            if answer != Answer::Nothing || candidates.is_empty() {
                return Ok(answer);
            }
            // Others were faster, and the market is about to hear of it.
            tried.extend(candidates);
        }
    }

    /// A task is due. A lease that went to another runner is no error.
    pub async fn run(&self, lease: Lease) -> Result<(), StoreError> {
        command(&self.store, Actor::Exchange, Action::Run(lease)).await?;
        Ok(())
    }

    /// A verifier has looked at a submission. That another one was faster is no error.
    pub async fn report(&self, lease: Lease, found: Found, log: Vec<LogLine>) -> Result<(), StoreError> {
        self.under_lease(Action::Report { lease, found, log }).await.map(|_| ())
    }

    /// The exchange does what it has a lease for; false when the lease is somebody else's now, which is no error.
    pub(crate) async fn under_lease(&self, action: Action) -> Result<bool, StoreError> {
        match command(&self.store, Actor::Exchange, action).await? {
            Outcome::Done(_) => Ok(true),
            Outcome::Rejected(Rejection::LeaseLost) => Ok(false),
            other => Err(StoreError::Corrupt(format!("what a lease is for is refused: {other:?}"))),
        }
    }

    /// The exchange does something by itself.
    pub(crate) async fn by_itself(&self, action: Action) -> Result<Answer, Error> {
        self.done(Actor::Exchange, action).await
    }

    /// Keys were used.
    pub async fn touch_keys(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), Error> {
        self.done(Actor::Exchange, Action::TouchKeys(used)).await.map(|_| ())
    }

    async fn done(&self, actor: Actor, action: Action) -> Result<Answer, Error> {
        match command(&self.store, actor, action).await? {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            _ => Err(Error::internal()),
        }
    }
}

/// What whoever runs the exchange does at its own machine; needs the store and nothing else.
#[derive(Clone)]
pub struct Operator(pub Store);

/// Why something the operator asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It was refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

impl Operator {
    /// Makes a user, with a default agent.
    pub async fn create_user(&self, new: NewUser) -> Result<User, OperatorError> {
        match self.done(Action::CreateUser(new)).await? {
            Answer::User(user) => Ok(user),
            other => unreachable!("a user was made, and the answer is {other:?}"),
        }
    }

    /// Gives balance.
    pub async fn grant(&self, user: UserId, amount: Cents) -> Result<(), OperatorError> {
        self.done(Action::Grant { user, amount }).await.map(|_| ())
    }

    /// Says what became of a payment that is parked: it was paid, under this name of Stripe's, or it was not.
    pub async fn resolve(&self, payment: PaymentId, reference: Option<String>) -> Result<Payment, OperatorError> {
        match self.done(Action::Resolve { payment, reference }).await? {
            Answer::Payment(payment) => Ok(payment),
            other => unreachable!("a payment was resolved, and the answer is {other:?}"),
        }
    }

    async fn done(&self, action: Action) -> Result<Answer, OperatorError> {
        match command(&self.0, Actor::Operator, action).await? {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            other => unreachable!("there is no idempotency key, and the outcome is {other:?}"),
        }
    }
}

/// A notice of Stripe's is kept, to be worked off.
pub(crate) async fn take_notice(store: &Store, notice: NewNotice) -> Result<(), StoreError> {
    match command(store, Actor::Exchange, Action::Notice(notice)).await? {
        Outcome::Done(_) => Ok(()),
        other => Err(StoreError::Corrupt(format!("a notice is refused: {other:?}"))),
    }
}

async fn command(store: &Store, actor: Actor, action: Action) -> Result<Outcome, StoreError> {
    let command = Command { seed: random::seed(), actor, action };
    store.submit(Request { command, receipt: None }).await
}
