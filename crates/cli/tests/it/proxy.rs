//! Answers that are lost on the way: a proxy before the server that cuts connections. Whether a request took place is
//! then known to nobody, and its repeat finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::dice::{Dice, rounds};
use crate::exchange::{Exchange, Server, background};
use crate::load::{Load, TroubleKind};
use crate::proof::prove;

/// Requests that are cut at each place, at least.
const CUTS: usize = 20;
/// One in so many requests is cut.
const CUT: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_answer_is_lost_has_one_effect_on_sqlite() {
    loses_answers(Exchange::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_answer_is_lost_has_one_effect_on_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    loses_answers(exchange).await;
}

async fn loses_answers(exchange: Exchange) {
    let server = exchange.serve();
    let load = Load::new(&exchange);
    let proxy = Proxy::start(&server, load.dice()).await;
    load.at_urls(vec![proxy.url.clone()]);
    let enough = CUTS * rounds(1);
    load.during(async {
        while proxy.cuts.before.load(Ordering::Relaxed) < enough || proxy.cuts.after.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(load.troubles().iter().all(|trouble| trouble.kind == TroubleKind::Broken));
    load.at([&server]);
    load.repeat_the_unanswered().await;
    load.repeat_the_answered().await;
    prove(&load, &exchange).await;
}

/// Stands before a server.
struct Proxy {
    url: String,
    cuts: Arc<Cuts>,
}

/// How many connections were cut, and where.
#[derive(Default)]
struct Cuts {
    /// When the request had been passed on, and nothing of its answer had come.
    before: AtomicUsize,
    /// When the answer had come, and nothing of it had been passed on.
    after: AtomicUsize,
}

impl Proxy {
    async fn start(server: &Server, mut dice: Dice) -> Self {
        let address = server.url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(Cuts::default());
        let counted = Arc::clone(&cuts);
        background(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, cuts) = (address.clone(), Arc::clone(&counted));
                let dice = Dice(dice.roll(u64::MAX));
                // Either side may go at any time: that is what this is for.
                background(async move { pass(client, &address, dice, &cuts).await.unwrap_or_default() });
            }
        });
        Self { url, cuts }
    }
}

async fn pass(mut client: TcpStream, address: &str, mut dice: Dice, cuts: &Cuts) -> std::io::Result<()> {
    let mut server = TcpStream::connect(address).await?;
    let (mut sent, mut said) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            count = client.read(&mut sent) => {
                let sent = &sent[..count?];
                if sent.is_empty() {
                    return Ok(());
                }
                server.write_all(sent).await?;
                match dice.roll(2 * CUT) {
                    0 => {
                        cuts.before.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    1 => {
                        let _answer = server.read(&mut said).await?;
                        cuts.after.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    _ => {}
                }
            }
            count = server.read(&mut said) => {
                let said = &said[..count?];
                if said.is_empty() {
                    return Ok(());
                }
                client.write_all(said).await?;
            }
        }
    }
}
