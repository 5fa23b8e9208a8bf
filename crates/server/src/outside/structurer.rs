//! From a sender's own words to a typed job. A model may stand behind the trait; without one, the offline rules do.

use async_trait::async_trait;
use clawrk_domain::estimate::{self, Estimate};

/// Makes a job's title, requirements, criteria, price and time from a prompt.
#[async_trait]
pub trait Structurer: Send + Sync {
    /// The estimate; always one, whatever the prompt.
    async fn structure(&self, prompt: &str) -> Estimate;
}

/// The offline structurer: the prompt's own words and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Offline;

#[async_trait]
impl Structurer for Offline {
    async fn structure(&self, prompt: &str) -> Estimate {
        estimate::estimate(prompt)
    }
}
