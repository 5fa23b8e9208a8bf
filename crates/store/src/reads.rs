//! What can be read. A page starts behind a place; a list of jobs is a list of ids first, and rows in chunks.

use std::fmt;
use std::str::FromStr;

use std::sync::Arc;

use clawrk_domain::ledger::Entry;
use clawrk_domain::verification::{LogLine, Stage};
use clawrk_domain::{
    Agent, AgentId, ApiKey, Cents, Event, Job, JobId, KeyId, Sight, Status, Timestamp, TransferId, Upload, UploadId,
    User, UserId, Verification,
};

use crate::value::Value;
use crate::{Store, StoreError, row, sql};

/// Which jobs, newest first.
#[derive(Debug, Clone, Copy)]
pub enum JobList {
    /// What the user posted, by creation; in one status or any.
    SentBy(UserId, Option<Status>),
    /// What the agent received, by the last change.
    ReceivedBy(AgentId),
    /// What any agent of the user holds or received, by the last change.
    WorkedBy(UserId),
    /// What waits for an agent, by creation.
    Queued,
}

/// A place in a list of jobs: the time it is ordered by, and the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The time that the list is ordered by.
    pub time: Timestamp,
    /// The job there.
    pub job: JobId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time.micros(), self.job)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, job) = text.split_once('.').ok_or(())?;
        let time = Timestamp::from_micros(micros.parse().map_err(|_| ())?);
        Ok(Self { time, job: job.parse().map_err(|_| ())? })
    }
}

/// An attempt that handed something in.
#[derive(Debug, Clone)]
pub struct HandedIn {
    /// The attempt's number.
    pub attempt: u32,
    /// Whose work.
    pub user: UserId,
    /// Where it is on its way to a verdict; none once that is over.
    pub stage: Option<Stage>,
    /// What was found.
    pub verification: Option<Verification>,
}

