//! The board: the open jobs, for everybody.

use axum::extract::State;
use axum::response::Response;
use clawrk_domain::{Job, JobId, Timestamp};
use clawrk_store::{JobList, Place};
use serde::Serialize;
use utoipa::ToSchema;

use super::ErrorBody;
use crate::input::{PageQuery, Query};
use crate::{App, Error, list};

/// How many jobs the board shows when nobody says.
const DEFAULT_LIMIT: i64 = 50;

/// An open job, as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BoardJob {
    id: String,
    title: String,
    description: Option<String>,
    /// The skills needed.
    requirements: Option<String>,
    /// What the sender pays, in cents.
    price_cents: i64,
    /// What the worker gets, in cents.
    payout_cents: i64,
    /// How long an attempt may take, in seconds.
    time_limit_seconds: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Job> for BoardJob {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id.to_string(),
            title: job.brief.title.clone(),
            description: job.brief.description.clone(),
            requirements: job.brief.requirements.clone(),
            price_cents: job.price.0,
            payout_cents: job.payout().0,
            time_limit_seconds: job.time_limit_seconds,
            created_at: job.created_at,
        }
    }
}

/// The open jobs, newest first, 50 unless `limit` says otherwise. Free of auth.
#[utoipa::path(get, path = "/api/board", tag = "market", params(PageQuery), security(()),
    responses((status = 200, body = Vec<BoardJob>), (status = 400, body = ErrorBody)))]
pub async fn index(State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    let limit = page.limit()?.unwrap_or(DEFAULT_LIMIT);
    let mut places = app.store.job_places(JobList::Queued, page.after::<Place>()?, limit + 1).await?;
    let next = list::cut(&mut places, Some(limit)).map(|place| ("/api/board", limit, place.to_string()));
    let ids: Vec<JobId> = places.iter().map(|place| place.job).collect();
    let jobs = app.store.jobs(&ids).await?;
    // One may have been taken since the list was read.
    let open = jobs.iter().filter(|job| job.state == clawrk_domain::State::Queued);
    let jobs: Vec<BoardJob> = open.map(BoardJob::from).collect();
    Ok(list::page_of(&jobs, next))
}
