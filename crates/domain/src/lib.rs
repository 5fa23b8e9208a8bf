//! The rules of the exchange: what anyone can ask for, what follows from it, and every way to be told no.
//!
//! Pure functions only. Time and ids are data: a [`Command`] carries a seed for the ids it makes,
//! and [`Facts`] carry the time. The heart is [`decide`]; everything else is its vocabulary.

pub mod action;
pub mod agent;
pub mod change;
pub mod decide;
pub mod estimate;
pub mod fee;
pub mod id;
pub mod job;
pub mod key;
pub mod ledger;
pub mod limits;
pub mod matching;
pub mod money;
pub mod payment;
pub mod policy;
pub mod purse;
pub mod rejection;
pub mod tally;
pub mod task;
pub mod time;
pub mod unseen;
pub mod upload;
pub mod user;
pub mod verification;

pub use action::{Action, Actor, Command};
pub use agent::Agent;
pub use change::{Answer, Change, Event, EventKind, Write};
pub use decide::{Facts, decide};
pub use id::{AgentId, Ids, JobId, KeyId, NoticeId, PaymentId, TransferId, UploadId, UserId};
pub use job::{Attempt, Brief, Finished, Job, Offer, Sight, State, Status, Submission, Worker};
pub use key::{ApiKey, Scope, Scopes};
pub use ledger::{Account, Reason, Transfer};
pub use money::Cents;
pub use payment::{Payment, PaymentKind, PaymentState};
pub use policy::Policy;
pub use purse::Purse;
pub use rejection::Rejection;
pub use task::{Lease, Subject, Task, TaskKind};
pub use time::Timestamp;
pub use upload::Upload;
pub use user::User;
pub use verification::{Check, CheckResult, CriterionResult, Verdict, Verification};
