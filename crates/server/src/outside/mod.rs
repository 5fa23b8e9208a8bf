//! What lies beyond the rules: things that a model or another service may do one day.

pub mod embed;
pub mod files;
pub mod llm;
pub mod sandbox;
pub mod stripe;
pub mod structurer;
