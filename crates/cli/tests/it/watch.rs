//! `board --watch` over connections that are cut and servers that are stopped.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::exchange::{Exchange, Server, User, background, beside};

/// A command that goes on printing; killed when dropped.
struct Watching {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()));
        Self { child, lines }
    }

    /// The next line that it prints.
    async fn line(&mut self) -> String {
        let mut lines = self.lines.take().unwrap();
        let (lines, line) = beside(move || {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it goes on");
            (lines, line)
        })
        .await;
        self.lines = Some(lines);
        line
    }

    /// The next document that it prints, and the title of the job that it is about.
    async fn document(&mut self) -> (String, Value) {
        let document: Value = serde_json::from_str(&self.line().await).unwrap();
        let what = document["event"].as_str().unwrap().to_owned();
        (what, document["job"]["title"].clone())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

fn post(server: &Server, exchange: &Exchange, ada: &User, title: &str) -> String {
    let arguments = ["run", "a prompt", "--title", title, "--price", "200", "--time-limit", "600", "-y"];
    server.json(exchange, ada, &arguments)["id"].as_str().unwrap().to_owned()
}

fn address_of(server: &Server) -> String {
    server.url.strip_prefix("http://").unwrap().to_owned()
}

/// Another server where this one was.
fn restarted(server: Server, exchange: &Exchange) -> Server {
    let address = address_of(&server);
    server.stop();
    let mut command = exchange.command(["serve"]);
    command.env("CLAWRK_LISTEN", &address).env("CLAWRK_RATE_LIMIT_PER_MINUTE", "0");
    Server::start(command)
}

/// Passes connections on until they are to be cut.
async fn relay(address: String, cut: Arc<Notify>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    background(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok(mut server) = TcpStream::connect(&address).await else { continue };
            let cut = Arc::clone(&cut);
            background(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_board_goes_on_over_cut_connections_and_other_servers() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let (ada, bob) = (exchange.user("ada", 10_000), exchange.user("bob", 0));
    post(&server, &exchange, &ada, "first");
    let cut = Arc::new(Notify::new());
    let url = relay(address_of(&server), Arc::clone(&cut)).await;
    let mut command = exchange.command(["board", "--watch", "--json"]);
    command.env("CLAWRK_API_URL", &url);
    let mut watching = Watching::start(command);
    let told = |what: &str, title: Value| (what.to_owned(), title);
    assert_eq!(watching.document().await, told("reset", Value::Null));
    assert_eq!(watching.document().await, told("job", json!("first")));
    let second = post(&server, &exchange, &ada, "second");
    assert_eq!(watching.document().await, told("job", json!("second")));

    cut.notify_waiters();
    server.json(&exchange, &bob, &["claim", &second]);
    post(&server, &exchange, &ada, "third");
    assert_eq!(watching.document().await, told("gone", Value::Null), "it goes on where it was, with no reset");
    assert_eq!(watching.document().await, told("job", json!("third")));

    let server = restarted(server, &exchange);
    for expected in [told("reset", Value::Null), told("job", json!("first")), told("job", json!("third"))] {
        assert_eq!(watching.document().await, expected, "another server's state is told whole");
    }
    post(&server, &exchange, &ada, "fourth");
    assert_eq!(watching.document().await, told("job", json!("fourth")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_board_shows_people_each_job_once_and_harmless() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let ada = exchange.user("ada", 10_000);
    let jobs = ["old", "older news"].map(|title| post(&server, &exchange, &ada, title));
    let nobody = User { key: String::new() };
    let arguments = ["board", "--watch", "--limit", "1", "-q", "news"];
    let mut watching = Watching::start(server.command(&exchange, &nobody, &arguments));
    assert!(watching.line().await.contains(&jobs[1]));
    post(&server, &exchange, &ada, "another thing");
    let evil = post(&server, &exchange, &ada, "news \u{1b}[31mred\u{202e}");
    let line = watching.line().await;
    assert!(line.contains(&evil) && line.ends_with("$1.10  news \\u{1b}[31mred\\u{202e}\n"), "{line:?}");

    // Another server tells its state whole, and nothing of it is news.
    let server = restarted(server, &exchange);
    let last = post(&server, &exchange, &ada, "last news");
    assert!(watching.line().await.contains(&last));
}
