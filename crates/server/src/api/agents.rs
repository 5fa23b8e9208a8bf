//! The caller's agents.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use clawrk_domain::action::AgentFields;
use clawrk_domain::{Action, Agent, AgentId, Answer, Rejection, Scope, Timestamp};
use clawrk_store::JobList;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job_body::JobBody;
use super::{Done, ErrorBody, id};
use crate::auth::Caller;
use crate::exchange::Render;
use crate::input::{Input, Named, PageQuery, Query, Take, present};
use crate::reply::Reply;
use crate::{App, Error, list};

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentBody {
    id: String,
    /// The user whose agent it is.
    owner_id: String,
    name: String,
    /// What it is good at; job matching reads this.
    personality: Option<String>,
    avatar_url: Option<String>,
    /// The one that every user has from the start.
    is_default: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Agent> for AgentBody {
    fn from(agent: &Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            owner_id: agent.owner.to_string(),
            name: agent.name.clone(),
            personality: agent.personality.clone(),
            avatar_url: agent.avatar_url.clone(),
            is_default: agent.is_default,
            created_at: agent.created_at,
        }
    }
}

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateAgentBody {
    /// 1 to 64 characters after trimming; unique among one's own agents.
    name: String,
    /// At most 8,000 characters.
    personality: Option<String>,
    /// An http or https URL of at most 2,048 characters.
    avatar_url: Option<String>,
}

impl Take for CreateAgentBody {}

/// Changes to an agent: a missing field is left alone, `null` clears it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateAgentBody {
    /// As for a new agent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// As for a new agent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    personality: Option<Option<String>>,
    /// As for a new agent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    avatar_url: Option<Option<String>>,
}

impl Take for UpdateAgentBody {}

fn render(status: StatusCode) -> Render {
    Arc::new(move |answer| match answer {
        Answer::Agent(agent) => Reply::json(status, &AgentBody::from(agent)),
        _ => Reply::ok(&Done { ok: true }),
    })
}

/// The caller's agents: the default one first, then the oldest.
#[utoipa::path(get, path = "/api/agents", tag = "agents", params(PageQuery),
    responses((status = 200, body = Vec<AgentBody>), (status = 401, body = ErrorBody)))]
pub async fn index(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let agents = app.store.known_agents(caller.user).await?;
    list::whole(&agents, |agent| agent.id.to_string(), |agent| AgentBody::from(agent), &page, "/api/agents")
}

/// Make an agent.
#[utoipa::path(post, path = "/api/agents", tag = "agents", request_body = CreateAgentBody,
    responses((status = 201, body = AgentBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The caller has an agent of that name")))]
pub async fn create(State(app): State<App>, caller: Caller, input: Input<CreateAgentBody>) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let CreateAgentBody { name, personality, avatar_url } = input.body;
    let action = Action::CreateAgent(AgentFields { name, personality, avatar_url });
    app.exchange.act(caller.user, action, input.once, render(StatusCode::CREATED)).await
}

/// One of the caller's agents.
#[utoipa::path(get, path = "/api/agents/{id}", tag = "agents", params(("id" = String, Path, description = "Agent id")),
    responses((status = 200, body = AgentBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn show(State(app): State<App>, caller: Caller, Named(agent): Named) -> Result<Json<AgentBody>, Error> {
    caller.may(Scope::Read)?;
    Ok(Json(AgentBody::from(&own(&app, caller, Some(&agent)).await?)))
}

/// Change an agent's name, personality or picture.
#[utoipa::path(patch, path = "/api/agents/{id}", tag = "agents", request_body = UpdateAgentBody,
    params(("id" = String, Path, description = "Agent id")),
    responses((status = 200, body = AgentBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Named(agent): Named,
    input: Input<UpdateAgentBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let UpdateAgentBody { name, personality, avatar_url } = input.body;
    let agent = id("agent", &agent)?;
    // A name cannot be cleared: null is as wrong as a blank one, but another's agent is still 404 first.
    let name = name.map(Option::unwrap_or_default);
    let action = Action::UpdateAgent { agent, name, personality, avatar_url };
    app.exchange.act(caller.user, action, input.once, render(StatusCode::OK)).await
}

/// Delete an agent; its past jobs stay.
#[utoipa::path(delete, path = "/api/agents/{id}", tag = "agents", params(("id" = String, Path, description = "Agent id")),
    responses((status = 200, body = Done),
        (status = 400, body = ErrorBody, description = "The default agent, or one with a job in hand"),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn delete(State(app): State<App>, caller: Caller, Named(agent): Named) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let action = Action::DeleteAgent(id("agent", &agent)?);
    app.exchange.act(caller.user, action, None, render(StatusCode::OK)).await
}

/// The jobs that the agent received, most recently updated first.
#[utoipa::path(get, path = "/api/agents/{id}/jobs", tag = "agents",
    params(("id" = String, Path, description = "Agent id"), PageQuery),
    responses((status = 200, body = Vec<JobBody>), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn jobs(
    State(app): State<App>,
    caller: Caller,
    Named(agent): Named,
    Query(page): Query<PageQuery>,
) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let agent = own(&app, caller, Some(&agent)).await?.id;
    list::jobs(app, caller, JobList::ReceivedBy(agent), &page, &format!("/api/agents/{agent}/jobs")).await
}

/// The caller's agent of this id, or the default one; another's is as good as none. What memory does not know, the
/// database is asked for: it may have been made on another node a moment ago.
pub(super) async fn own(app: &App, caller: Caller, named: Option<&str>) -> Result<Agent, Error> {
    let named = named.map(|named| id::<AgentId>("agent", named)).transpose()?;
    let wanted = |agent: &&Agent| named.map_or(agent.is_default, |named| agent.id == named);
    let known = app.store.known_agents(caller.user).await?.iter().find(wanted).cloned();
    let found = match known {
        Some(agent) => Some(agent),
        None => app.store.agents(caller.user).await?.iter().find(wanted).cloned(),
    };
    found.ok_or_else(|| Rejection::NotFound("agent").into())
}
