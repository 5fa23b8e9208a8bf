//! The board: the open jobs, for everybody.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::extract::State;
use axum::response::Response;
use clawrk_domain::{Job, JobId, Timestamp};
use clawrk_store::{Place, Store, StoreError};
use serde::Serialize;
use serde_json::value::RawValue;
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
    let count = usize::try_from(limit + 1).expect("a limit is at most 200");
    let mut places = app.market.newest(page.after::<Place>()?, count);
    let next = list::cut(&mut places, Some(limit)).map(|place| ("/api/board", limit, place.to_string()));
    let ids: Vec<JobId> = places.iter().map(|place| place.job).collect();
    let bodies = app.shown.bodies(&ids, &app.store).await?;
    Ok(list::page_of(&bodies.iter().map(|body| &**body).collect::<Vec<&RawValue>>(), next))
}

/// Jobs as the board shows them, kept because none of it ever changes: whoever looks at the newest jobs, as most do,
/// needs no database. Which of them are open is the market's to say.
#[derive(Default)]
pub(crate) struct Shown(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    bodies: HashMap<JobId, Arc<RawValue>>,
    bytes: usize,
}

impl Shown {
    /// Bytes of JSON, at most; beyond it all are let go.
    const MOST: usize = 8 << 20;

    async fn bodies(&self, ids: &[JobId], store: &Store) -> Result<Vec<Arc<RawValue>>, StoreError> {
        let mut found: Vec<Option<Arc<RawValue>>> = {
            let kept = self.0.read().expect("nothing panics while it is held");
            ids.iter().map(|id| kept.bodies.get(id).cloned()).collect()
        };
        let missing: Vec<JobId> =
            ids.iter().zip(&found).filter(|(_, body)| body.is_none()).map(|(id, _)| *id).collect();
        if !missing.is_empty() {
            let read: HashMap<JobId, Arc<RawValue>> =
                store.jobs(&missing).await?.iter().map(|job| (job.id, raw(&BoardJob::from(job)))).collect();
            for (id, body) in ids.iter().zip(&mut found) {
                *body = body.take().or_else(|| read.get(id).cloned());
            }
            self.keep(read);
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn keep(&self, bodies: HashMap<JobId, Arc<RawValue>>) {
        let mut kept = self.0.write().expect("nothing panics while it is held");
        for (id, body) in bodies {
            let bytes = body.get().len();
            if kept.bytes + bytes > Self::MOST {
                *kept = Kept::default();
            }
            if kept.bodies.insert(id, body).is_none() {
                kept.bytes += bytes;
            }
        }
    }
}

fn raw(job: &BoardJob) -> Arc<RawValue> {
    Arc::from(serde_json::value::to_raw_value(job).expect("our own bodies are JSON"))
}
