//! More clients than the server has room for: it says so, keeps its memory, and goes on when they are gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exchange::{Exchange, User};

/// A server whose process can be looked at; killed when dropped.
struct Watched {
    child: Child,
    address: SocketAddr,
}

impl Watched {
    /// Starts one that may open so many files.
    fn with_files(exchange: &Exchange, files: usize) -> Self {
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
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn is_ready(&self) -> bool {
        let mut stream = self.connect();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }

    /// The most memory that it ever had, in bytes.
    fn most_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }
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
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 0);
    let server = Watched::with_files(&exchange, 1024);
    assert!(server.is_ready());
    let before = server.most_memory();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| too_large(&server, &user));
        }
    });
    let grown = server.most_memory() - before;
    assert!(grown < 96 << 20, "{} MiB more", grown >> 20);
}

/// Sends a body in chunks, so that only its end shows how large it is: first nearly all that is allowed, then more.
fn too_large(server: &Watched, user: &User) {
    let mut stream = server.connect();
    let head = format!(
        "POST /api/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        user.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    for _ in 0..20 {
        stream.write_all(chunk.as_bytes()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
}
