//! Everything anyone can ask for.

use crate::key::NewKey;
use crate::limits;
use crate::payment::{self, AutoTopUp, Happened, NewNotice, StripeNews};
use crate::upload::{self, NewUpload};
use crate::verification::{Found, LogLine, check};
use crate::{
    AgentId, Cents, Check, JobId, KeyId, Lease, NoticeId, PaymentId, Rejection, Subject, Task, Timestamp, UploadId,
    UserId, Verdict,
};

/// Someone asks for something. A rejected command writes nothing.
#[derive(Debug, Clone)]
pub struct Command {
    /// 128 random bits, from which every id that the command makes is computed.
    pub seed: u128,
    /// Who asks.
    pub actor: Actor,
    /// For what.
    pub action: Action,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A user, known by a key.
    User(UserId),
    /// Whoever runs the exchange, at its own machine.
    Operator,
    /// The exchange itself: a task.
    Exchange,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Action {
    /// A new user, with a default agent.
    CreateUser(NewUser),
    /// Balance for a user, out of nowhere.
    Grant {
        /// Whose wallet.
        user: UserId,
        /// How much.
        amount: Cents,
    },
    /// A new agent.
    CreateAgent(AgentFields),
    /// Some fields of an agent change; an absent one is left alone.
    UpdateAgent {
        /// Which agent.
        agent: AgentId,
        /// The name.
        name: Option<String>,
        /// The personality, or none.
        personality: Option<Option<String>>,
        /// The picture, or none.
        avatar_url: Option<Option<String>>,
    },
    /// An agent goes; its past jobs stay.
    DeleteAgent(AgentId),
    /// A new API key.
    CreateKey(NewKey),
    /// A key is refused from now on.
    RevokeKey(KeyId),
    /// Keys were used.
    TouchKeys(Vec<(KeyId, Timestamp)>),
    /// A job is posted, and paid if the wallet has enough.
    Post(Posting),
    /// A job that waits for payment is paid.
    Pay(JobId),
    /// A job is called off.
    Cancel(JobId),
    /// An agent wants the best job for it.
    Pull {
        /// Which agent; the default one if none is named.
        agent: Option<AgentId>,
        /// The jobs to be tried, best first.
        candidates: Vec<JobId>,
    },
    /// An agent wants that job.
    Claim {
        /// Which agent; the default one if none is named.
        agent: Option<AgentId>,
        /// Which job.
        job: JobId,
    },
    /// The holder takes the job on.
    Accept(JobId),
    /// The holder does not want it.
    Reject(JobId),
    /// The receiver hands in its work.
    Submit {
        /// Which job.
        job: JobId,
        /// The work.
        output_text: Option<String>,
        /// Files that are part of it.
        files: Vec<UploadId>,
    },
    /// A file has come in, and its bytes are kept.
    Upload(NewUpload),
    /// A file that no job names goes.
    DeleteUpload(UploadId),
    /// The receiver gives up.
    Fail {
        /// Which job.
        job: JobId,
        /// Why.
        reason: Option<String>,
    },
    /// The sender decides about a submission.
    Review {
        /// Which job.
        job: JobId,
        /// The decision.
        review: Review,
    },
    /// Somebody is about to pay in.
    TopUp(Cents),
    /// Somebody wants to be paid out.
    Withdraw(Cents),
    /// When a wallet is to be topped up by itself.
    SetAutoTopUp(AutoTopUp),
    /// Stripe has a page for a top-up, under this name.
    PageOpened {
        /// Which top-up.
        payment: PaymentId,
        /// Stripe's session.
        session: String,
    },
    /// A payment was tried, or is about to be.
    Step {
        /// The task that it was tried for.
        lease: Lease,
        /// What came of it.
        step: payment::Step,
    },
    /// Stripe tells something.
    Notice(NewNotice),
    /// What Stripe told was understood.
    Heed {
        /// The task that it was looked at for.
        lease: Lease,
        /// What it means.
        happened: Happened,
    },
    /// Something is new about a user's dealings with Stripe.
    Stripe(UserId, StripeNews),
    /// The operator says what became of a payment that is parked.
    Resolve {
        /// Which one.
        payment: PaymentId,
        /// Stripe's name for it, if it happened.
        reference: Option<String>,
    },
    /// A task is due.
    Run(Lease),
    /// A verifier has looked at a submission.
    Report {
        /// The task that it looked for.
        lease: Lease,
        /// What it found.
        found: Found,
        /// What is not in the log yet.
        log: Vec<LogLine>,
    },
}

/// A user to be created.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// What people call them.
    pub name: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// May run the exchange.
    pub is_admin: bool,
    /// Balance to begin with.
    pub grant: Option<Cents>,
    /// A first key.
    pub key: Option<NewKey>,
}

