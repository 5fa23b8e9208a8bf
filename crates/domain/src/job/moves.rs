//! Every move of a job, in the order of its life.

use std::sync::Arc;

use super::step::Step;
use super::{Attempt, Finished, Job, Sight, State, Submission, Worker};
use crate::action::{Posting, Review};
use crate::change::{Mover, Outcome};
use crate::policy::COOL_DOWN_SECONDS;
use crate::verification::{Found, LogLine, Stage};
use crate::{
    Account, Agent, Answer, Brief, Cents, Change, EventKind, Ids, JobId, Policy, Reason, Rejection, Task, TaskKind,
    Timestamp, Upload, UploadId, UserId, Verdict, Verification, Write, fee, upload,
};

/// What every move is given besides the job.
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) policy: &'a Policy,
    pub(crate) ids: &'a mut Ids,
}

/// A sender posts a job: paid at once if the wallet has enough, else kept until it is paid.
pub(crate) fn post(
    sender: UserId,
    posting: &Posting,
    files: &[Upload],
    wallet: Cents,
    at: &mut Moment<'_>,
) -> Result<Change, Rejection> {
    let attachments = upload::named("attachments", &posting.attachments, sender, files)?;
    let enough = wallet >= posting.price;
    let job = Job {
        id: at.ids.job(),
        sender,
        brief: Arc::new(Brief {
            prompt: posting.prompt.clone(),
            title: posting.title.trim().to_owned(),
            description: posting.description.clone(),
            requirements: posting.requirements.clone(),
            criteria: posting.criteria.clone(),
            checks: posting.checks.clone(),
            attachments,
            sealed_env: posting.sealed_env.clone(),
        }),
        price: posting.price,
        fee: fee::fee(posting.price, at.policy),
        time_limit_seconds: posting.time_limit_seconds,
        state: if enough { State::Queued } else { State::PendingPayment },
        attempt_count: 0,
        cancellation_requested: false,
        offers: Vec::new(),
        version: 1,
        created_at: at.now,
        updated_at: at.now,
    };
    let step = Step::of(job.clone(), at.now);
    let mut change = if enough { fund(step, &job, at) } else { step }.created(Mover::Sender);
    if !enough && let Answer::Job(job) = change.answer {
        change.answer = Answer::Short { required: job.price, available: wallet, job };
    }
    Ok(using(change, &job.brief.attachments, job.id, 0))
}

/// The change, and that a job names files.
fn using(mut change: Change, files: &[Upload], job: JobId, attempt: u32) -> Change {
    change.writes.extend(files.iter().map(|file| Write::UseUpload(file.id, job, attempt)));
    change
}

impl Job {
    /// The sender pays for a job that waits for it.
    pub(crate) fn pay(self, actor: UserId, wallet: Cents, at: &mut Moment<'_>) -> Result<Change, Rejection> {
        self.only_sender(actor)?;
        if self.state != State::PendingPayment {
            return Err(self.is_not("pending_payment"));
        }
        if wallet < self.price {
            return Err(Rejection::BalanceTooLow { required: self.price, available: wallet });
        }
        let before = self.clone();
        Ok(fund(Step::of(self, at.now), &before, at).to(State::Queued).done(EventKind::Paid, Mover::Sender))
    }

    /// The sender calls the job off: at once while nobody works on it, else when the attempt fails.
    pub(crate) fn cancel(mut self, actor: UserId, at: &mut Moment<'_>) -> Result<Change, Rejection> {
        self.only_sender(actor)?;
        match self.state {
            State::Verified(_) | State::Failed(_) | State::Cancelled(_) => {
                Ok(Change::none(Answer::Job(Arc::new(self))))
            }
            State::Accepted(_) | State::Submitted(..) if self.cancellation_requested => {
                Ok(Change::none(Answer::Job(Arc::new(self))))
            }
            State::Accepted(_) | State::Submitted(..) => {
                self.cancellation_requested = true;
                Ok(Step::of(self, at.now).done(EventKind::CancellationRequested, Mover::Sender))
            }
            State::PendingPayment => {
                Ok(Step::of(self, at.now).to(State::Cancelled(None)).done(EventKind::Cancelled, Mover::Sender))
            }
            State::Queued | State::Held { .. } => {
                let before = self.clone();
                let step = refund(Step::of(self, at.now), &before, at);
                Ok(step.to(State::Cancelled(None)).done(EventKind::Cancelled, Mover::Sender))
            }
        }
    }

