//! More clients than the server has room for: it says so, keeps its memory, and goes on when they are gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exchange::{Exchange, User};

/// A server whose process can be looked at; killed when dropped.
pub(crate) struct Watched {
    child: Child,
    address: SocketAddr,
}

impl Watched {
    /// Starts one that may open so many files.
    pub(crate) fn with_files(exchange: &Exchange, files: usize) -> Self {
        let plain = exchange.command(["serve"]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" serve")).arg(plain.get_program());
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(plain.get_current_dir().unwrap()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = log.find_map(|line| line.split_once("http://")?.1.split(',').next()?.parse().ok());
        // Read to the end, as somebody would who keeps the log.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address: address.expect("the server says where it listens") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub(crate) fn is_ready(&self) -> bool {
        let mut stream = self.connect();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn most_memory(&self) -> usize {
        most_memory(self.child.id()).unwrap()
    }

    /// The most memory that it has had, once it is done with all that it does at its start: some of that is done after it
    /// says that it is ready.
    #[expect(clippy::disallowed_methods, reason = "other processes are waited for")]
    pub(crate) fn memory_at_rest(&self) -> usize {
        assert!(self.is_ready());
        let (mut most, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_secs(1) {
            if self.most_memory() > most {
                (most, since) = (self.most_memory(), Instant::now());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        most
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The most memory that a process ever had, in bytes; none once it has ended.
pub(crate) fn most_memory(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

#[test]
fn with_few_file_descriptors_a_crowd_passes_and_the_server_goes_on() {
    let exchange = Exchange::sqlite();
    let mut server = Watched::with_files(&exchange, 256);
    let crowd: Vec<TcpStream> = (0..700).map(|_| server.connect()).collect();
    // Its database needs files while every place is taken.
    exchange.user("somebody", 100);
    let last = &mut crowd.last().unwrap();
    let mut told = String::new();
    last.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("too_many_connections"), "{told:?}");
    assert_eq!(server.child.try_wait().unwrap(), None, "it lives");
    drop(crowd);
    let gone = Instant::now();
    while !server.is_ready() {
        assert!(gone.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn many_bodies_that_are_too_large_take_little_memory() {
    // Without an end that was announced: only the last part shows how large a body is.
    for (path, limit_mib) in [("/api/agents", 1), ("/api/jobs/000000000000/submit", 4)] {
        let exchange = Exchange::sqlite();
        let user = exchange.user("ada", 0);
        let server = Watched::with_files(&exchange, 1024);
        let before = server.memory_at_rest();
        crowd(|_| too_large(&server, &user, path, limit_mib << 20));
        let grown = (server.most_memory() - before) >> 20;
        println!("{path}: {grown} MiB more");
        assert!(grown < 50, "{path}: {grown} MiB more");
    }
}

#[test]
fn as_many_submissions_as_large_as_may_be_are_all_taken_in_their_turns() {
    let exchange = Exchange::sqlite().with("CLAWRK_RATE_LIMIT_PER_MINUTE", "0");
    // As many as may have enough agents.
    let users: Vec<User> = (0..CROWD / AGENTS).map(|n| exchange.user(&format!("user {n}"), 1_000_000)).collect();
    let server = Watched::with_files(&exchange, 1024);
    let before = server.memory_at_rest();
    let places = crowd(|n| accepted(&server, &users[n / AGENTS], n));
    crowd(|n| {
        let (user, path) = (&users[n / AGENTS], &places[n]);
        let (says, beside) = (format!("this is work {n}"), "x".repeat((4 << 20) - 100));
        let body = format!("{{\"output_text\":\"{says}\",\"beside\":\"{beside}\"}}");
        let answer = loop {
            let (head, answer) = ask(&server, user, path, &body);
            if !head.starts_with("HTTP/1.1 503 ") {
                assert!(head.starts_with("HTTP/1.1 200 "), "{head} {answer}");
                break answer;
            }
            // It was let wait for long, and asks again.
            assert!(head.contains("retry-after: "), "{head}");
        };
        assert!(answer.contains(&says), "{answer}");
    });
    let grown = (server.most_memory() - before) >> 20;
    println!("{grown} MiB more");
    assert!(grown < 50, "{grown} MiB more");
    exchange.audit();
}

const CROWD: usize = 200;
/// Of one user.
const AGENTS: usize = 50;

/// So many clients at once, each with its number.
fn crowd<T: Send>(each: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let each = &each;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CROWD).map(|n| scope.spawn(move || each(n))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Sends a body in chunks: first all that is allowed, then more.
fn too_large(server: &Watched, user: &User, path: &str, limit: usize) {
    let mut stream = server.connect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        user.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    for _ in 0..(limit >> 16) + 4 {
        stream.write_all(chunk.as_bytes()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
}

/// Where an agent of its own may submit work.
fn accepted(server: &Watched, user: &User, n: usize) -> String {
    let done = |path: &str, body: &str| {
        let (head, answer) = ask(server, user, path, body);
        assert!(head.starts_with("HTTP/1.1 2"), "{head} {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let agent = done("/api/agents", &format!("{{\"name\":\"agent {n}\"}}"));
    let job = done("/api/jobs/run", r#"{"prompt":"work","price_cents":500,"time_limit_seconds":600,"confirmed":true}"#);
    done(&format!("/api/jobs/{job}/claim"), &format!("{{\"agent_id\":\"{agent}\"}}"));
    done(&format!("/api/jobs/{job}/accept"), "{}");
    format!("/api/jobs/{job}/submit")
}

/// Asks on a connection of its own; the head of the answer, and its body.
fn ask(server: &Watched, user: &User, path: &str, body: &str) -> (String, String) {
    let mut stream = server.connect();
    let (key, length) = (&user.key, body.len());
    let head = format!("Authorization: Bearer {key}\r\nContent-Length: {length}\r\nConnection: close");
    stream.write_all(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}
