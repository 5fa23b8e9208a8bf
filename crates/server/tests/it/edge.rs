//! The server as the network sees it: real sockets, and clients that are slow, broken or many.

use std::time::{Duration, Instant};

use clawrk_server::edge::Limits;
use clawrk_server::serve;
use clawrk_server::telemetry::LogFormat;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::log::captured;
use crate::support::{TestApp, User};

/// Longer than anything that is meant to end.
const LONG: Duration = Duration::from_secs(60);

/// Nothing here may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

const SHORT: Duration = Duration::from_millis(300);

/// No time runs out, and nothing is counted.
fn unhurried() -> Limits {
    let [first_byte, head, body_pause, request, idle, unread] = [LONG; 6];
    Limits { first_byte, head, body_pause, request, idle, unread, requests_per_minute: 0, ..Limits::default() }
}

/// A running server.
struct Server {
    app: TestApp,
    address: std::net::SocketAddr,
}

/// Runs a server for as long as the test takes.
async fn on_server(limits: Limits, test: impl AsyncFnOnce(&Server)) {
    let app = TestApp::limited(limits).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve::serve(app.app.clone(), listener, std::future::pending());
    let server = Server { app, address };
    tokio::select! {
        ended = serving => panic!("the server ended: {ended:?}"),
        () = test(&server) => {}
    }
}

impl Server {
    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Everything that is answered on a fresh connection until it is closed.
    async fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    async fn agents(&self, user: &User) -> usize {
        user.get("/api/agents").await.expect(200).as_array().unwrap().len()
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that has answered already may have stopped listening.
        self.0.write_all(bytes.as_ref()).await.unwrap_or_default();
    }

