//! How the world reaches the exchange: HTTP in, use cases, and the tasks that run by themselves.
//!
//! A request goes router → handler in `api/` → [`exchange::Exchange`] → `Store::submit`, and a read goes
//! handler → `Store` → render.

pub mod api;
pub mod apikey;
pub mod app;
pub mod auth;
mod cached;
pub mod config;
pub mod decode;
pub mod edge;
mod envelope;
pub mod error;
pub mod exchange;
mod figures;
pub mod input;
mod json;
mod list;
pub mod market;
pub mod meaning;
mod misfit;
mod multipart;
pub mod open;
mod openapi;
pub mod outside;
pub mod payments;
pub mod random;
mod rates;
pub mod reply;
mod request_id;
pub mod rotation;
pub mod router;
pub mod serve;
pub mod tasks;
pub mod telemetry;
pub mod vault;
pub mod verify;

pub use app::App;
pub use error::Error;
pub use open::open;
pub use router::{openapi, router};
