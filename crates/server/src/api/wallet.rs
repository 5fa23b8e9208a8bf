//! The caller's wallet and its ledger.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clawrk_domain::ledger::Entry;
use clawrk_domain::{Scope, Timestamp, TransferId, UserId};
use futures_util::stream::{self, Stream, TryStreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::ErrorBody;
use crate::auth::Caller;
use crate::input::{PageQuery, Query};
use crate::reply::Reply;
use crate::{App, Error, list};

/// Ledger lines that are read at once for a whole ledger.
const CHUNK: i64 = 500;

/// A wallet.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceBody {
    /// What the wallet holds, in cents.
    balance_cents: i64,
    /// Every movement, newest first.
    ledger: Vec<EntryBody>,
}

/// A movement of a wallet.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryBody {
    id: String,
    /// What it did to the balance, in cents.
    delta: i64,
    /// Such as `job:<id>`, `refund:<id>`, `earning:<id>` or `grant:<id>`.
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Entry> for EntryBody {
    fn from(entry: &Entry) -> Self {
        Self { id: entry.id.to_string(), delta: entry.delta.0, reason: entry.reason(), created_at: entry.at }
    }
}

/// The balance and the ledger behind it, newest first.
#[utoipa::path(get, path = "/api/wallet/balance", tag = "wallet", params(PageQuery),
    responses((status = 200, body = BalanceBody), (status = 401, body = ErrorBody)))]
pub async fn balance(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let (limit, after) = (page.limit()?, page.after::<TransferId>()?);
    // The newest lines first: what moves before the second read is in the balance and not yet in the lines.
    let mut entries = app.store.entries(caller.user, after, limit.map_or(CHUNK, |limit| limit + 1)).await?;
    let (_, balance) = app.store.user(caller.user).await?.ok_or_else(Error::unauthenticated)?;
    let Some(limit) = limit else {
        let before = format!("{{\"balance_cents\":{},\"ledger\":", balance.0);
        return Ok(list::array_within(before, whole_ledger(app, caller.user, entries), "}"));
    };
    let more = entries.len() as i64 > limit;
    entries.truncate(usize::try_from(limit).unwrap_or_default());
    let ledger = entries.iter().map(EntryBody::from).collect();
    let mut response = Reply::ok(&BalanceBody { balance_cents: balance.0, ledger }).into_response();
    if let Some(last) = entries.last().filter(|_| more) {
        list::link_next(&mut response, "/api/wallet/balance", limit, &last.id.to_string());
    }
    Ok(response)
}

/// These lines and all older ones, read a chunk at a time as the reader takes them.
fn whole_ledger(app: App, user: UserId, newest: Vec<Entry>) -> impl Stream<Item = Result<EntryBody, Error>> {
    let chunks = stream::try_unfold(Some(newest), move |chunk| {
        let app = app.clone();
        async move {
            let Some(chunk) = chunk else { return Ok(None) };
            let next = match chunk.last() {
                Some(last) if chunk.len() as i64 >= CHUNK => Some(app.store.entries(user, Some(last.id), CHUNK).await?),
                _ => None,
            };
            Ok::<_, Error>(Some((chunk, next)))
        }
    });
    chunks.map_ok(|chunk| stream::iter(chunk.into_iter().map(|entry| Ok(EntryBody::from(&entry))))).try_flatten()
}
