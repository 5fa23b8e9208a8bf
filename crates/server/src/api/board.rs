//! The board: the open jobs, for everybody.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use clawrk_domain::matching::Search;
use clawrk_domain::{Job, JobId, Rejection, Timestamp, limits};
use clawrk_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{ErrorBody, LONGEST_SEARCH, PUBLIC_LIMIT};
use crate::input::{PageQuery, Query};
use crate::market::{Sort, Spot, View};
use crate::{App, Error, cached};

const PATH: &str = "/api/board";

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

/// What somebody wants to see of the board.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BoardQuery {
    /// Only jobs that have all of these words in title, requirements or description, as matching reads them: the first
    /// 200 words; upper case and English endings do not matter; words that say nothing (*the*, *of*) are left out, so
    /// that a question of nothing else is as none. Signs alone find nothing. At most 200 characters.
    q: Option<String>,
    /// Only jobs that pay at least so many cents, before the fee.
    min_price: Option<i64>,
    /// `newest` first, as without it, or `oldest`, or `price`: the highest price first.
    sort: Option<String>,
    /// How many at most, 1 to 200; 50 without it.
    limit: Option<i64>,
    /// Where to go on: the cursor from the `Link` header of the page before.
    after: Option<String>,
}

/// Which jobs count, for the board and for its stream.
pub(super) fn view(q: Option<&str>, min_price: Option<i64>) -> Result<View, Error> {
    limits::optional_text("q", q, LONGEST_SEARCH)?;
    let least = min_price.unwrap_or(0);
    if least < 0 {
        return Err(Rejection::invalid("min_price", "must be 0 or more").into());
    }
    let least_cents = u32::try_from(least).unwrap_or(u32::MAX);
    Ok(View { search: Search::of(q.unwrap_or_default()), least_cents })
}

/// The open jobs, newest first, 50 unless `limit` says otherwise. Free of auth.
///
/// Where more may follow, the answer has a `Link`. A page may be short, even empty, and have one: no more than 20,000
/// jobs are looked at for a page.
#[utoipa::path(get, path = "/api/board", tag = "market", params(BoardQuery), security(()),
    responses((status = 200, body = Vec<BoardJob>), (status = 304, description = "As the `If-None-Match` has it"),
        (status = 400, body = ErrorBody)))]
pub async fn index(
    State(app): State<App>,
    Query(query): Query<BoardQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let BoardQuery { q, min_price, sort, limit, after } = query;
    let view = view(q.as_deref(), min_price)?;
    let order = sort.as_deref().map(str::parse::<Sort>).transpose()?.unwrap_or_default();
    let after_spot = after.as_deref().map(|after| order.spot(after)).transpose()?;
    let limit = PageQuery { limit, after: None }.limit()?.unwrap_or(PUBLIC_LIMIT);
    let page = app.market.page(&view, order, after_spot, limit.unsigned_abs() as usize).await;
    let bodies = app.shown.of(&page.spots, &app.store).await?;
    let mut asked = form_urlencoded::Serializer::new(String::new());
    asked.extend_pairs(q.map(|q| ("q", q)));
    asked.extend_pairs(min_price.map(|cents| ("min_price", cents.to_string())));
    asked.extend_pairs(sort.map(|sort| ("sort", sort)));
    let asked = asked.finish();
    let path = if asked.is_empty() { PATH.to_owned() } else { format!("{PATH}?{asked}") };
    let next = page.next.map(|spot| (path.as_str(), limit, order.cursor(spot)));
    Ok(cached::answer(&headers, &bodies.iter().map(|body| &**body).collect::<Vec<&RawValue>>(), next))
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

    /// The jobs at these places.
    pub(super) async fn of(&self, spots: &[Spot], store: &Store) -> Result<Vec<Arc<RawValue>>, StoreError> {
        let ids: Vec<JobId> = spots.iter().map(|spot| spot.job).collect();
        let mut found: Vec<Option<Arc<RawValue>>> = {
            let kept = self.0.read().expect("nothing panics while it is held");
            ids.iter().map(|id| kept.bodies.get(id).cloned()).collect()
        };
        let missing: Vec<JobId> =
            ids.iter().zip(&found).filter(|(_, body)| body.is_none()).map(|(id, _)| *id).collect();
        if !missing.is_empty() {
            let read: HashMap<JobId, Arc<RawValue>> =
                store.jobs(&missing).await?.iter().map(|job| (job.id, body(job))).collect();
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

/// A job as the board shows it, in JSON.
pub(crate) fn body(job: &Job) -> Arc<RawValue> {
    let body = serde_json::value::to_raw_value(&BoardJob::from(job));
    Arc::from(body.expect("our own bodies are JSON"))
}
