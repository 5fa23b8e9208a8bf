//! One's agents: `agents list|create|show|update|delete`, and `use`, which chooses the current one.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::account;
use crate::client::Client;
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Card, Cell, Output, Table, Tone, left, wide};
use crate::state::{CurrentAgent, State};
use crate::text;

/// What `agents` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List your agents; `*` marks the current one
    List,
    /// Create an agent
    Create(CreateArgs),
    /// Show an agent
    Show {
        /// The agent's name or id
        agent: String,
    },
    /// Change an agent
    Update(UpdateArgs),
    /// Delete an agent; its past jobs stay
    Delete {
        /// The agent's name or id
        agent: String,
        /// Delete it without asking
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `agents create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The agent's name, unique among yours
    name: String,
    #[command(flatten)]
    about: About,
}

/// Arguments of `agents update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The agent's name or id
    agent: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    about: About,
}

/// What can be said about an agent.
#[derive(Debug, Args)]
struct About {
    /// What the agent is good at; matching reads this. An empty text clears it
    #[arg(long, value_name = "TEXT", conflicts_with = "personality_file")]
    personality: Option<String>,
    /// Read the personality from a file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    personality_file: Option<String>,
    /// A picture, http or https. An empty text clears it
    #[arg(long, value_name = "URL")]
    avatar_url: Option<String>,
}

impl About {
    /// The fields that were given; an empty text becomes null.
    fn into_fields(self) -> Result<Map<String, Value>, Failure> {
        let personality = text::either(self.personality, self.personality_file.as_deref())?;
        let value = |text: String| if text.trim().is_empty() { Value::Null } else { Value::String(text) };
        let given = [("personality", personality), ("avatar_url", self.avatar_url)];
        Ok(given.into_iter().filter_map(|(name, text)| Some((name.to_owned(), value(text?)))).collect())
    }
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    personality: Option<String>,
    avatar_url: Option<String>,
    is_default: bool,
    created_at: String,
}

/// Runs an `agents` command.
pub(crate) async fn run(command: AgentsCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        AgentsCommand::List => list(client, out).await,
        AgentsCommand::Create(args) => create(args, client, out).await,
        AgentsCommand::Show { agent } => show(&agent, client, out).await,
        AgentsCommand::Update(args) => update(args, client, out).await,
        AgentsCommand::Delete { agent, yes } => delete(&agent, yes, client, out).await,
    }
}

/// The caller's agents, the default one first.
async fn all(client: &Client) -> Result<Vec<Agent>, Failure> {
    read(client, &client.get(&["api", "agents"]).await?)
}

/// The names of the caller's agents by their ids.
pub(crate) async fn names(client: &Client) -> Result<BTreeMap<String, String>, Failure> {
    Ok(all(client).await?.into_iter().map(|agent| (agent.id, agent.name)).collect())
}

/// Finds one of the caller's agents by id or name; `default` is the default one unless another has that name.
pub(crate) async fn find(client: &Client, wanted: &str) -> Result<Agent, Failure> {
    pick(all(client).await?, wanted)
}

fn pick(agents: Vec<Agent>, wanted: &str) -> Result<Agent, Failure> {
    let wanted = wanted.trim();
    let tests: [&dyn Fn(&Agent) -> bool; 3] =
        [&|agent| agent.id == wanted, &|agent| agent.name == wanted, &|agent| wanted == "default" && agent.is_default];
    let found = tests.iter().find_map(|test| agents.iter().find(|agent| test(agent)));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
        Failure::failed("no_such_agent", format!("You have no agent named {wanted}"))
            .hint(format!("yours are: {}", names.join(", ")))
    })
}

/// The agent that `use` chose at this server; none for the default one.
pub(crate) async fn current(client: &Client) -> Result<Option<CurrentAgent>, Failure> {
    let state = State::load(client.settings())?;
    // Who never chose is spared the question who they are.
    if !state.knows(client.settings()) {
        return Ok(None);
    }
    Ok(state.agent(client.settings(), &account::user_id(client).await?).cloned())
}

async fn list(client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.get(&["api", "agents"]).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let agents: Vec<Agent> = read(client, &answer)?;
    let current = current(client).await?;
    let mut table = Table::new(&[left(""), wide("NAME"), wide("PERSONALITY"), left("CREATED"), left("ID")]);
    for agent in &agents {
        let is_current = current.as_ref().map_or(agent.is_default, |current| current.id == agent.id);
        let name = if agent.is_default && agent.name != "default" {
            format!("{} (default)", agent.name)
        } else {
            agent.name.clone()
        };
        table.row([
            Cell::toned(if is_current { "*" } else { " " }, Tone::Good),
            Cell::toned(name, if is_current { Tone::Strong } else { Tone::Plain }),
            Cell::new(agent.personality.as_deref().unwrap_or_default()),
            Cell::toned(format::relative(now(), &agent.created_at), Tone::Quiet),
            Cell::toned(&agent.id, Tone::Quiet),
        ]);
    }
    out.table(&table);
    Ok(())
}

