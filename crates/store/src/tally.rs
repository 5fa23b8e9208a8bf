//! What happened to jobs, summed up, and kept beside them: the figures of the market and the directory of agents.
//!
//! Commands write none of it. Somebody who hears of changed jobs has them counted a moment later:
//!
//! | Phase | What happens in the one transaction                                        |
//! |-------|----------------------------------------------------------------------------|
//! | lock  | the census' row: two that count come one after the other                    |
//! | look  | each job's events behind the last one that was counted of it                 |
//! | sum   | `clawrk_domain::tally`; then what it changes of the agents that it concerns  |
//! | write | the sums, and up to where each job is counted now                            |
//!
//! So each event counts once, however often a job is told of, by however many nodes, and whoever dies when. Of whom
//! nobody was told is found by a walk over all jobs; the same walk counts an exchange from before, or all of it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use clawrk_domain::tally::{Day, DayCounts, Measure, Spread, Standing, Tally, Voice};
use clawrk_domain::{AgentId, JobId, Status, Timestamp, UserId};

use crate::tx::{Step, Tx};
use crate::value::{Row, Value};
use crate::writes::Statement;
use crate::{Order, Reply, Store, StoreError, row, sql};

/// Events of one job that are counted in one transaction.
const EVENTS: i64 = 100;

/// The best score, see `Standing::score`.
const BEST: i64 = 1_000_000;

/// A part of a walk over all jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncounted {
    /// Those of which something is not counted.
    pub jobs: Vec<JobId>,
    /// Where the walk goes on; it is over when there is nothing.
    pub next: Option<JobId>,
}

/// The figures of the market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// How many jobs are in each status, in the order of a job's life.
    pub statuses: [(Status, i64); 8],
    /// The days on which anything happened, oldest first.
    pub days: BTreeMap<Day, DayCounts>,
    /// The values of each measure over the days of the window.
    pub spreads: BTreeMap<Measure, Spread>,
}

/// An agent as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Its picture.
    pub avatar_url: Option<String>,
    /// What it can do, in its owner's words.
    pub personality: Option<String>,
    /// How it stands.
    pub standing: Standing,
}

/// A place in the directory: first the agents with finished work, by their score, then the others with a personality, by
/// when they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryPlace {
    /// Among those with finished work, by what their score lacks of the best.
    Ranked(i64, AgentId),
    /// Among those without.
    Described(Timestamp, AgentId),
}

impl DirectoryPlace {
    /// Before all others.
    pub const START: Self = Self::Ranked(-1, AgentId(uuid::Uuid::nil()));
    const AFTER_RANKED: Self = Self::Described(Timestamp::from_micros(i64::MIN), AgentId(uuid::Uuid::nil()));
}

impl fmt::Display for DirectoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ranked(shortfall, agent) => write!(f, "r{shortfall}.{agent}"),
            Self::Described(time, agent) => write!(f, "d{}.{agent}", time.micros()),
        }
    }
}

impl FromStr for DirectoryPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, agent) = text.split_once('.').ok_or(())?;
        let agent = agent.parse().map_err(|_| ())?;
        let read = |number: &str| number.parse().map_err(|_| ());
        match (number.strip_prefix('r'), number.strip_prefix('d')) {
            (Some(shortfall), _) => Ok(Self::Ranked(read(shortfall)?, agent)),
            (_, Some(micros)) => Ok(Self::Described(Timestamp::from_micros(read(micros)?), agent)),
            _ => Err(()),
        }
    }
}

impl Store {
    /// Counts what happened to these jobs and was not counted before, in one transaction; those of which more is left.
    pub async fn count(&self, jobs: Vec<JobId>) -> Result<Vec<JobId>, StoreError> {
        match self.backend.write(Order::Count(jobs)).await? {
            Reply::Left(left) => Ok(left),
            _ => Err(StoreError::Gone),
        }
    }