    /// What comes until the server closes.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let read = read.unwrap_or_else(|_| panic!("the connection is still open after {text:?}"));
        // Not broken off, which could take back what was answered.
        read.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text
    }

    /// One answer with a Content-Length, head and body.
    async fn answer(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    assert_eq!(body.len(), length);
                    return text.into_owned();
                }
            }
            let mut buffer = [0; 4096];
            let read = timeout(PATIENCE, self.0.read(&mut buffer)).await.expect("an answer comes").unwrap();
            assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    /// When the server closed, nothing having been answered.
    async fn closed_after(&mut self, begun: Instant) -> Duration {
        assert_eq!(self.rest().await, "");
        begun.elapsed()
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request that would make an agent.
fn creation(user: &User, head: &str, body: &str) -> String {
    format!("POST /api/agents HTTP/1.1\r\nAuthorization: Bearer {}\r\n{head}\r\n\r\n{body}", user.key)
}

/// Asserts that there is one answer, an error in JSON, and that the connection ends with it.
#[track_caller]
fn refused(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(body["code"], code, "{body}");
    assert!(body["request_id"].is_string(), "{body}");
    assert!(head.contains(body["request_id"].as_str().unwrap()), "{head}");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    on_server(Limits { first_byte: SHORT, ..unhurried() }, async |server| {
        let begun = Instant::now();
        assert!(server.connect().await.closed_after(begun).await >= SHORT);
    })
    .await;
}

#[tokio::test]
async fn half_a_head_is_not_waited_for_even_if_it_comes_byte_by_byte() {
    on_server(Limits { head: SHORT, ..unhurried() }, async |server| {
        let (mut silent, mut slow, begun) = (server.connect().await, server.connect().await, Instant::now());
        silent.send(&HEALTH[..20]).await;
        for byte in HEALTH.bytes().cycle().take_while(|_| begun.elapsed() < SHORT * 2) {
            slow.send([if byte == b'\n' { b'x' } else { byte }]).await;
            sleep(SHORT / 20).await;
        }
        assert!(silent.closed_after(begun).await >= SHORT);
        assert_eq!(slow.rest().await, "");
        let mut in_time = server.connect().await;
        in_time.send(&HEALTH[..20]).await;
        sleep(SHORT / 3).await;
        in_time.send(&HEALTH[20..]).await;
        assert!(in_time.answer().await.starts_with("HTTP/1.1 200 "));
    })
    .await;
}

#[tokio::test]
async fn between_requests_a_connection_is_kept_for_a_while() {
    on_server(Limits { idle: SHORT, ..unhurried() }, async |server| {
        let mut client = server.connect().await;
        for _ in 0..3 {
            client.send(HEALTH).await;
            assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
            sleep(SHORT / 3).await;
        }
        let begun = Instant::now();
        assert!(client.closed_after(begun).await >= SHORT / 2);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_falls_silent_is_408() {
    on_server(Limits { body_pause: SHORT, ..unhurried() }, async |server| {
        let ada = server.app.user("ada", 0).await;
        let body = r#"{"name":"slow"}"#;
        let begun = Instant::now();
        let answer = server.ask(creation(&ada, "Host: x\r\nContent-Length: 15", &body[..5])).await;
        refused(&answer, 408, "body_timed_out");
        assert!(begun.elapsed() >= SHORT);
        let mut slow = server.connect().await;
        slow.send(creation(&ada, "Host: x\r\nContent-Length: 15", "")).await;
        for part in body.as_bytes().chunks(3) {
            sleep(SHORT / 3).await;
            slow.send(part).await;
        }
        let answer = slow.answer().await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_however_steady_it_is() {
    on_server(Limits { request: SHORT, ..unhurried() }, async |server| {
        let ada = server.app.user("ada", 0).await;
        let mut slow = server.connect().await;
        slow.send(creation(&ada, "Host: x\r\nContent-Length: 1000", "")).await;
        for _ in 0..20 {
            slow.send(" ").await;
            sleep(SHORT / 10).await;
        }
        refused(&slow.rest().await, 408, "body_timed_out");
    })
    .await;
}

#[tokio::test]
async fn a_pull_that_waits_is_cut_by_none_of_these() {
    let (first_byte, head, body_pause, idle, unread) = (SHORT, SHORT, SHORT, SHORT, SHORT);
    on_server(Limits { first_byte, head, body_pause, idle, unread, ..unhurried() }, async |server| {
        let ada = server.app.user("ada", 0).await;
        let mut client = server.connect().await;
        let (key, body) = (&ada.key, r#"{"wait_seconds":1}"#);
        let length = body.len();
        client
            .send(format!(
                "POST /api/jobs/pull HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        let begun = Instant::now();
        assert!(client.answer().await.starts_with("HTTP/1.1 204 "));
        assert!(begun.elapsed() >= SHORT * 3);
        client.send(HEALTH).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    })
    .await;
}

/// The caller's jobs, several megabytes, asked for by a client with little room.
async fn much(server: &Server) -> Client {
    let ada = server.app.user("ada", 10_000_000).await;
    for _ in 0..100 {
        ada.job(&"x".repeat(200), 5_00).await;
        let body = json!({"prompt": "x".repeat(32_000), "description": "y".repeat(32_000), "title": "t",
            "price_cents": 500, "time_limit_seconds": 600, "confirmed": true});
        ada.post("/api/jobs/run", body).await.expect(201);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let mut client = Client(socket.connect(server.address).await.unwrap());
    let key = &ada.key;
    client
        .send(format!("GET /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"))
        .await;
    client
}

#[tokio::test]
async fn who_reads_slowly_is_served_to_the_end() {
    let (first_byte, head, body_pause, idle) = (SHORT, SHORT, SHORT, SHORT);
    // What is posted before takes longer on a machine that is busy.
    let request = SHORT * 2;
    on_server(Limits { first_byte, head, body_pause, idle, request, ..unhurried() }, async |server| {
        let mut client = much(server).await;
        sleep(SHORT * 3).await;
        let answer = client.rest().await;
        assert!(answer.len() > 6_000_000, "{}", answer.len());
        assert!(answer.ends_with("]\r\n0\r\n\r\n"), "{:?}", &answer[answer.len() - 20..]);
    })
    .await;
}

#[tokio::test]
async fn who_reads_nothing_is_not_served_for_ever() {
    on_server(Limits { unread: SHORT, ..unhurried() }, async |server| {
        let mut client = much(server).await;
        sleep(SHORT * 4).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("]\r\n0\r\n\r\n"), "{}", answer.len());
    })
    .await;
}

#[tokio::test]
async fn heads_and_uris_have_their_bounds() {
    on_server(unhurried(), async |server| {
        let start = "GET /healthz HTTP/1.1\r\nHost: x\r\nA: ";
        let sized = |bytes: usize| format!("{start}{}\r\n\r\n{HEALTH}", "b".repeat(bytes - start.len() - 4));
        for bytes in [16_385, 300_000, 10_000_000] {
            refused(&server.ask(sized(bytes)).await, 431, "header_too_large");
        }
        let mut client = server.connect().await;
        client.send(&sized(16_384)[..16_384]).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
        let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n{HEALTH}", "A: b\r\n".repeat(64));
        refused(&server.ask(many).await, 431, "header_too_large");
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n{HEALTH}", "a".repeat(8192));
        refused(&server.ask(long).await, 414, "uri_too_long");
        refused(&server.ask("a".repeat(9000)).await, 414, "uri_too_long");
        let within = format!("GET /{} HTTP/1.1\r\nHost: x\r\n{}\r\n", "a".repeat(8191), "A: b\r\n".repeat(63));
        let mut client = server.connect().await;
        client.send(within).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 404 "));
    })
    .await;
}

#[tokio::test]
async fn what_could_be_framed_in_two_ways_is_refused_and_nothing_of_it_happens() {
    on_server(unhurried(), async |server| {
        let ada = server.app.user("ada", 0).await;
        let (body, chunks) = (r#"{"name":"smuggled"}"#, "13\r\n{\"name\":\"smuggled\"}\r\n0\r\n\r\n");
        for (head, body) in [
            ("Host: x\r\nContent-Length: 19\r\nTransfer-Encoding: chunked", chunks),
            ("Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 19", chunks),
            ("Content-Length: 19", body),
            ("Host: x\r\nHost: y\r\nContent-Length: 19", body),
            ("Host: x\r\nContent-Length: 19\r\nContent-Length: 20", body),
            ("Host: x\r\nTransfer-Encoding: x", body),
            ("Host: x\nContent-Length: 19", body),
            ("Host: x\r\nContent-Length: 19\r\nA: b\r\n c", body),
            ("Host: x\r\nContent-Length : 19", body),
        ] {
            let request = creation(&ada, head, body);
            let answer = server.ask(format!("{request}{HEALTH}")).await;
            refused(&answer, 400, "malformed_request");
            assert_eq!(server.agents(&ada).await, 1, "{head:?}");
            // It is the same in two parts, and after a good request that is answered in its turn.
            let mut client = server.connect().await;
            client.send(&format!("{HEALTH}{request}")[..HEALTH.len() + 30]).await;
            assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
            client.send(&request[30..]).await;
            refused(&client.rest().await, 400, "malformed_request");
            assert_eq!(server.agents(&ada).await, 1, "{head:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_expectation_that_cannot_be_met_is_417_and_a_fragment_is_400() {
    on_server(unhurried(), async |server| {
        let ada = server.app.user("ada", 0).await;
        let body = r#"{"name":"expected"}"#;
        let expecting = |what| creation(&ada, &format!("Host: x\r\nContent-Length: 19\r\nExpect: {what}"), body);
        for what in ["foo", "100-continue, foo", "100-continue\r\nExpect: foo"] {
            refused(&server.ask(expecting(what) + HEALTH).await, 417, "expectation_failed");
        }
        for target in ["/healthz#", "/healthz#a", "/healthz?a#b", "/#/healthz"] {
            let answer = server.ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n{HEALTH}")).await;
            refused(&answer, 400, "malformed_request");
        }
        assert_eq!(server.agents(&ada).await, 1);
        // Who waits to be asked for the body is asked for it.
        let mut client = server.connect().await;
        let (head, body) =
            expecting("100-continue").split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        client.send(head + "\r\n\r\n").await;
        assert_eq!(client.answer().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(body).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 201 "));
    })
    .await;
}

#[tokio::test]
async fn heads_that_are_refused_are_counted_and_those_too_many_fill_no_log() {
    let log = captured();
    on_server(Limits { requests_per_minute: 600, ..unhurried() }, async |server| {
        let ada = server.app.user("ada", 0).await;
        let (mut refusals, mut too_many) = (Vec::new(), Vec::new());
        for left in (0..60).rev() {
            let answer = server.ask(format!("GET / HTTP/1.1\r\n\r\n{HEALTH}")).await;
            refused(&answer, 400, "malformed_request");
            assert!(answer.contains(&format!("ratelimit-remaining: {left}\r\n")), "{answer}");
            refusals.push(answer);
        }
        for malformed in
            ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\n", "GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n"]
        {
            let answer = server.ask(format!("{malformed}{HEALTH}")).await;
            refused(&answer, 429, "rate_limited");
            let wait = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
            assert!((1..=60).contains(&wait.parse::<u32>().unwrap()), "{answer}");
            too_many.push(answer);
        }
        // They are strangers' requests like others, and lock no key out.
        let stranger = server.ask("GET /api/agents HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        refused(&stranger, 429, "rate_limited");
        too_many.push(stranger);
        assert_eq!(server.agents(&ada).await, 1);
        server.app.advance(60).await;
        refused(&server.ask("GET / HTTP/1.1\r\n\r\n").await, 400, "malformed_request");
        let lines = log.text(LogFormat::Text);
        for (answers, level) in [(refusals, " INFO "), (too_many, " DEBUG ")] {
            for answer in answers {
                let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
                let lines: Vec<_> = lines.lines().filter(|line| line.contains(id)).collect();
                assert!(lines.len() == 1 && lines[0].contains(level), "{lines:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_waits_for_the_answers_before_it() {
    on_server(unhurried(), async |server| {
        let answer = server.ask(format!("{HEALTH}{HEALTH}GET / HTTP/1.1\r\n\r\n{HEALTH}")).await;
        let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    })
    .await;
}

#[tokio::test]
async fn requests_in_any_pieces_are_one_and_the_same() {
    on_server(unhurried(), async |server| {
        let ada = server.app.user("ada", 0).await;
        let request =
            |name: String| creation(&ada, "Host: x\r\nContent-Length: 14", &format!("{{\"name\":\"{name}\"}}"));
        let length = request("000".to_owned()).len();
        let splits = [1, 30, length - 15, length - 14, length - 1, length, length + 1, length + 40];
        let pieces =
            splits.map(|at| vec![at]).into_iter().chain([(1..length * 2).collect(), vec![30, 60, length + 30]]);
        let mut made = 1;
        for splits in pieces {
            let both = request(format!("{made:03}")) + &request(format!("{:03}", made + 1));
            made += 2;
            let mut client = server.connect().await;
            client.0.set_nodelay(true).unwrap();
            let mut begun = 0;
            for end in splits.into_iter().chain([both.len()]) {
                client.send(&both[begun..end]).await;
                begun = end;
                sleep(Duration::from_millis(1)).await;
            }
            let mut answers = String::new();
            while answers.matches("HTTP/1.1 201 ").count() < 2 {
                let mut buffer = [0; 4096];
                let read = timeout(PATIENCE, client.0.read(&mut buffer)).await.expect(&answers).unwrap();
                assert!(read > 0, "{answers}");
                answers.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            assert_eq!(server.agents(&ada).await, made);
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_in_chunks_is_the_last_of_its_connection() {
    on_server(unhurried(), async |server| {
        let ada = server.app.user("ada", 0).await;
        let head = "Host: x\r\nTransfer-Encoding: chunked";
        let answer = server.ask(creation(&ada, head, "7\r\n{\"name\"\r\n5\r\n:\"a\"}\r\n0\r\n\r\n") + HEALTH).await;
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        for chunks in ["c\n{\"name\":\"b\"}\r\n0\r\n\r\n", "x\r\n{}\r\n0\r\n\r\n", "c\r\n{\"name\":\"b\"}0\r\n\r\n"] {
            refused(&server.ask(creation(&ada, head, chunks) + HEALTH).await, 400, "malformed_request");
        }
        assert_eq!(server.agents(&ada).await, 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_arrives_although_the_body_was_not_read() {
    on_server(unhurried(), async |server| {
        let nobody = server.app.anonymous();
        let body = "x".repeat(3 << 20);
        let head = format!("Host: x\r\nContent-Length: {}", body.len());
        let ada = server.app.user("ada", 0).await;
        for (user, status) in [(&nobody, 401), (&ada, 413)] {
            // What the server does not take has no other place to be.
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(32 << 10).unwrap();
            let mut client = Client(socket.connect(server.address).await.unwrap());
            client.0.write_all(creation(user, &head, &body).as_bytes()).await.expect("all of it is taken");
            let answer = client.rest().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_read_loses_no_request_behind_it() {
    on_server(unhurried(), async |server| {
        let ada = server.app.user("ada", 0).await;
        let large = " ".repeat(200_000);
        for (path, key, body, status, goes_on) in [
            ("/api/agents", "", "{}", 401, true),
            ("/api/nowhere", &*ada.key, "{}", 404, true),
            ("/api/whoami", &*ada.key, "{}", 200, true),
            ("/api/agents", "", &*large, 401, false),
            ("/api/whoami", &*ada.key, &*large, 200, false),
        ] {
            let mut client = server.connect().await;
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"
            );
            // As many clients do: the body follows its head.
            client.send(head).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.send(body.to_owned()).await;
            let answer = client.answer().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert_eq!(answer.contains("connection: close\r\n"), !goes_on, "{path}, {length} bytes: {answer}");
            if goes_on {
                client.send(HEALTH).await;
                assert!(client.answer().await.starts_with("HTTP/1.1 200 "), "{path}: the next one is lost");
            }
        }
        // Whoever waits to be asked for its body is told at once that nobody wants it.
        let mut client = server.connect().await;
        client.send("POST /api/agents HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("connection: close\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_there_may_be() {
    on_server(Limits { connections: Some(3), ..unhurried() }, async |server| {
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut client = server.connect().await;
            client.send(HEALTH).await;
            client.answer().await;
            open.push(client);
        }
        let turned_away = server.connect().await.rest().await;
        assert!(turned_away.starts_with("HTTP/1.1 503 "), "{turned_away:?}");
        let body: Value = serde_json::from_str(turned_away.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["code"], "too_many_connections");
        open.pop();
        let admitted = async {
            loop {
                let mut client = server.connect().await;
                client.send(format!("{}Connection: close\r\n\r\n", &HEALTH[..HEALTH.len() - 2])).await;
                let mut status = [0; 13];
                client.0.read_exact(&mut status).await.unwrap_or_default();
                if status.ends_with(b"200 ") {
                    break;
                }
            }
        };
        timeout(PATIENCE, admitted).await.expect("a place that is free again is given");
    })
    .await;
}

#[tokio::test]
async fn json_is_read_strictly_in_unknown_fields_too() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 10_00).await;
    let deep = |depth: usize| format!(r#"{{"name":"deep","x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    let [too_deep, deep] = [deep(33), deep(32)];
    for body in [
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a","x":{"y":1,"\u0079":2}}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":"a","x":"\ud800"}"#,
        r#"{"name":"a","x":1e999}"#,
        &too_deep,
    ] {
        for once in [&[][..], &[("idempotency-key", body)][..1]] {
            let once: Vec<_> = once.iter().map(|(name, _)| (*name, "k")).collect();
            let answer = ada.send("POST", "/api/agents", Some(body.as_bytes().to_vec()), &once).await;
            answer.refused(400, "malformed_request");
        }
    }
    ada.send("POST", "/api/agents", Some(deep.into_bytes()), &[]).await.expect(201);
    for number in ["9223372036854775808", "-9223372036854775809", "1e2", "100.5", "18446744073709551616"] {
        let body = format!(r#"{{"prompt":"x","price_cents":{number}}}"#);
        ada.send("POST", "/api/jobs/run", Some(body.into_bytes()), &[]).await.refused(400, "malformed_request");
    }
}