impl Store {
    /// Asks the database whether it is there.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.backend.query(sql::PING, Vec::new()).await.map(|_| ())
    }

    /// Whether there is any user yet.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(!self.backend.query(sql::ANY_USER, Vec::new()).await?.is_empty())
    }

    /// A user and their balance.
    pub async fn user(&self, user: UserId) -> Result<Option<(User, Cents)>, StoreError> {
        self.backend.query(sql::USER, vec![user.into()]).await?.first().map(row::user).transpose()
    }

    /// The first ten users with this name or e-mail address, oldest first.
    pub async fn users_named(&self, name: &str) -> Result<Vec<(User, Cents)>, StoreError> {
        self.backend.query(sql::USERS_NAMED, vec![name.into()]).await?.iter().map(row::user).collect()
    }

    /// A key that was not revoked; it may have expired.
    pub async fn key(&self, key: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.backend.query(sql::KEY, vec![key.into()]).await?.first().map(row::key).transpose()
    }

    /// A key that was not revoked, from memory if it is there, at most a second behind: for every request.
    pub async fn known_key(&self, key: KeyId) -> Result<Option<Arc<ApiKey>>, StoreError> {
        if self.backend.hears() {
            self.hot.key(key, self.key(key)).await
        } else {
            Ok(self.key(key).await?.map(Arc::new))
        }
    }

    /// The user's agents, the default one first, from memory if they are there, at most a second behind.
    pub async fn known_agents(&self, owner: UserId) -> Result<Arc<[Agent]>, StoreError> {
        if self.backend.hears() {
            self.hot.agents(owner, self.agents(owner)).await
        } else {
            Ok(self.agents(owner).await?.into())
        }
    }

    /// The user's keys that were not revoked, oldest first.
    pub async fn keys(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        self.backend.query(sql::KEYS, vec![user.into()]).await?.iter().map(row::key).collect()
    }

    /// The user's agents: the default one first, then the oldest.
    pub async fn agents(&self, owner: UserId) -> Result<Vec<Agent>, StoreError> {
        self.backend.query(sql::AGENTS, vec![owner.into()]).await?.iter().map(row::agent).collect()
    }

    /// A job.
    pub async fn job(&self, job: JobId) -> Result<Option<Job>, StoreError> {
        let found = self.backend.query(sql::JOB, vec![job.into()]).await?;
        found.first().map(row::job).transpose()
    }

    /// A job, if the user may know of it: for anybody else one that is there takes as long to find as one that is not.
    pub async fn job_known_to(&self, job: JobId, user: UserId) -> Result<Option<Job>, StoreError> {
        let found = self.backend.query(sql::JOB_KNOWN_TO, sql::known_to(job, user)).await?;
        let job = found.first().map(row::job).transpose()?;
        Ok(job.filter(|job| job.sight(user) != Sight::Nothing))
    }

    /// The jobs of these ids that are there, in their order, asked for together.
    pub async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>, StoreError> {
        let found = self.backend.query_each(sql::JOB, jobs.iter().map(|job| (*job).into()).collect()).await?;
        found.iter().filter_map(|rows| rows.first()).map(row::job).collect()
    }

    /// The places of up to `limit` jobs of a list, from behind a place on.
    pub async fn job_places(&self, list: JobList, after: Option<Place>, limit: i64) -> Result<Vec<Place>, StoreError> {
        let (time, last) = after.map_or((i64::MAX, Value::from("")), |place| (place.time.micros(), place.job.into()));
        let (query, values) = match list {
            JobList::SentBy(user, Some(Status::Submitted)) => {
                (sql::JOBS_SUBMITTED, vec![user.into(), time.into(), last, limit.into()])
            }
            JobList::SentBy(user, status) => {
                let (all, some) = match after {
                    None => (sql::JOBS_SENT, sql::JOBS_SENT_IN_STATUS),
                    Some(_) => (sql::JOBS_SENT_BEFORE, sql::JOBS_SENT_IN_STATUS_BEFORE),
                };
                let mut values: Vec<Value> = after.map(|place| place.job.into()).into_iter().collect();
                values.push(user.into());
                values.extend(status.map(|status| status.as_str().into()));
                values.push(limit.into());
                (if status.is_none() { all } else { some }, values)
            }
            JobList::ReceivedBy(agent) => (sql::JOBS_RECEIVED, vec![agent.into(), time.into(), last, limit.into()]),
            JobList::WorkedBy(user) => (sql::JOBS_WORKED, vec![user.into(), time.into(), last, limit.into()]),
            JobList::Queued => (sql::JOBS_QUEUED, vec![time.into(), last, limit.into()]),
        };
        let rows = self.backend.query(query, values).await?;
        rows.iter().map(|row| Ok(Place { job: row.parsed(0)?, time: row.time(1)? })).collect()
    }

    /// A file, if the user may read it: its owner, and those who may see all of a job that names it. For anybody else
    /// one that is there takes as long to find as one that is not.
    pub async fn upload_known_to(&self, upload: UploadId, user: UserId) -> Result<Option<Upload>, StoreError> {
        let found = self.backend.query(sql::UPLOAD_KNOWN_TO, vec![upload.into(), user.into()]).await?;
        found.first().map(row::upload).transpose()
    }

    /// What the user's files have together, in bytes.
    pub async fn uploaded_bytes(&self, owner: UserId) -> Result<u64, StoreError> {
        let found = self.backend.query(sql::UPLOADED_BYTES, vec![owner.into()]).await?;
        found.first().map_or(Ok(0), |row| Ok(row.int(0)?.unsigned_abs()))
    }

    /// Of these files, those of which nothing is known.
    pub async fn unknown_uploads(&self, uploads: &[UploadId]) -> Result<Vec<UploadId>, StoreError> {
        let asked = uploads.iter().map(|upload| (*upload).into()).collect();
        let found = self.backend.query_each(sql::UPLOAD_THERE, asked).await?;
        Ok(uploads.iter().zip(found).filter(|(_, rows)| rows.is_empty()).map(|(upload, _)| *upload).collect())
    }

    /// A job's history, from the start.
    pub async fn events(&self, job: JobId) -> Result<Vec<Event>, StoreError> {
        self.backend.query(sql::EVENTS, vec![job.into()]).await?.iter().map(|row| row::event(job, row)).collect()
    }

    /// Up to `limit` lines of the log of an attempt's verification, each with its number, from behind one of them on.
    pub async fn log_lines(
        &self,
        job: JobId,
        attempt: u32,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(u32, LogLine)>, StoreError> {
        let values = vec![job.into(), attempt.into(), after.into(), limit.into()];
        self.backend.query(sql::LOG, values).await?.iter().map(row::log_line).collect()
    }

    /// What a job's attempts handed in, as far as their verification goes, the last one first.
    pub async fn handed_in(&self, job: JobId) -> Result<Vec<HandedIn>, StoreError> {
        self.backend.query(sql::SUBMITTED_ATTEMPTS, vec![job.into()]).await?.iter().map(row::handed).collect()
    }

    /// Up to `limit` lines of a wallet's ledger, newest first, from before one of them on.
    pub async fn entries(
        &self,
        user: UserId,
        before: Option<TransferId>,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let (query, values) = match before {
            None => (sql::ENTRIES, vec![user.into(), limit.into()]),
            Some(before) => (sql::ENTRIES_BEFORE, vec![before.into(), user.into(), limit.into()]),
        };
        self.backend.query(query, values).await?.iter().map(row::entry).collect()
    }
}
