//! The offline structurer: a prompt becomes a title, criteria, a price, a time limit, and the reasons.
//!
//! It reads the prompt's own words by plain tables and rules; no model is asked. It never fails, its
//! answer is always within the exchange's bounds, and the same prompt always gives the same answer.
//! Files, code and quotations inside a prompt are material: they add to its size, but nothing they
//! say becomes a criterion, a price or a time limit.
//!
//! `reading` tells instructions from material; `title`, `criteria`, `skills` and `price` read the
//! instructions.

mod criteria;
mod manners;
mod material;
mod price;
mod reading;
mod skills;
mod stated;
mod text;
mod title;

use reading::Reading;

/// What an unconfirmed job looks like before anyone has touched it up.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// One line of 1 to 80 characters, without control characters.
    pub title: String,
    /// The prompt, trimmed; none where nothing is left.
    pub description: Option<String>,
    /// The skills needed, in prose; none where the prompt names none.
    pub requirements: Option<String>,
    /// At most 12 statements that can be checked, each at most 300 characters.
    pub criteria: Vec<String>,
    /// From 100 to 100,000.
    pub price_cents: i64,
    /// From 60 to 86,400.
    pub time_limit_seconds: i64,
    /// How price and time came about, for people.
    pub basis: String,
}

/// Structures a prompt of any length and language, where there is no model.
pub fn estimate(prompt: &str) -> Estimate {
    instead_of_a_model(prompt, "No model is configured")
}

/// The same, where a model was of no help; `why` is told with the estimate, as the beginning of a sentence.
pub fn instead_of_a_model(prompt: &str, why: &str) -> Estimate {
    let reading = Reading::of(prompt);
    let criteria = criteria::criteria(&reading);
    let skills = skills::skills(&reading);
    let cost = price::cost(&reading, skills.work, criteria.len());
    let description = prompt.trim();
    Estimate {
        title: title::title(&reading),
        description: (!description.is_empty()).then(|| description.to_owned()),
        requirements: skills.requirements,
        criteria,
        price_cents: cost.price_cents,
        time_limit_seconds: cost.time_limit_seconds,
        basis: format!(
            "{} {why}: title, criteria and estimate come from the prompt's own words. \
             Title and description are public on the board.",
            cost.basis
        ),
    }
}

#[cfg(test)]
mod tests;