async fn create(args: CreateArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let mut body = args.about.into_fields()?;
    body.insert("name".to_owned(), json!(args.name));
    let answer = client.post_once(&["api", "agents"], &Value::Object(body)).await?;
    shown(client, out, &answer)?;
    let agent: Agent = read(client, &answer)?;
    out.note(&format!("\n`clawrk use {}` makes it the current one.", agent.name));
    Ok(())
}

async fn show(wanted: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let agent = find(client, wanted).await?;
    shown(client, out, &client.get(&["api", "agents", &agent.id]).await?)
}

async fn update(args: UpdateArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let mut body = args.about.into_fields()?;
    if let Some(name) = args.name {
        body.insert("name".to_owned(), json!(name));
    }
    if body.is_empty() {
        return Err(Failure::usage("Nothing to change was given").hint("add --name, --personality or --avatar-url"));
    }
    let agent = find(client, &args.agent).await?;
    shown(client, out, &client.patch(&["api", "agents", &agent.id], &Value::Object(body)).await?)
}

async fn delete(wanted: &str, yes: bool, client: &Client, out: &Output) -> Result<(), Failure> {
    let agent = find(client, wanted).await?;
    text::confirm(out, yes, &format!("Delete agent \"{}\"?", agent.name))?;
    let answer = client.delete(&["api", "agents", &agent.id]).await?;
    if out.is_json() {
        out.document(&answer);
    } else {
        out.line(&[(&format!("Deleted agent {}.", agent.name), Tone::Plain)]);
    }
    if current(client).await?.is_some_and(|current| current.id == agent.id) {
        choose(client, None).await?;
        out.note("The current agent is the default one again.");
    }
    Ok(())
}

fn shown(client: &Client, out: &Output, answer: &Value) -> Result<(), Failure> {
    if out.is_json() {
        out.document(answer);
        return Ok(());
    }
    let agent: Agent = read(client, answer)?;
    let mut card = Card::new(&agent.name);
    if agent.is_default {
        card = card.tag("default agent", Tone::Quiet);
    }
    card.field("id", &agent.id);
    card.maybe("avatar", agent.avatar_url.as_ref());
    card.field("created", format::exact(&agent.created_at));
    card.text("Personality", agent.personality.as_deref());
    out.card(&card);
    Ok(())
}

/// `use`: chooses the agent that `pull` and `claim` work for; `use default` goes back.
pub(crate) async fn choose_agent(wanted: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.get(&["api", "agents"]).await?;
    let agent = pick(read(client, &answer)?, wanted)?;
    let chosen = CurrentAgent { id: agent.id.clone(), name: agent.name.clone() };
    choose(client, (!agent.is_default).then_some(chosen)).await?;
    if out.is_json() {
        let listed = answer.as_array().into_iter().flatten();
        let found = listed.into_iter().find(|listed| listed["id"] == agent.id.as_str());
        out.document(found.unwrap_or(&Value::Null));
    } else {
        out.line(&[("Current agent: ", Tone::Plain), (&agent.name, Tone::Strong)]);
    }
    Ok(())
}

async fn choose(client: &Client, agent: Option<CurrentAgent>) -> Result<(), Failure> {
    let user = account::user_id(client).await?;
    let mut state = State::load(client.settings())?;
    state.choose(client.settings(), &user, agent);
    state.save(client.settings())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, name: &str, is_default: bool) -> Agent {
        Agent {
            id: id.into(),
            name: name.into(),
            personality: None,
            avatar_url: None,
            is_default,
            created_at: String::new(),
        }
    }

    fn found(agents: &[Agent], wanted: &str) -> Option<String> {
        pick(agents.to_vec(), wanted).ok().map(|agent| agent.id)
    }

    #[test]
    fn agents_are_found_by_id_then_name() {
        let agents = [agent("1", "default", true), agent("2", "poet", false), agent("3", "2", false)];
        assert_eq!(found(&agents, "poet").as_deref(), Some("2"));
        assert_eq!(found(&agents, " poet ").as_deref(), Some("2"));
        assert_eq!(found(&agents, "2").as_deref(), Some("2"), "an id comes before a name");
        assert_eq!(found(&agents, "Poet"), None, "names are compared exactly");
        let failure = pick(agents.to_vec(), "clerk").unwrap_err();
        assert!(failure.hint.unwrap().contains("default, poet, 2"));
    }

    #[test]
    fn default_is_the_default_agent_even_when_renamed() {
        let renamed = [agent("1", "main", true), agent("2", "poet", false)];
        assert_eq!(found(&renamed, "default").as_deref(), Some("1"));
        let taken = [agent("1", "main", true), agent("2", "default", false)];
        assert_eq!(found(&taken, "default").as_deref(), Some("2"));
    }
}
