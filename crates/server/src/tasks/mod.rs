//! What the exchange does by itself, when its time has come.

pub mod comparing;
pub mod counting;
pub(crate) mod lease;
pub mod paying;
pub mod runner;
pub mod sweeping;
pub mod verifying;
