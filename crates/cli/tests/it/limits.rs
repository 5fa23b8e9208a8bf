//! Limits over three nodes on one PostgreSQL: whoever asks all of them at once, as fast as can be, has at most twice as
//! much as whoever asks one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User, ask, connect};

const REQUESTS: u32 = 600;
const STRANGERS: u32 = 60;
const WRONG_KEYS: u32 = 10;
/// Seconds that a minute should still have when something is to be used up in it.
const ENOUGH: u32 = 25;

/// Three nodes, each of which hears of what the others count.
struct Nodes {
    exchange: Exchange,
    servers: Vec<Server>,
    ada: User,
}

/// Who asks: from one of this machine's addresses, with a key or without.
#[derive(Clone)]
struct Caller {
    http: Client,
    key: Option<String>,
}

impl Caller {
    /// From an address that nobody has asked from.
    fn elsewhere() -> Self {
        static LAST: AtomicU8 = AtomicU8::new(1);
        let address = Ipv4Addr::new(127, 0, 7, LAST.fetch_add(1, Ordering::Relaxed));
        // Another test of this process may have done it before.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        let http = Client::builder().local_address(Some(address.into())).timeout(Duration::from_secs(20));
        Self { http: http.build().unwrap(), key: None }
    }

    fn with_key(&self, key: &str) -> Self {
        Self { http: self.http.clone(), key: Some(key.to_owned()) }
    }

    async fn ask(&self, node: &str) -> Response {
        let request = self.http.get(format!("{node}/api/agents"));
        let request = self.key.iter().fold(request, |request, key| request.bearer_auth(key));
        request.send().await.unwrap()
    }

    /// Asks as fast as can be until it is refused; how many were not.
    async fn use_up(&self, node: &str) -> u32 {
        for taken in 0.. {
            if self.ask(node).await.status() == StatusCode::TOO_MANY_REQUESTS {
                return taken;
            }
        }
        unreachable!("there is a limit")
    }

    /// Waits until a node refuses.
    async fn is_refused_soon(&self, node: &str) {
        let began = Instant::now();
        while self.ask(node).await.status() != StatusCode::TOO_MANY_REQUESTS {
            assert!(began.elapsed() < Duration::from_secs(2), "{node} does not hear of what was used elsewhere");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Nodes {
    async fn start() -> Option<Self> {
        let exchange = Exchange::postgres().await?;
        let ada = exchange.user("ada", 0);
        let servers = (0..3).map(|_| exchange.serve_limited(REQUESTS)).collect();
        let nodes = Self { exchange, servers, ada };
        // The second time, each of them has told something while it listened.
        for _ in 0..2 {
            nodes.meet().await;
        }
        Some(nodes)
    }

    fn urls(&self) -> [&str; 3] {
        std::array::from_fn(|at| self.servers[at].url.as_str())
    }

    /// Waits until each node hears of what each other one counts.
    async fn meet(&self) {
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
            let (from, to, stranger) = (self.urls()[from], self.urls()[to], Caller::elsewhere());
            for asked in 1.. {
                for _ in 0..5 {
                    stranger.ask(from).await;
                }
                let [_, left, _] = standing(&stranger.ask(to).await);
                if left < STRANGERS - asked {
                    break;
                }
                assert!(asked < 20, "{to} does not hear of {from}");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }

    /// A key that was used once, at the first node, in a minute that has enough left.
    async fn fresh_key(&self) -> Caller {
        let anywhere = Caller::elsewhere();
        loop {
            let asked = anywhere.http.post(format!("{}/api/keys", self.urls()[0])).bearer_auth(&self.ada.key);
            let made: Value = asked.json(&json!({"name": "x"})).send().await.unwrap().json().await.unwrap();
            let caller = anywhere.with_key(made["key"].as_str().unwrap());
            let [_, left, reset] = standing(&caller.ask(self.urls()[0]).await);
            assert_eq!(left, REQUESTS - 1);
            if reset >= ENOUGH {
                return caller;
            }
        }
    }

    /// A caller without a key whose minute has enough left, and who asked the first node once.
    async fn fresh_stranger(&self) -> Caller {
        loop {
            let caller = Caller::elsewhere();
            let [_, _, reset] = standing(&caller.ask(self.urls()[0]).await);
            if reset >= ENOUGH {
                return caller;
            }
        }
    }
}

/// `RateLimit-Limit`, `-Remaining` and `-Reset`.
fn standing(answer: &Response) -> [u32; 3] {
    ["limit", "remaining", "reset"]
        .map(|name| answer.headers()[format!("ratelimit-{name}")].to_str().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_three_nodes_that_are_asked_at_once() {
    let Some(nodes) = Nodes::start().await else { return };
    let [a, b, c] = nodes.urls();
    // One node gives all that the limit allows, and soon after that the others give nothing.
    let alone = nodes.fresh_key().await;
    assert_eq!(alone.use_up(a).await, REQUESTS - 1);
    alone.is_refused_soon(b).await;
    alone.is_refused_soon(c).await;
    let spread = nodes.fresh_key().await;
    let taken = join_all([a, b, c].map(|node| spread.use_up(node))).await;
    let sum = 1 + taken.iter().sum::<u32>();
    println!("of {REQUESTS} requests a minute, three nodes took {taken:?}");
    assert!((REQUESTS..=2 * REQUESTS).contains(&sum), "{taken:?}");
    let guesser = nodes.fresh_stranger().await.with_key("nonsense");
    let taken = join_all([a, b, c].map(|node| guesser.use_up(node))).await;
    let sum: u32 = taken.iter().sum();
    println!("of {WRONG_KEYS} wrong keys a minute, three nodes took {taken:?}");
    assert!((WRONG_KEYS..=2 * WRONG_KEYS).contains(&sum), "{taken:?}");
    let guesser = nodes.fresh_stranger().await.with_key("nonsense");
    assert_eq!(guesser.use_up(c).await, WRONG_KEYS);
    guesser.is_refused_soon(a).await;
    guesser.is_refused_soon(b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_each_node_keeps_to_the_limits_by_itself() {
    let Some(nodes) = Nodes::start().await else { return };
    let url = nodes.exchange.database_url();
    let (server, name) = url.rsplit_once('/').unwrap();
    let postgres = connect(&format!("{server}/postgres")).await.unwrap();
    let open = async |is_open| {
        ask(&postgres, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}")).await;
        ask(&postgres, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
            .await;
    };
    open(false).await;
    let [a, b, c] = nodes.urls();
    let stranger = nodes.fresh_stranger().await;
    let began = Instant::now();
    let taken = join_all([a, b, c].map(|node| stranger.use_up(node))).await;
    assert_eq!(taken, [STRANGERS - 1, STRANGERS, STRANGERS]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    open(true).await;
    nodes.meet().await;
}
