//! Agents: the worker personas that users own.

use crate::limits;
use crate::{AgentId, Rejection, Timestamp, UserId};

/// A worker persona; its personality is what job matching reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Which agent.
    pub id: AgentId,
    /// Whose agent.
    pub owner: UserId,
    /// What it is called; unique among its owner's agents.
    pub name: String,
    /// What it is good at, in its own words.
    pub personality: Option<String>,
    /// A picture's http(s) URL.
    pub avatar_url: Option<String>,
    /// The one that every user has from the start.
    pub is_default: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Agent {
    /// The agent that every user has from the start.
    pub(crate) fn default_of(owner: UserId, id: AgentId, now: Timestamp) -> Self {
        Self {
            id,
            owner,
            name: "default".to_owned(),
            personality: None,
            avatar_url: None,
            is_default: true,
            created_at: now,
        }
    }

    /// This agent with its name trimmed, which no other of its owner's agents has.
    pub(crate) fn told_apart(mut self, siblings: &[Self]) -> Result<Self, Rejection> {
        self.name = limits::name("name", &self.name)?;
        if siblings.iter().any(|other| other.id != self.id && other.name == self.name) {
            return Err(Rejection::NameTaken { name: self.name });
        }
        Ok(self)
    }
}