    /// Looks through up to `limit` jobs behind one of them for what is not counted.
    pub async fn uncounted(&self, after: Option<JobId>, limit: u32) -> Result<Uncounted, StoreError> {
        let after = after.map_or_else(|| Value::from(""), Value::from);
        let rows = self.backend.query(sql::COUNTED_JOBS, vec![after, limit.into()]).await?;
        let mut jobs = Vec::new();
        for row in &rows {
            if row.int_or_null(2)?.is_none_or(|counted| row.int(1).is_ok_and(|version| counted < version)) {
                jobs.push(row.parsed(0)?);
            }
        }
        let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = if full { rows.last().map(|row| row.parsed(0)).transpose()? } else { None };
        Ok(Uncounted { jobs, next })
    }

    /// Forgets all that was counted, so that a walk counts it anew.
    pub async fn forget_counts(&self) -> Result<(), StoreError> {
        self.backend.write(Order::ForgetCounts).await.map(|_| ())
    }

    /// The figures of the market: so many days up to this one, and the measures over the last days of the window.
    pub async fn market(&self, today: Day, days: i64, window: i64) -> Result<Market, StoreError> {
        let census = self.backend.query(sql::CENSUS.read, Vec::new()).await?;
        let census = census.first().ok_or_else(|| StoreError::Corrupt("no census".to_owned()))?;
        let mut statuses = Status::ALL.map(|status| (status, 0));
        for (at, (_, many)) in statuses.iter_mut().enumerate() {
            *many = census.int(at)?;
        }
        let until = Value::from(today.0);
        let rows = self.backend.query(sql::DAYS, vec![today.minus(days).0.into(), until.clone()]).await?;
        let days = rows.iter().map(row::day).collect::<Result<_, _>>()?;
        let mut spreads = BTreeMap::new();
        for measure in Measure::ALL {
            let values = vec![today.minus(window).0.into(), until.clone(), measure.as_str().into()];
            spreads.insert(measure, row::spread(&self.backend.query(sql::SPREAD, values).await?)?);
        }
        Ok(Market { statuses, days, spreads })
    }

    /// Up to `limit` places of the directory behind one of them, each with the agent there unless it is gone or has
    /// another place.
    pub async fn directory(
        &self,
        after: DirectoryPlace,
        limit: u32,
    ) -> Result<Vec<(DirectoryPlace, Option<Listed>)>, StoreError> {
        let mut found = Vec::new();
        let mut described = after;
        if let DirectoryPlace::Ranked(shortfall, agent) = after {
            let rows = self.backend.query(sql::RANKED, vec![shortfall.into(), agent.into(), limit.into()]).await?;
            for row in &rows {
                let listed =
                    if row.int_or_null(11)?.is_none() { Some(listed(row, 7, row::standing(row)?)?) } else { None };
                found.push((DirectoryPlace::Ranked(row.int(6)?, row.agent(7)?), listed));
            }
            described = DirectoryPlace::AFTER_RANKED;
        }
        let left = i64::from(limit) - i64::try_from(found.len()).unwrap_or(i64::MAX);
        if let DirectoryPlace::Described(time, agent) = described
            && left > 0
        {
            let rows = self.backend.query(sql::DESCRIBED, vec![time.into(), agent.into(), left.into()]).await?;
            for row in &rows {
                let is_new = row.agent_or_null(0)?.is_none();
                let listed = if is_new { Some(listed(row, 2, Standing::default())?) } else { None };
                found.push((DirectoryPlace::Described(row.time(1)?, row.agent(2)?), listed));
            }
        }
        Ok(found)
    }
}

/// The agent in the columns from this one on.
fn listed(row: &Row, at: usize, standing: Standing) -> Result<Listed, StoreError> {
    Ok(Listed {
        id: row.agent(at)?,
        name: row.text(at + 1)?,
        avatar_url: row.text_or_null(at + 2)?,
        personality: row.text_or_null(at + 3)?,
        standing,
    })
}