    /// An agent takes a hold of a queued job; whether pull may offer it was settled before.
    pub(crate) fn hold(self, agent: &Agent, kind: EventKind, at: &Moment<'_>) -> Result<Change, Rejection> {
        if self.state != State::Queued {
            let known = self.sight(agent.owner) != Sight::Nothing;
            return Err(if known { self.is_not("queued") } else { Rejection::NotFound("job") });
        }
        let by = Worker { agent: agent.id, user: agent.owner };
        let until = at.now.plus_seconds(at.policy.hold_seconds);
        let step = Step::of(self, at.now).by(by, None).offer(by, false, None);
        Ok(step.to(State::Held { by, until }).done(kind, Mover::Agent))
    }

    /// The agent commits to the job it holds; the clock starts now.
    pub(crate) fn accept(mut self, actor: UserId, at: &Moment<'_>) -> Result<Change, Rejection> {
        let (worker, until) = self.held_by(actor)?;
        if until <= at.now {
            return Err(Rejection::HoldExpired);
        }
        self.attempt_count += 1;
        let attempt = Attempt {
            number: self.attempt_count,
            worker,
            accepted_at: at.now,
            deadline_at: at.now.plus_seconds(self.time_limit_seconds),
        };
        let step = Step::of(self, at.now).by(worker, Some(attempt.number)).record(attempt, None, None, None, None);
        Ok(step.to(State::Accepted(attempt)).done(EventKind::Accepted, Mover::Agent))
    }

    /// The agent does not want the job it holds; pull never offers it again.
    pub(crate) fn reject(self, actor: UserId, at: &Moment<'_>) -> Result<Change, Rejection> {
        let (worker, until) = self.held_by(actor)?;
        if until <= at.now {
            return Err(Rejection::HoldExpired);
        }
        Ok(Step::of(self, at.now).offer(worker, true, None).to(State::Queued).done(EventKind::Rejected, Mover::Agent))
    }

    /// The hold ran out: back to the queue, and not offered to that agent for a while.
    pub(crate) fn expire_hold(self, at: &Moment<'_>) -> Change {
        let State::Held { by, .. } = self.state else { return Change::none(Answer::Nothing) };
        let retry_at = at.now.plus_seconds(COOL_DOWN_SECONDS);
        let step = Step::of(self, at.now).offer(by, false, Some(retry_at));
        step.to(State::Queued).done(EventKind::HoldExpired, Mover::Exchange)
    }

    /// The receiver hands in its work.
    pub(crate) fn submit(
        self,
        actor: UserId,
        output: Option<&str>,
        (files, found): (&[UploadId], &[Upload]),
        at: &Moment<'_>,
    ) -> Result<Change, Rejection> {
        let attempt = self.received_by(actor)?;
        if attempt.deadline_at <= at.now {
            return Err(Rejection::DeadlinePassed);
        }
        let State::Accepted(attempt) = self.state else { return Err(self.is_not("accepted")) };
        let output_files = upload::named("output_attachments", files, actor, found)?;
        let (job, number) = (self.id, attempt.number);
        let submission =
            Submission { output_text: output.map(Arc::from), output_files: output_files.clone(), submitted_at: at.now };
        let stage = Stage::first(&self.brief.checks, &self.brief.criteria, at.now, at.policy);
        let step = Step::of(self, at.now).record(attempt, Some(submission.clone()), Some(stage.clone()), None, None);
        let change = step.to(State::Submitted(attempt, submission, stage)).done(EventKind::Submitted, Mover::Agent);
        Ok(using(change, &output_files, job, number))
    }

    /// The receiver gives up.
    pub(crate) fn fail(self, actor: UserId, reason: Option<&str>, at: &mut Moment<'_>) -> Result<Change, Rejection> {
        let attempt = self.received_by(actor)?;
        if attempt.deadline_at <= at.now {
            return Err(Rejection::DeadlinePassed);
        }
        let State::Accepted(attempt) = self.state else { return Err(self.is_not("accepted")) };
        let end = Finished { attempt, submission: None, verification: None };
        Ok(self.attempt_failed(end, EventKind::GaveUp, reason.map(str::to_owned), Mover::Agent, Vec::new(), at))
    }

    /// The deadline passed without a submission.
    pub(crate) fn expire_deadline(self, at: &mut Moment<'_>) -> Change {
        let State::Accepted(attempt) = self.state else { return Change::none(Answer::Nothing) };
        let end = Finished { attempt, submission: None, verification: None };
        self.attempt_failed(end, EventKind::DeadlinePassed, None, Mover::Exchange, Vec::new(), at)
    }