/// What an agent is made of.
#[derive(Debug, Clone)]
pub struct AgentFields {
    /// The name.
    pub name: String,
    /// The personality.
    pub personality: Option<String>,
    /// The picture.
    pub avatar_url: Option<String>,
}

/// A job to be posted.
#[derive(Debug, Clone)]
pub struct Posting {
    /// The sender's own words.
    pub prompt: String,
    /// One line.
    pub title: String,
    /// What is to be done.
    pub description: Option<String>,
    /// The skills needed.
    pub requirements: Option<String>,
    /// What a judge holds the submission against.
    pub criteria: Vec<String>,
    /// What a machine holds it against.
    pub checks: Vec<Check>,
    /// Files that come with it.
    pub attachments: Vec<UploadId>,
    /// The environment variables, encrypted.
    pub sealed_env: Option<Vec<u8>>,
    /// What the sender pays.
    pub price: Cents,
    /// How long an attempt may take, in seconds.
    pub time_limit_seconds: i64,
}

impl Posting {
    /// Refuses what is out of bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        limits::required_text("prompt", &self.prompt, limits::PROMPT)?;
        limits::required_text("title", &self.title, limits::TITLE)?;
        limits::optional_text("description", self.description.as_deref(), limits::PROMPT)?;
        limits::optional_text("requirements", self.requirements.as_deref(), limits::PROSE)?;
        limits::criteria(&self.criteria)?;
        check::allowed(&self.checks)?;
        upload::check_list("attachments", &self.attachments)?;
        limits::within("price_cents", self.price.0, &limits::PRICE_CENTS)?;
        limits::within("time_limit_seconds", self.time_limit_seconds, &limits::TIME_LIMIT_SECONDS)
    }
}

/// A sender's decision.
#[derive(Debug, Clone)]
pub struct Review {
    /// Pass or fail.
    pub verdict: Verdict,
    /// Why; needed for a fail.
    pub reason: Option<String>,
    /// Which attempt was looked at; refused when another is current.
    pub attempt: Option<u32>,
}

impl Review {
    /// Refuses a fail without a reason, and reasons out of bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        match (&self.reason, self.verdict) {
            (Some(reason), _) => limits::required_text("reason", reason, limits::PROSE),
            (None, Verdict::Pass) => Ok(()),
            (None, Verdict::Fail) => Err(Rejection::invalid("reason", "must say why the work fails")),
        }
    }
}

impl AgentFields {
    /// Refuses what is out of bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        limits::name("name", &self.name)?;
        limits::optional_text("personality", self.personality.as_deref(), limits::PERSONALITY)?;
        limits::web_url("avatar_url", self.avatar_url.as_deref())
    }
}

impl Action {
    /// Refuses what is malformed whatever the facts are, so that this comes before anything is said about them.
    pub(crate) fn check(&self) -> Result<(), Rejection> {
        match self {
            Self::CreateAgent(fields) => fields.check(),
            Self::UpdateAgent { name, personality, avatar_url, .. } => {
                if let Some(name) = name {
                    limits::name("name", name)?;
                }
                let text = personality.as_ref().and_then(Option::as_deref);
                limits::optional_text("personality", text, limits::PERSONALITY)?;
                limits::web_url("avatar_url", avatar_url.as_ref().and_then(Option::as_deref))
            }
            Self::Post(posting) => posting.check(),
            Self::Submit { output_text, files, .. } => {
                upload::check_list("output_attachments", files)?;
                check_output(output_text.as_deref(), !files.is_empty())
            }
            Self::Fail { reason, .. } => limits::optional_text("reason", reason.as_deref(), limits::PROSE),
            Self::Review { review, .. } => review.check(),
            _ => Ok(()),
        }
    }

