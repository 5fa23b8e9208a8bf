//! Every way to be told no, with its stable code.

use std::borrow::Cow;

use crate::{Cents, PaymentState, Scope, Status, limits};

/// A refusal: an answer, not a failure. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A field is missing or out of bounds.
    #[error("{field} {problem}")]
    Invalid {
        /// The field's name on the wire.
        field: &'static str,
        /// What is wrong with it: goes on after the name.
        problem: Cow<'static, str>,
    },
    /// A check is malformed or out of bounds.
    #[error("checks[{}]{}", .0.0, .0.1)]
    BadCheck(
        /// Which one, from 0, and the rest of the sentence: its field after a dot, and what is wrong with it.
        Box<(usize, String)>,
    ),
    /// No such thing, or none that the caller may know of.
    #[error("No such {0}")]
    NotFound(&'static str),
    /// Only the job's sender may do that.
    #[error("Only the job's sender may do that")]
    NotTheSender,
    /// Another agent holds the job.
    #[error("Another agent holds this job")]
    HeldByAnother,
    /// Another agent has accepted the job.
    #[error("Another agent received this job")]
    ReceivedByAnother,
    /// The key does not allow it.
    #[error("This API key lacks the scope \"{0}\"")]
    ScopeMissing(Scope),
    /// The job is in a state that forbids it.
    #[error("The job is {is}, not {needs}")]
    WrongState {
        /// The state the job is in.
        is: Status,
        /// What it would have to be.
        needs: &'static str,
    },
    /// The hold has run out.
    #[error("The hold on this job has run out")]
    HoldExpired,
    /// The deadline has passed.
    #[error("The deadline for this job has passed")]
    DeadlinePassed,
    /// A machine is at it.
    #[error("This submission is being verified: a review is for what no machine could decide")]
    BeingVerified,
    /// Nobody reviewed in time: the submission passes by itself.
    #[error("The review window is over: this submission passes by itself")]
    ReviewOver,
    /// The review is for an attempt that is no longer the current one.
    #[error("That attempt is over; the job is at attempt {0}")]
    AttemptOver(u32),
    /// The agent holds another job already.
    #[error("This agent holds another job: accept or reject it first")]
    HoldsAnother,
    /// The default agent stays.
    #[error("The default agent cannot be deleted")]
    DefaultAgent,
    /// The agent is at work.
    #[error("This agent has a job in hand: finish it first")]
    AgentEngaged,
    /// The user has an agent of that name.
    #[error("You already have an agent named {name:?}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Another user has that e-mail address.
    #[error("There is already a user with this e-mail address")]
    EmailTaken,
    /// The user has as many agents as one may have.
    #[error("You have {} agents, which is the most one may have", limits::AGENTS)]
    TooManyAgents,
    /// The user has as many keys as one may have.
    #[error("You have {} API keys, which is the most one may have: revoke one first", limits::KEYS)]
    TooManyKeys,
    /// The wallet has less than it takes.
    #[error("The balance is too low: {required} needed, {available} available")]
    BalanceTooLow {
        /// What it takes.
        required: Cents,
        /// What the wallet has.
        available: Cents,
    },
    /// The wallet owes something.
    #[error(
        "Nothing can be spent from this wallet while it owes {owed} of payments that were taken back, and it has {available}: top it up"
    )]
    WalletFrozen {
        /// What it owes.
        owed: Cents,
        /// What it has.
        available: Cents,
    },
    /// There is no account to pay out to.
    #[error("There is no account that you can be paid out to: set one up with POST /api/stripe/connect")]
    NotConnected,
    /// There is no card to charge.
    #[error("There is no card that may be charged: save one with POST /api/wallet/setup-payment-method")]
    NoCard,
    /// The payment is not one that nobody knows the outcome of.
    #[error("This payment is {}, not parked", .0.as_str())]
    NotParked(PaymentState),
    /// The exchange still finds out by itself.
    #[error("This payment was sent less than a day ago: the exchange still tries to find out by itself")]
    StillTried,
    /// The user's files have as many bytes as one's may.
    #[error("Your files may have {0} bytes together: delete some that no job names, with DELETE /api/uploads/{{id}}")]
    UploadQuota(u64),
    /// A job names the file.
    #[error("A job names this file, so it stays with that job")]
    UploadInUse,
    /// The task's lease went to another runner, or the task is done.
    #[error("The task's lease is over")]
    LeaseLost,
}

/// What sort of refusal it is; decides the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Something about the request is wrong, or the state forbids it: 400.
    Bad,
    /// Money is missing: 402.
    Short,
    /// Not the one who may: 403.
    Forbidden,
    /// Nothing there: 404.
    Absent,
    /// Something else is there: 409.
    Conflict,
}

impl Rejection {
    /// A field that is wrong; the problem goes on after the field's name.
    pub fn invalid(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }

    /// The stable code of this refusal and its sort.
    pub const fn code(&self) -> (&'static str, Sort) {
        match self {
            Self::Invalid { .. } | Self::BadCheck(_) => ("invalid_field", Sort::Bad),
            Self::NotFound(_) => ("not_found", Sort::Absent),
            Self::NotTheSender => ("not_the_sender", Sort::Forbidden),
            Self::HeldByAnother => ("held_by_another", Sort::Forbidden),
            Self::ReceivedByAnother => ("received_by_another", Sort::Forbidden),
            Self::ScopeMissing(_) => ("scope_missing", Sort::Forbidden),
            Self::WrongState { .. } => ("wrong_state", Sort::Bad),
            Self::HoldExpired => ("hold_expired", Sort::Bad),
            Self::DeadlinePassed => ("deadline_passed", Sort::Bad),
            Self::BeingVerified => ("being_verified", Sort::Bad),
            Self::ReviewOver => ("review_over", Sort::Bad),
            Self::AttemptOver(_) => ("attempt_over", Sort::Bad),
            Self::HoldsAnother => ("holds_another", Sort::Bad),
            Self::DefaultAgent => ("default_agent", Sort::Bad),
            Self::AgentEngaged => ("agent_engaged", Sort::Bad),
            Self::NameTaken { .. } => ("name_taken", Sort::Conflict),
            Self::EmailTaken => ("email_taken", Sort::Conflict),
            Self::TooManyAgents => ("too_many_agents", Sort::Bad),
            Self::TooManyKeys => ("too_many_keys", Sort::Bad),
            Self::BalanceTooLow { .. } => ("balance_too_low", Sort::Short),
            Self::WalletFrozen { .. } => ("wallet_frozen", Sort::Short),
            Self::NotConnected => ("not_connected", Sort::Bad),
            Self::NoCard => ("no_card", Sort::Bad),
            Self::NotParked(_) => ("not_parked", Sort::Bad),
            Self::StillTried => ("still_tried", Sort::Bad),
            Self::UploadQuota(_) => ("upload_quota", Sort::Bad),
            Self::UploadInUse => ("upload_in_use", Sort::Conflict),
            Self::LeaseLost => ("lease_lost", Sort::Conflict),
        }
    }
}