    /// The sender decides about a submission.
    pub(crate) fn review(self, actor: UserId, review: &Review, at: &mut Moment<'_>) -> Result<Change, Rejection> {
        self.only_sender(actor)?;
        let State::Submitted(.., stage) = &self.state else { return Err(self.is_not("submitted")) };
        let Stage::Review { until, .. } = stage else { return Err(Rejection::BeingVerified) };
        if *until <= at.now {
            return Err(Rejection::ReviewOver);
        }
        if review.attempt.is_some_and(|number| number != self.attempt_count) {
            return Err(Rejection::AttemptOver(self.attempt_count));
        }
        let reasoning = review.reason.clone().unwrap_or_else(|| "The sender accepted the work.".to_owned());
        let verification = self.found(review.verdict, reasoning, "sender", at.now);
        Ok(self.judged(verification, Mover::Sender, Vec::new(), at))
    }

    /// Nobody reviewed in time: silence pays the worker.
    pub(crate) fn close_review(self, at: &mut Moment<'_>) -> Change {
        let reasoning = "The review window closed without a review.".to_owned();
        let verification = self.found(Verdict::Pass, reasoning, Verification::SILENCE, at.now);
        self.judged(verification, Mover::Exchange, Vec::new(), at)
    }

    /// A verifier has looked at the submission. What it found about an earlier one, or on an earlier look, is refused.
    pub(crate) fn report(
        self,
        task: Task,
        found: &Found,
        log: &[LogLine],
        at: &mut Moment<'_>,
    ) -> Result<Change, Rejection> {
        let (State::Submitted(attempt, submission, Stage::Looking(look)), true) =
            (self.state.clone(), self.timer() == Some(task))
        else {
            return Err(Rejection::LeaseLost);
        };
        let (log, now, brief) = (log.to_vec(), at.now, Arc::clone(&self.brief));
        let stage = match found {
            // A verdict about something else is none.
            Found::Checks(_) | Found::Criteria(..) | Found::NoJudge if !found.is_about(look.at) => {
                look.again("what was found is about something else".to_owned(), None, now, at.policy)
            }
            Found::Checks(checks) if checks.len() != brief.checks.len() => {
                look.again("not every check has a result".to_owned(), None, now, at.policy)
            }
            Found::Criteria(criteria, _) if !criteria.iter().map(|criterion| &criterion.text).eq(&brief.criteria) => {
                look.again("not every criterion has a verdict".to_owned(), None, now, at.policy)
            }
            Found::Checks(checks) => {
                let failed = checks.iter().any(|check| !check.pass);
                if failed || (brief.criteria.is_empty() && !checks.is_empty()) {
                    return Ok(self.judged(Verification::of_checks(checks.clone(), now), Mover::Exchange, log, at));
                }
                Stage::after_checks(&brief.criteria, checks.clone(), now, at.policy)
            }
            Found::Criteria(criteria, judge) => {
                let found = Verification::of_criteria(criteria.clone(), look.checks, judge.clone(), now);
                return Ok(self.judged(found, Mover::Exchange, log, at));
            }
            Found::Trouble { problem, pause_seconds } => look.again(problem.clone(), *pause_seconds, now, at.policy),
            Found::NoJudge => Stage::review(look.checks, now, at.policy),
        };
        let to_sender = matches!(stage, Stage::Review { .. });
        let step = Step::of(self, now)
            .record(attempt, Some(submission.clone()), Some(stage.clone()), None, None)
            .telling(log)
            .to(State::Submitted(attempt, submission, stage));
        Ok(if to_sender { step.done(EventKind::ReviewNeeded, Mover::Exchange) } else { step.quietly() })
    }

    /// A task for this job is due; a stale one changes nothing and is done.
    pub(crate) fn run(self, task: Task, at: &mut Moment<'_>) -> Change {
        // Clocks go back: what is early is left alone, and is due again in its time.
        if task.due_at > at.now {
            return Change::none(Answer::Nothing);
        }
        if self.timer() != Some(task) {
            return Change::none(Answer::Nothing).and(crate::Write::Unschedule(task));
        }
        match task.kind {
            TaskKind::ExpireHold => self.expire_hold(at),
            TaskKind::ExpireDeadline => self.expire_deadline(at),
            TaskKind::CloseReview => self.close_review(at),
            // A verifier's, which reports; the others are about no job.
            TaskKind::Verify(_) | TaskKind::TopUp | TaskKind::Pay | TaskKind::Heed => Change::none(Answer::Nothing),
        }
    }

