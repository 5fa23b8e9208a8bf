//! Servers as processes of their own, and clients that keep them busy.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::place::Place;

/// A server process; killed when dropped.
pub(crate) struct Server {
    /// Such as `127.0.0.1:40000`.
    pub(crate) address: String,
    child: Child,
}

impl Server {
    /// Our own, on the data in this place; limits are kept count of, and never reached.
    pub(crate) fn ours(place: &Place) -> Self {
        Self::limited(place, 1_000_000)
    }

    /// The same, with so many requests a minute; 0 for no limits.
    pub(crate) fn limited(place: &Place, requests_per_minute: u32) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawrk"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--rate-limit-per-minute", &requests_per_minute.to_string()]);
        match place {
            Place::Folder(folder) => command.arg("--data-dir").arg(folder.path()),
            Place::Database(database) => command.args([
                "--database-url",
                &database.url,
                "--secret-key",
                "a secret for the benchmark, long enough",
            ]),
        };
        Self::start(command)
    }

    /// What the process keeps in memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    }

    /// The bare one.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
        command.arg("--serve-anchor");
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let quiet = command.env("CLAWRK_LOG", "info").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = quiet.spawn().expect("the server starts");
        let (out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let (tell, told) = std::sync::mpsc::channel();
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let tell = tell.clone();
            // Read to the end, as somebody would who keeps the log.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some((_, rest)) = line.split_once("listens on http://") {
                        let address = rest.split([',', ' ']).next().unwrap_or_default().to_owned();
                        tell.send(address).unwrap_or_default();
                    }
                }
            });
        }
        let address = told.recv_timeout(Duration::from_secs(60)).expect("the server says where it listens");
        Self { address, child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

/// One connection to a server, kept open.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket has options");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("the server speaks HTTP");
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Self { sender, address: address.to_owned() }
    }

    /// Sends a request with a key; the answer's status and body.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, key: &str, body: &str) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .expect("the request is well formed");
        self.sender.ready().await.expect("the server keeps the connection");
        let answer = self.sender.send_request(request).await.expect("the server answers");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("the answer is whole").to_bytes())
    }
}

/// Times a worker's operations until the measurement is over.
pub(crate) struct Watch {
    end: Instant,
    times: Vec<Duration>,
}

impl Watch {
    /// Whether there is time for another operation.
    pub(crate) fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Carries out an operation and notes how long it took.
    pub(crate) async fn time<T>(&mut self, operation: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = operation.await;
        self.times.push(begun.elapsed());
        done
    }
}

/// What a load came to: operations a second, and the time that 99 of 100 stayed within, in milliseconds.
pub(crate) async fn measure<W, F>(workers: Vec<W>, lasting: Duration) -> (f64, f64)
where
    W: FnOnce(Watch) -> F,
    F: Future<Output = Watch> + Send + 'static,
{
    let started = Instant::now();
    let end = started + lasting;
    let running = workers.into_iter().map(|work| tokio::spawn(work(Watch { end, times: Vec::new() })));
    let watches = join_all(running.collect::<Vec<_>>()).await;
    let elapsed = started.elapsed();
    let mut times: Vec<Duration> =
        watches.into_iter().flat_map(|watch| watch.expect("no worker panics").times).collect();
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    (times.len() as f64 / elapsed.as_secs_f64(), p99.as_secs_f64() * 1000.0)
}