/// Counts what happened to the jobs and was not counted before.
pub(crate) async fn count(tx: &mut impl Tx, jobs: &[JobId]) -> Result<Reply, StoreError> {
    let jobs: BTreeSet<JobId> = jobs.iter().copied().collect();
    let mut steps = vec![Step::Locked(&sql::CENSUS, Vec::new())];
    steps.extend(jobs.iter().map(|job| Step::Read(sql::UNCOUNTED_EVENTS, vec![(*job).into(), EVENTS.into()])));
    let mut found = tx.look(steps).await?;
    let (mut tally, mut left, mut writes) = (Tally::default(), Vec::new(), Vec::new());
    for (job, step) in jobs.into_iter().zip(1..) {
        let events = found.rows(step);
        let mut last = None;
        for event in &events {
            let (n, happened) = row::happening(event)?;
            tally.add(&happened);
            last = Some(n);
        }
        if events.len() as i64 == EVENTS {
            left.push(job);
        }
        writes.extend(last.map(|n| counted(job, n)));
    }
    if !writes.is_empty() {
        writes.extend(stand(tx, &mut tally).await?);
        writes.extend(sums(&tally));
        tx.execute(writes).await?;
    }
    Ok(Reply::Left(left))
}

/// Forgets all that was counted.
pub(crate) async fn forget(tx: &mut impl Tx) -> Result<Reply, StoreError> {
    tx.look(vec![Step::Locked(&sql::CENSUS, Vec::new())]).await?;
    let all = |sql| Statement { sql, values: Vec::new(), one_row: false };
    let writes = vec![
        one(
            "UPDATE census SET pending_payment = 0, queued = 0, held = 0, accepted = 0, submitted = 0, verified = 0,
                               failed = 0, cancelled = 0 WHERE id = 1",
            Vec::new(),
        ),
        all("DELETE FROM counted"),
        all("DELETE FROM days"),
        all("DELETE FROM spreads"),
        all("DELETE FROM standings"),
        all("DELETE FROM voices"),
        all("DELETE FROM paces"),
    ];
    tx.execute(writes).await?;
    Ok(Reply::Done)
}

/// What the tally changes of the agents that it concerns.
async fn stand(tx: &mut impl Tx, tally: &mut Tally) -> Result<Vec<Statement>, StoreError> {
    let agents = tally.finished.keys().map(|agent| (*agent).into());
    let mut steps: Vec<Step> = Vec::new();
    for agent in agents {
        let agent: Value = agent;
        steps.push(Step::Read(sql::STANDING, vec![agent.clone()]));
        steps.push(Step::Read(sql::PACES, vec![agent]));
    }
    let voices_from = steps.len();
    let voice = |(agent, sender): &(AgentId, UserId)| Step::Read(sql::VOICE, vec![(*agent).into(), (*sender).into()]);
    steps.extend(tally.voices.keys().map(voice));
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = tx.look(steps).await?;
    let mut writes = Vec::new();
    let mut voices: BTreeMap<AgentId, Vec<(Voice, Voice)>> = BTreeMap::new();
    for ((key, more), step) in tally.voices.iter().zip(voices_from..) {
        let before = found.row(step).as_ref().map(row::voice).transpose()?.unwrap_or_default();
        let after = before.and(*more);
        voices.entry(key.0).or_default().push((before, after));
        writes.push(keep_voice(key.0, key.1, after));
    }
    for (at, (agent, day)) in std::mem::take(&mut tally.finished).into_iter().enumerate() {
        let mut standing = found.row(2 * at).as_ref().map(row::standing).transpose()?.unwrap_or_default();
        let before = row::spread(&found.rows(2 * at + 1))?;
        let mut paces = before.clone();
        for (before, after) in voices.get(&agent).into_iter().flatten() {
            standing.hear(*before, *after, &mut paces);
        }
        if day > standing.last_day {
            let mut active = |day: Option<Day>, change| {
                day.into_iter().for_each(|day| tally.days.entry(day).or_default().last_active += change);
            };
            active(standing.last_day, -1);
            active(day, 1);
            standing.last_day = day;
        }
        writes.extend(paces.iter().filter(|(bucket, many)| before.get(*bucket) != Some(*many)).map(
            |(bucket, many)| {
                if *many == 0 { drop_pace(agent, *bucket) } else { keep_pace(agent, *bucket, *many) }
            },
        ));
        writes.push(keep_standing(agent, &standing));
    }
    Ok(writes)
}

