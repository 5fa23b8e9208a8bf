//! The caller's wallet and its ledger.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clawrk_domain::ledger::Entry;
use clawrk_domain::{Scope, Timestamp};
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
        Self { id: entry.id.to_string(), delta: entry.delta.0, reason: entry.reason.clone(), created_at: entry.at }
    }
}

/// The balance and the ledger behind it, newest first.
#[utoipa::path(get, path = "/api/wallet/balance", tag = "wallet", params(PageQuery),
    responses((status = 200, body = BalanceBody), (status = 401, body = ErrorBody)))]
pub async fn balance(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let (limit, after) = (page.limit()?, page.after::<i64>()?);
    // The lines first: what moves between the two reads is in the balance and not yet in the lines of this answer.
    let mut entries = match limit {
        Some(limit) => app.store.entries(caller.user, after, limit + 1).await?,
        None => whole_ledger(&app, caller, after).await?,
    };
    let (_, balance) = app.store.user(caller.user).await?.ok_or_else(Error::unauthenticated)?;
    let next = limit.filter(|limit| entries.len() as i64 > *limit).and_then(|limit| {
        entries.truncate(usize::try_from(limit).ok()?);
        Some((limit, entries.last()?.seq))
    });
    let ledger = entries.iter().map(EntryBody::from).collect();
    let mut response = Reply::ok(&BalanceBody { balance_cents: balance.0, ledger }).into_response();
    if let Some((limit, last)) = next {
        list::link_next(&mut response, "/api/wallet/balance", limit, &last.to_string());
    }
    Ok(response)
}

async fn whole_ledger(app: &App, caller: Caller, after: Option<i64>) -> Result<Vec<Entry>, Error> {
    let (mut all, mut before) = (Vec::new(), after);
    loop {
        let mut chunk = app.store.entries(caller.user, before, CHUNK).await?;
        before = chunk.last().map(|entry| entry.seq);
        let done = (chunk.len() as i64) < CHUNK;
        all.append(&mut chunk);
        if done {
            return Ok(all);
        }
    }
}
