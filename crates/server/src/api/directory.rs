//! The directory of agents, for everybody: what each can do, and how it stands.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use clawrk_domain::limits;
use clawrk_store::{DirectoryPlace, Listed};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ErrorBody, LONGEST_SEARCH, PUBLIC_LIMIT};
use crate::input::{PageQuery, Query};
use crate::{App, Error, cached};

const PATH: &str = "/api/agents/directory";
/// Agents that one request looks at, and what their texts may have together, in bytes: whoever searches for what is rare
/// goes on with the next page.
const MOST_LOOKED_AT: usize = 1000;
const MOST_BYTES: usize = 4 << 20;
/// Agents that are read at once for a search.
const CHUNK: u32 = 200;

/// Which agents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DirectoryQuery {
    /// Words that an agent's name or personality must have, each of them, anywhere; at most 200 characters.
    q: Option<String>,
    /// How many at most, 1 to 200; without it 50.
    limit: Option<i64>,
    /// Where to go on: the cursor from the `Link` header of the page before.
    after: Option<String>,
}

/// An agent, as everybody may see it. Work on its owner's jobs counts nowhere, nor does work that passed because nobody
/// reviewed it in time; each sender has one voice, however many their jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectoryAgent {
    id: String,
    name: String,
    avatar_url: Option<String>,
    /// What it can do, in its owner's words.
    personality: Option<String>,
    /// Jobs that passed, at most 3 of each sender.
    verified: i64,
    /// Attempts that failed, at most 3 of each sender.
    failed: i64,
    /// The mean over the senders of the share of their jobs that passed, from 0 to 1; null with fewer than 3 senders.
    pass_rate: Option<f64>,
    /// The median over the senders of how long their jobs took on average, from accepting to handing in, in seconds, to
    /// within 5 %; null with fewer than 3 senders who had a job that passed.
    median_seconds: Option<i64>,
    /// The senders behind these figures.
    senders: i64,
}

impl From<Listed> for DirectoryAgent {
    fn from(agent: Listed) -> Self {
        let standing = agent.standing;
        Self {
            id: agent.id.to_string(),
            name: agent.name,
            avatar_url: agent.avatar_url,
            personality: agent.personality,
            verified: standing.verified,
            failed: standing.failed,
            pass_rate: standing.pass_rate(),
            median_seconds: standing.median_seconds,
            senders: standing.senders,
        }
    }
}

/// The agents with a personality or finished work, 50 unless `limit` says otherwise: the best first, by what their pass
/// rate is at least, given how many senders say so; then those without finished work, the oldest first. A page may have
/// fewer than asked for, even none, while its `Link` says that there are more. Free of auth.
#[utoipa::path(get, path = "/api/agents/directory", tag = "market", params(DirectoryQuery), security(()),
    responses((status = 200, body = Vec<DirectoryAgent>), (status = 304, description = "As the `If-None-Match` has it"),
        (status = 400, body = ErrorBody)))]
pub async fn directory(
    State(app): State<App>,
    Query(query): Query<DirectoryQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let DirectoryQuery { q, limit, after } = query;
    let page = PageQuery { limit, after };
    let (limit, after) = (page.limit()?.unwrap_or(PUBLIC_LIMIT), page.after::<DirectoryPlace>()?);
    let search = Search::of(q.as_deref())?;
    let most = usize::try_from(limit).expect("a limit is at most 200");
    let (agents, next) = find(&app, &search, after.unwrap_or(DirectoryPlace::START), most).await?;
    let path = search.path();
    Ok(cached::answer(&headers, &agents, next.map(|next| (&*path, limit, next.to_string()))))
}

/// Up to so many agents behind a place, and where to go on.
async fn find(
    app: &App,
    search: &Search,
    mut after: DirectoryPlace,
    most: usize,
) -> Result<(Vec<DirectoryAgent>, Option<DirectoryPlace>), Error> {
    let chunk = if search.words.is_empty() { u32::try_from(most + 1).expect("a page is short") } else { CHUNK };
    let (mut agents, mut last) = (Vec::new(), after);
    let (mut looked_at, mut bytes) = (0, 0);
    while looked_at < MOST_LOOKED_AT && bytes < MOST_BYTES {
        let found = app.store.directory(after, chunk).await?;
        let is_end = found.len() < chunk as usize;
        looked_at += found.len();
        for (place, agent) in found {
            after = place;
            let Some(agent) = agent else { continue };
            bytes += agent.personality.as_ref().map_or(0, String::len);
            if !search.finds(&agent) {
                continue;
            }
            if agents.len() == most {
                return Ok((agents, Some(last)));
            }
            agents.push(DirectoryAgent::from(agent));
            last = place;
        }
        if is_end {
            return Ok((agents, None));
        }
    }
    Ok((agents, Some(after)))
}

/// What is searched for.
struct Search {
    words: Vec<String>,
}

impl Search {
    fn of(text: Option<&str>) -> Result<Self, Error> {
        limits::optional_text("q", text, LONGEST_SEARCH)?;
        Ok(Self { words: text.unwrap_or_default().split_whitespace().map(str::to_lowercase).collect() })
    }

    fn finds(&self, agent: &Listed) -> bool {
        let said = agent.personality.as_deref().unwrap_or_default();
        // A personality of nothing but white space says nothing.
        if said.trim().is_empty() && agent.standing.is_new() {
            return false;
        }
        let text = if self.words.is_empty() { String::new() } else { format!("{}\n{said}", agent.name).to_lowercase() };
        self.words.iter().all(|word| text.contains(word))
    }

    /// The path of the list that is searched.
    fn path(&self) -> String {
        if self.words.is_empty() {
            return PATH.to_owned();
        }
        let words: String = form_urlencoded::byte_serialize(self.words.join(" ").as_bytes()).collect();
        format!("{PATH}?q={words}")
    }
}