/// What the tally adds to the market's figures.
fn sums(tally: &Tally) -> Vec<Statement> {
    let change = |status: &Status| Value::from(tally.statuses.get(status).copied().unwrap_or(0));
    let mut writes = vec![one(
        "UPDATE census SET pending_payment = pending_payment + $1, queued = queued + $2, held = held + $3,
                           accepted = accepted + $4, submitted = submitted + $5, verified = verified + $6,
                           failed = failed + $7, cancelled = cancelled + $8
          WHERE id = 1",
        Status::ALL.iter().map(change).collect(),
    )];
    writes.extend(tally.days.iter().filter(|(_, counts)| **counts != DayCounts::default()).map(add_to_day));
    writes.extend(tally.spreads.iter().map(|((day, measure, bucket), many)| {
        one(
            "INSERT INTO spreads (day, measure, bucket, many) VALUES ($1, $2, $3, $4)
             ON CONFLICT (day, measure, bucket) DO UPDATE SET many = spreads.many + excluded.many",
            vec![day.0.into(), measure.as_str().into(), (*bucket).into(), (*many).into()],
        )
    }));
    writes
}

fn add_to_day((day, counts): (&Day, &DayCounts)) -> Statement {
    one(
        "INSERT INTO days (day, posted, accepted, verified, failed, cancelled, passed, not_passed, volume_cents, last_active)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (day) DO UPDATE SET
                posted = days.posted + excluded.posted, accepted = days.accepted + excluded.accepted,
                verified = days.verified + excluded.verified, failed = days.failed + excluded.failed,
                cancelled = days.cancelled + excluded.cancelled, passed = days.passed + excluded.passed,
                not_passed = days.not_passed + excluded.not_passed,
                volume_cents = days.volume_cents + excluded.volume_cents,
                last_active = days.last_active + excluded.last_active",
        vec![
            day.0.into(),
            counts.posted.into(),
            counts.accepted.into(),
            counts.verified.into(),
            counts.failed.into(),
            counts.cancelled.into(),
            counts.passed.into(),
            counts.not_passed.into(),
            counts.volume.into(),
            counts.last_active.into(),
        ],
    )
}

fn counted(job: JobId, n: u32) -> Statement {
    one(
        "INSERT INTO counted (job_id, n) VALUES ($1, $2) ON CONFLICT (job_id) DO UPDATE SET n = excluded.n",
        vec![job.into(), n.into()],
    )
}

fn keep_standing(agent: AgentId, standing: &Standing) -> Statement {
    one(
        "INSERT INTO standings (agent_id, senders, verified, failed, rates, median_seconds, last_day, shortfall)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (agent_id) DO UPDATE SET
                senders = excluded.senders, verified = excluded.verified, failed = excluded.failed,
                rates = excluded.rates, median_seconds = excluded.median_seconds, last_day = excluded.last_day,
                shortfall = excluded.shortfall",
        vec![
            agent.into(),
            standing.senders.into(),
            standing.verified.into(),
            standing.failed.into(),
            standing.rates.into(),
            standing.median_seconds.into(),
            standing.last_day.map(|day| day.0).into(),
            (BEST - standing.score()).into(),
        ],
    )
}

fn keep_voice(agent: AgentId, sender: UserId, voice: Voice) -> Statement {
    one(
        "INSERT INTO voices (agent_id, sender_id, verified, failed, seconds) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (agent_id, sender_id) DO UPDATE SET
                verified = excluded.verified, failed = excluded.failed, seconds = excluded.seconds",
        vec![agent.into(), sender.into(), voice.verified.into(), voice.failed.into(), voice.seconds.into()],
    )
}

fn keep_pace(agent: AgentId, bucket: u32, senders: i64) -> Statement {
    one(
        "INSERT INTO paces (agent_id, bucket, senders) VALUES ($1, $2, $3)
         ON CONFLICT (agent_id, bucket) DO UPDATE SET senders = excluded.senders",
        vec![agent.into(), bucket.into(), senders.into()],
    )
}

fn drop_pace(agent: AgentId, bucket: u32) -> Statement {
    let values = vec![agent.into(), bucket.into()];
    Statement { sql: "DELETE FROM paces WHERE agent_id = $1 AND bucket = $2", values, one_row: false }
}

fn one(sql: &'static str, values: Vec<Value>) -> Statement {
    Statement { sql, values, one_row: true }
}
