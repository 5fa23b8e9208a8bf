//! The control: the exchange as `clawrk serve` runs it, but on SQLite with `synchronous=NORMAL`, which syncs at a
//! checkpoint and not at a commit.
//!
//! The binary has no such switch. So the control's server is this test program, started again for one test that
//! serves until it is told to stop.

use std::path::Path;
use std::process::Command;

use clawrk_server::{open, serve};
use clawrk_store::{Clock, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::verdict;
use crate::exchange::{Exchange, Server, variable};

/// Says that the process is to be a server, and not a run of all tests.
const ROLE: &str = "CLAWRK_TEST_SERVES";

/// Starts the weaker server for an exchange.
pub(super) fn start(exchange: &Exchange) -> Server {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "powercut::weaker::serves_without_syncing_commits", "--ignored", "--nocapture"]);
    let mut command = exchange.prepare(command);
    command.env(ROLE, "1");
    Server::start(command)
}

#[tokio::test]
#[ignore = "a server, for the control that starts it"]
async fn serves_without_syncing_commits() {
    if variable(ROLE).is_none() {
        return;
    }
    let config = verdict::config(Path::new(&variable("CLAWRK_DATA_DIR").unwrap()));
    let store = Store::sqlite_synchronous(&config.data_dir, config.policy.clone(), Clock::System, "NORMAL").unwrap();
    let app = open::open_on(store, &config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    eprintln!("listens on http://{}, weaker", listener.local_addr().unwrap());
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let stop = async move { terminate.recv().await.unwrap_or_default() };
    serve::serve(app, listener, stop).await.unwrap();
}
