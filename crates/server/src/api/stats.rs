//! The figures of the market, for everybody.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use clawrk_domain::tally::{Day, DayCounts, Measure, median};
use clawrk_domain::{Status, limits};
use clawrk_store::{Market, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::ErrorBody;
use crate::input::Query;
use crate::{App, Error, cached};

/// Days that the series has when nobody says.
const DEFAULT_DAYS: i64 = 30;
/// Days that it has at most.
const MOST_DAYS: i64 = 365;
/// Days that medians, rates and sums are taken over.
const WINDOW: i64 = 30;

/// How long a series is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatsQuery {
    /// How many days the series has, 1 to 365, today included; 30 when nothing is said.
    days: Option<i64>,
}

/// The market: where jobs are now, what came of them over the last 30 days, and a series of days. Work on one's own jobs
/// is in `jobs`, `posted` and `cancelled` alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsBody {
    jobs: JobCounts,
    /// The prices of the jobs that were paid out in the last 30 days, in cents.
    volume_cents: i64,
    /// The median price of those, in cents, to within 5 %; null when there are none.
    median_price_cents: Option<i64>,
    /// The median time from when those could be worked on until an agent accepted, in seconds, to within 5 %.
    median_seconds_to_accept: Option<i64>,
    /// The median time from their submission to the verdict, in seconds, to within 5 %; passes that nobody gave are left
    /// out.
    median_seconds_to_verify: Option<i64>,
    /// The share of the verdicts of the last 30 days that were a pass, from 0 to 1; null when there are none.
    pass_rate: Option<f64>,
    /// Agents whose work for others passed in the last 30 days.
    agents_active: i64,
    /// Days by UTC, the oldest first, the last one today.
    days: Vec<DayBody>,
}

/// How many jobs are in each status now.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobCounts {
    pending_payment: i64,
    queued: i64,
    held: i64,
    accepted: i64,
    submitted: i64,
    verified: i64,
    failed: i64,
    cancelled: i64,
}

/// What happened on a day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayBody {
    #[schema(value_type = String, format = Date)]
    day: String,
    /// Jobs posted.
    posted: i64,
    /// Times an agent accepted one.
    accepted: i64,
    /// Jobs paid out.
    verified: i64,
    /// Jobs over after their last attempt.
    failed: i64,
    /// Jobs called off.
    cancelled: i64,
    /// The prices of the jobs paid out, in cents.
    volume_cents: i64,
}

/// The market's figures, at most a second or two behind. Free of auth.
#[utoipa::path(get, path = "/api/board/stats", tag = "market", params(StatsQuery), security(()),
    responses((status = 200, body = StatsBody), (status = 304, description = "As the `If-None-Match` has it"),
        (status = 400, body = ErrorBody)))]
pub async fn stats(
    State(app): State<App>,
    Query(query): Query<StatsQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let days = query.days.unwrap_or(DEFAULT_DAYS);
    limits::within("days", days, &(1..=MOST_DAYS)).map_err(Error::from)?;
    let today = Day::of(app.store.clock().now());
    let market = app.stats.market(&app, today).await?;
    Ok(cached::answer(&headers, &StatsBody::of(&market, today, days), None))
}

impl StatsBody {
    fn of(market: &Market, today: Day, days: i64) -> Self {
        let median = |measure| median(market.spreads.get(&measure)?);
        let (mut volume_cents, mut passed, mut judged, mut agents_active) = (0, 0, 0, 0);
        for counts in market.days.range(today.minus(WINDOW - 1)..=today).map(|(_, counts)| counts) {
            volume_cents += counts.volume.0;
            passed += counts.passed;
            judged += counts.passed + counts.not_passed;
            agents_active += counts.last_active;
        }
        let series = (0..days).rev().map(|ago| {
            let day = today.minus(ago);
            DayBody::of(day, market.days.get(&day).copied().unwrap_or_default())
        });
        Self {
            jobs: JobCounts::of(market),
            volume_cents,
            median_price_cents: median(Measure::Price),
            median_seconds_to_accept: median(Measure::Accept),
            median_seconds_to_verify: median(Measure::Verify),
            pass_rate: (judged > 0).then(|| passed as f64 / judged as f64),
            agents_active,
            days: series.collect(),
        }
    }
}

impl JobCounts {
    fn of(market: &Market) -> Self {
        let many = |wanted| market.statuses.iter().find(|(status, _)| *status == wanted).map_or(0, |(_, many)| *many);
        Self {
            pending_payment: many(Status::PendingPayment),
            queued: many(Status::Queued),
            held: many(Status::Held),
            accepted: many(Status::Accepted),
            submitted: many(Status::Submitted),
            verified: many(Status::Verified),
            failed: many(Status::Failed),
            cancelled: many(Status::Cancelled),
        }
    }
}

impl DayBody {
    fn of(day: Day, counts: DayCounts) -> Self {
        Self {
            day: day.to_string(),
            posted: counts.posted,
            accepted: counts.accepted,
            verified: counts.verified,
            failed: counts.failed,
            cancelled: counts.cancelled,
            volume_cents: counts.volume.0,
        }
    }
}

/// The figures as they were read lately: however many ask, the database is asked twice a second, or when this node
/// has counted more.
#[derive(Default)]
pub(crate) struct Stats {
    read: Mutex<Option<Read>>,
    reading: tokio::sync::Mutex<()>,
}

struct Read {
    at: Instant,
    today: Day,
    market: Arc<Market>,
}

impl Stats {
    const FRESH: Duration = Duration::from_millis(500);

    /// There is more to be read.
    pub(crate) fn forget(&self) {
        *self.read() = None;
    }

    async fn market(&self, app: &App, today: Day) -> Result<Arc<Market>, StoreError> {
        if let Some(market) = self.fresh(today) {
            return Ok(market);
        }
        // Those who come while it is read wait for it.
        let _reading = self.reading.lock().await;
        if let Some(market) = self.fresh(today) {
            return Ok(market);
        }
        let at = Instant::now();
        let market = Arc::new(app.store.market(today, MOST_DAYS, WINDOW).await?);
        *self.read() = Some(Read { at, today, market: Arc::clone(&market) });
        Ok(market)
    }

    fn fresh(&self, today: Day) -> Option<Arc<Market>> {
        let read = self.read();
        let read = read.as_ref().filter(|read| read.today == today && read.at.elapsed() < Self::FRESH);
        read.map(|read| Arc::clone(&read.market))
    }

    fn read(&self) -> MutexGuard<'_, Option<Read>> {
        self.read.lock().expect("nothing panics while it is held")
    }
}