    /// What is found about the submission by whoever looked at it, with the checks that it had passed before.
    fn found(&self, verdict: Verdict, reasoning: String, verifier: &str, now: Timestamp) -> Verification {
        let checks = match &self.state {
            State::Submitted(.., stage) => stage.checks().to_vec(),
            _ => Vec::new(),
        };
        let verifier = verifier.to_owned();
        Verification { verdict, reasoning, criteria: Vec::new(), checks, verifier, verified_at: now }
    }

    fn judged(self, verification: Verification, by: Mover, log: Vec<LogLine>, at: &mut Moment<'_>) -> Change {
        let State::Submitted(attempt, submission, _) = self.state.clone() else {
            return Change::none(Answer::Nothing);
        };
        let reason = Some(verification.reasoning.clone());
        let verdict = verification.verdict;
        let end = Finished { attempt, submission: Some(submission), verification: Some(verification) };
        if verdict == Verdict::Fail {
            return self.attempt_failed(end, EventKind::VerificationFailed, reason, by, log, at);
        }
        let (escrow, earning) = (Account::Escrow(self.id), Reason::Earning(self.id));
        let (payout, fee) = (self.payout(), self.fee);
        Step::of(self, at.now)
            .pay(at.ids, escrow, Account::Wallet(attempt.worker.user), payout, earning)
            .pay(at.ids, escrow, Account::Platform, fee, earning)
            .record(attempt, end.submission.clone(), None, end.verification.clone(), Some(Outcome::Verified))
            .because(reason)
            .telling(log)
            .to(State::Verified(end))
            .done(EventKind::Verified, by)
    }

    /// An attempt failed: the job goes back to the queue, or is over and the sender has the money back.
    fn attempt_failed(
        self,
        end: Finished,
        kind: EventKind,
        reason: Option<String>,
        by: Mover,
        log: Vec<LogLine>,
        at: &mut Moment<'_>,
    ) -> Change {
        let next = if self.cancellation_requested {
            State::Cancelled(Some(end.clone()))
        } else if self.attempt_count >= at.policy.max_attempts {
            State::Failed(end.clone())
        } else {
            State::Queued
        };
        let before = self.clone();
        let step = Step::of(self, at.now).offer(end.attempt.worker, true, None).because(reason).telling(log).record(
            end.attempt,
            end.submission,
            None,
            end.verification,
            Some(Outcome::Failed),
        );
        let step = if next == State::Queued { step } else { refund(step, &before, at) };
        step.to(next).done(kind, by)
    }

    fn only_sender(&self, actor: UserId) -> Result<(), Rejection> {
        match self.sight(actor) {
            Sight::Sender => Ok(()),
            Sight::Nothing => Err(Rejection::NotFound("job")),
            _ => Err(Rejection::NotTheSender),
        }
    }

    /// The hold, if it is the actor's.
    fn held_by(&self, actor: UserId) -> Result<(Worker, Timestamp), Rejection> {
        match self.state {
            State::Held { by, until } if by.user == actor => Ok((by, until)),
            _ => Err(self.not_mine(actor, "held")),
        }
    }

    /// The current or last attempt, if it is the actor's.
    fn received_by(&self, actor: UserId) -> Result<Attempt, Rejection> {
        match self.state {
            State::Accepted(attempt) if attempt.worker.user == actor => Ok(attempt),
            _ => Err(self.not_mine(actor, "accepted")),
        }
    }

    /// Why someone who is not at work on this job may not do what only its worker may.
    fn not_mine(&self, actor: UserId, needs: &'static str) -> Rejection {
        let another = |worker: Worker| worker.user != actor;
        match (self.sight(actor), &self.state) {
            (Sight::Nothing, _) => Rejection::NotFound("job"),
            (_, State::Held { by, .. }) if another(*by) => Rejection::HeldByAnother,
            _ if self.receiver().is_some_and(another) => Rejection::ReceivedByAnother,
            _ => self.is_not(needs),
        }
    }

    const fn is_not(&self, needs: &'static str) -> Rejection {
        Rejection::WrongState { is: self.status(), needs }
    }
}

fn fund(step: Step, job: &Job, at: &mut Moment<'_>) -> Step {
    step.pay(at.ids, Account::Wallet(job.sender), Account::Escrow(job.id), job.price, Reason::Job(job.id))
}

fn refund(step: Step, job: &Job, at: &mut Moment<'_>) -> Step {
    step.pay(at.ids, Account::Escrow(job.id), Account::Wallet(job.sender), job.price, Reason::Refund(job.id))
}
