//! What lies beyond the rules: things that a model or another service may do one day.

pub mod embed;
pub mod llm;
pub mod sandbox;
pub mod structurer;
