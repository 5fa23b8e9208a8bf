//! From a sender's own words to a typed job: by a language model where there is one, else by the offline rules.

mod model;

use async_trait::async_trait;
use clawrk_domain::UserId;
use clawrk_domain::estimate::{self, Estimate};

pub use model::Modelled;

/// Makes a job's title, requirements, criteria, price and time from a prompt.
#[async_trait]
pub trait Structurer: Send + Sync {
    /// The estimate for a user; always one, whatever the prompt.
    async fn structure(&self, user: UserId, prompt: &str) -> Estimate;
}

/// The offline structurer: the prompt's own words and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Offline;

#[async_trait]
impl Structurer for Offline {
    async fn structure(&self, _user: UserId, prompt: &str) -> Estimate {
        estimate::estimate(prompt)
    }
}
