//! One step of a job, being put together: the new state and all that comes with it.

use std::sync::Arc;

use super::{Attempt, Job, Offer, State, Submission, Worker};
use crate::change::{AttemptRecord, Moved, Mover, Outcome};
use crate::verification::{LogLine, Stage};
use crate::{
    Account, Answer, Cents, Change, Event, EventKind, Ids, Reason, Task, Timestamp, Transfer, Verification, Write,
};

/// A job on its way from one state to the next.
pub(super) struct Step {
    job: Job,
    now: Timestamp,
    timer_before: Option<Task>,
    worker: Option<Worker>,
    attempt: Option<u32>,
    reason: Option<String>,
    moved: Vec<Moved>,
    writes: Vec<Write>,
    log: Vec<LogLine>,
}

impl Step {
    /// Takes the job as it is now.
    pub(super) fn of(job: Job, now: Timestamp) -> Self {
        let (timer_before, attempt) = (job.timer(), job.attempt().map(|attempt| attempt.number));
        let worker = match &job.state {
            State::Held { by, .. } => Some(*by),
            _ => job.receiver(),
        };
        Self {
            job,
            now,
            timer_before,
            worker,
            attempt,
            reason: None,
            moved: Vec::new(),
            writes: Vec::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn to(mut self, state: State) -> Self {
        self.job.state = state;
        self
    }

    pub(super) fn by(mut self, worker: Worker, attempt: Option<u32>) -> Self {
        (self.worker, self.attempt) = (Some(worker), attempt);
        self
    }

    pub(super) fn because(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    /// Moves money from one account to another; nothing when there is none to move.
    pub(super) fn pay(mut self, ids: &mut Ids, from: Account, to: Account, amount: Cents, reason: Reason) -> Self {
        if amount > Cents::ZERO {
            self.moved.push(Moved { from: from.kind().into(), to: to.kind().into(), cents: amount });
            self.writes.push(Write::Transfer(Transfer { id: ids.transfer(), at: self.now, from, to, amount, reason }));
        }
        self
    }

    /// Remembers that the agent was presented the job, and what came of it.
    pub(super) fn offer(mut self, worker: Worker, barred: bool, not_before: Option<Timestamp>) -> Self {
        if let Some(offer) = self.job.offers.iter_mut().find(|offer| offer.worker == worker) {
            offer.barred |= barred;
            offer.not_before = not_before;
        } else {
            self.job.offers.push(Offer { worker, barred, not_before });
        }
        self
    }

    /// Records how far an attempt got.
    pub(super) fn record(
        mut self,
        attempt: Attempt,
        submission: Option<Submission>,
        stage: Option<Stage>,
        verification: Option<Verification>,
        outcome: Option<Outcome>,
    ) -> Self {
        let ended_at = outcome.map(|_| self.now);
        let record = AttemptRecord { job: self.job.id, attempt, submission, stage, verification, outcome, ended_at };
        self.writes.push(Write::Attempt(record));
        self
    }

    /// What the log of the current attempt's verification has to tell.
    pub(super) fn telling(mut self, log: Vec<LogLine>) -> Self {
        self.log = log;
        self
    }

    /// Ends a step that is nobody's concern: the job's history has no line of it.
    pub(super) fn quietly(mut self) -> Change {
        self.time_and_log();
        Change { answer: Answer::Nothing, writes: self.writes }
    }

    /// Ends the step of a job that was there before.
    pub(super) fn done(mut self, kind: EventKind, by: Mover) -> Change {
        self.job.version += 1;
        self.job.updated_at = self.now;
        self.finish(kind, by, Write::UpdateJob)
    }

    /// Ends the step that creates the job.
    pub(super) fn created(self, by: Mover) -> Change {
        self.finish(EventKind::Posted, by, Write::CreateJob)
    }

    fn finish(mut self, kind: EventKind, by: Mover, write: fn(Arc<Job>) -> Write) -> Change {
        self.time_and_log();
        let Self { job, now, worker, attempt, reason, moved, mut writes, .. } = self;
        let event = Event {
            job: job.id,
            n: job.version,
            at: now,
            kind,
            by,
            status: job.status(),
            worker,
            attempt,
            reason,
            moved,
        };
        let job = Arc::new(job);
        // The job comes first: what follows refers to it.
        writes.insert(0, write(Arc::clone(&job)));
        writes.push(Write::Event(event));
        Change { answer: Answer::Job(job), writes }
    }

    /// Sets the timer that the new state implies, and writes down what the log has to tell.
    fn time_and_log(&mut self) {
        let (before, timer) = (self.timer_before, self.job.timer());
        if timer != before {
            // One of the same kind takes the place of the one before.
            let gone = before.filter(|before| timer.is_none_or(|timer| timer.kind != before.kind));
            self.writes.extend(gone.map(Write::Unschedule));
            self.writes.extend(timer.map(Write::Schedule));
        }
        if let (Some(attempt), false) = (self.attempt, self.log.is_empty()) {
            self.writes.push(Write::Log(self.job.id, attempt, std::mem::take(&mut self.log)));
        }
    }
}
