//! The ranking that pull chooses from, and why.

use std::collections::HashMap;

use axum::extract::State;
use clawrk_domain::matching::{Ranked, Share, spellings};
use clawrk_domain::{Job, JobId, Scope, Status};
use serde::Serialize;
use utoipa::ToSchema;

use super::ErrorBody;
use super::agents::own;
use crate::auth::Caller;
use crate::input::{Named, PageQuery, Query};
use crate::reply::Reply;
use crate::{App, Error};

/// How many are told when nobody says.
const DEFAULT_LIMIT: i64 = 20;

/// An open job, and how well it suits the agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchBody {
    job_id: String,
    title: String,
    /// What the sender pays, in cents.
    price_cents: i64,
    /// What jobs are ordered by: what suits, half by words and half by meaning where there is a model, and waiting.
    score: f64,
    parts: MatchParts,
    /// What the job's words made it suit, the most first.
    terms: Vec<MatchTerm>,
}

/// What a score is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchParts {
    /// How near its words are to the personality's, from 0 to below 1.
    lexical: f64,
    /// How near its meaning is, from 0 to 1; null without an embedding model, and until it has read the job.
    dense: Option<f64>,
    /// The bonus for waiting: 1 for each day.
    waiting: f64,
}

/// A word of a job that a personality asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchTerm {
    /// The job's word.
    term: String,
    /// The personality's word that asks for it.
    said: String,
    /// Its share of all that the words have in common, from 0 to 1.
    share: f64,
}

/// The open jobs in the order in which pull hands them to this agent, and why; takes a hold of none. 20 unless `limit`
/// says otherwise.
#[utoipa::path(get, path = "/api/agents/{id}/matches", tag = "agents", params(("id" = String, Path, description = "Agent id"),
        ("limit" = Option<i64>, Query, description = "How many at most, 1 to 200")),
    responses((status = 200, body = Vec<MatchBody>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn matches(
    State(app): State<App>,
    caller: Caller,
    Named(agent): Named,
    Query(page): Query<PageQuery>,
) -> Result<Reply, Error> {
    caller.may(Scope::Read)?;
    let agent = own(&app, caller, Some(&agent)).await?;
    let limit = page.limit()?.unwrap_or(DEFAULT_LIMIT);
    let limit = usize::try_from(limit).expect("a limit is at most 200");
    app.store.catch_up().await;
    let personality = agent.personality.as_deref();
    let meaning = app.meanings.of(personality).await;
    let ranking = app.market.matches(agent.id, personality, meaning.as_ref(), app.store.clock().now(), limit);
    let ids: Vec<JobId> = ranking.iter().map(|(ranked, _)| ranked.id).collect();
    let jobs = app.store.jobs(&ids).await?.into_iter().filter(|job| job.status() == Status::Queued);
    let jobs: HashMap<JobId, Job> = jobs.map(|job| (job.id, job)).collect();
    let said = spellings(personality.unwrap_or_default());
    // One may have been taken since the ranking.
    let bodies =
        ranking.iter().filter_map(|(ranked, shares)| Some(MatchBody::of(jobs.get(&ranked.id)?, ranked, shares, &said)));
    Ok(Reply::ok(&bodies.collect::<Vec<_>>()))
}

impl MatchBody {
    fn of(job: &Job, ranked: &Ranked<JobId>, shares: &[Share], said: &HashMap<String, &str>) -> Self {
        let brief = &job.brief;
        let texts = [Some(&brief.title), brief.requirements.as_ref(), brief.description.as_ref()];
        let written: Vec<HashMap<String, &str>> = texts.into_iter().flatten().map(|text| spellings(text)).collect();
        let spelled = |term: &String| written.iter().find_map(|spellings| spellings.get(term)).copied();
        let all: f64 = shares.iter().map(|share| share.part).sum();
        let terms = shares.iter().map(|share| MatchTerm {
            term: spelled(&share.term).unwrap_or(&share.term).to_owned(),
            said: said.get(&share.said).copied().unwrap_or(&share.said).to_owned(),
            share: share.part / all,
        });
        Self {
            job_id: job.id.to_string(),
            title: brief.title.clone(),
            price_cents: job.price.0,
            score: ranked.score(),
            parts: MatchParts { lexical: ranked.lexical, dense: ranked.dense, waiting: ranked.waiting },
            terms: terms.collect(),
        }
    }
}
