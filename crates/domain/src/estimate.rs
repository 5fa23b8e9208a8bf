//! .
/// .
#[derive(Debug, Clone)]
pub struct Estimate {
    /// .
    pub title: String,
    /// .
    pub description: Option<String>,
    /// .
    pub requirements: Option<String>,
    /// .
    pub criteria: Vec<String>,
    /// .
    pub price_cents: i64,
    /// .
    pub time_limit_seconds: i64,
    /// .
    pub basis: String,
}
/// .
pub fn estimate(prompt: &str) -> Estimate {
    Estimate { title: prompt.chars().take(60).collect(), description: Some(prompt.into()), requirements: None, criteria: vec![], price_cents: 500, time_limit_seconds: 900, basis: String::new() }
}