    /// The job that the action is about, if it names one.
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::Pay(job)
            | Self::Cancel(job)
            | Self::Claim { job, .. }
            | Self::Accept(job)
            | Self::Reject(job)
            | Self::Submit { job, .. }
            | Self::Fail { job, .. }
            | Self::Review { job, .. } => Some(*job),
            Self::Run(lease) | Self::Report { lease, .. } => lease.task.job(),
            _ => None,
        }
    }

    /// The agent that the action is by or about: `Some(None)` is the actor's default agent.
    pub const fn agent(&self) -> Option<Option<AgentId>> {
        match self {
            Self::UpdateAgent { agent, .. } | Self::DeleteAgent(agent) => Some(Some(*agent)),
            Self::Pull { agent, .. } | Self::Claim { agent, .. } => Some(*agent),
            _ => None,
        }
    }

    /// The files that the action names, in one order, so that nobody who locks them waits for ever.
    pub fn uploads(&self) -> Vec<UploadId> {
        let mut named = match self {
            Self::Post(posting) => posting.attachments.clone(),
            Self::Submit { files, .. } => files.clone(),
            Self::DeleteUpload(upload) => vec![*upload],
            _ => Vec::new(),
        };
        named.sort_unstable();
        named
    }

    /// Whether the actor's wallet is a fact that the action needs.
    pub const fn spends(&self) -> bool {
        matches!(self, Self::Post(_) | Self::Pay(_) | Self::Withdraw(_) | Self::SetAutoTopUp(_))
    }

    /// The lease that the action is carried out under.
    pub const fn lease(&self) -> Option<Lease> {
        match self {
            Self::Run(lease) | Self::Report { lease, .. } | Self::Step { lease, .. } | Self::Heed { lease, .. } => {
                Some(*lease)
            }
            _ => None,
        }
    }

    /// The payment that the action is about, if it names one.
    pub const fn payment(&self) -> Option<PaymentId> {
        match self {
            Self::PageOpened { payment, .. } | Self::Resolve { payment, .. } => Some(*payment),
            Self::Step { lease: Lease { task: Task { subject: Subject::Payment(payment), .. }, .. }, .. } => {
                Some(*payment)
            }
            Self::Heed { happened, .. } => happened.payment(),
            _ => None,
        }
    }

    /// The notice that the action is about, if it names one.
    pub const fn notice(&self) -> Option<NoticeId> {
        match self {
            Self::Notice(notice) => Some(notice.id),
            Self::Heed { lease: Lease { task: Task { subject: Subject::Notice(notice), .. }, .. }, .. } => {
                Some(*notice)
            }
            _ => None,
        }
    }

    /// The user whose dealings with Stripe the action is about, if it names one itself.
    pub const fn dealer(&self) -> Option<UserId> {
        match self {
            Self::Stripe(user, _) | Self::Heed { happened: Happened::User(user, _), .. } => Some(*user),
            Self::Run(Lease { task: Task { subject: Subject::User(user), .. }, .. }) => Some(*user),
            _ => None,
        }
    }
}

/// A submission's text: it says something, or a file does.
pub fn check_output(text: Option<&str>, has_files: bool) -> Result<(), Rejection> {
    match text {
        Some(text) if text.contains('\0') => Err(Rejection::invalid("output_text", "must not have a NUL character")),
        Some(text) if text.len() > limits::OUTPUT_BYTES => {
            Err(Rejection::invalid("output_text", "must be at most 1 MiB"))
        }
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ if has_files => Ok(()),
        _ => Err(Rejection::invalid("output_text", "must not be blank: submit a text or a file")),
    }
}
