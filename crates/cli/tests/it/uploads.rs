//! Files on their way: from the command line and back, through a server that has little memory, and one that dies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crowds::{Watched, most_memory};
use crate::exchange::{Exchange, Server, User};

/// The largest file unless the operator says otherwise.
const LARGEST: usize = 26_214_400;
const FORM: &str = "Content-Type: multipart/form-data; boundary=edge";
const HEAD: &str = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
const TAIL: &str = "\r\n--edge--\r\n";

/// The head of an upload, all that stands before its file's first byte.
fn begin(address: &str, user: &User, size: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let (key, length) = (&user.key, HEAD.len() + size + TAIL.len());
    let head = format!("Authorization: Bearer {key}\r\n{FORM}\r\nContent-Length: {length}\r\nConnection: close");
    stream.write_all(format!("POST /api/uploads HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{HEAD}").as_bytes()).unwrap();
    stream
}

fn address(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// The names in the folder of the exchange's files.
fn kept(exchange: &Exchange) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(exchange.data().join("uploads")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "other processes are waited for")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within half a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a row of the database says.
fn number(exchange: &Exchange, sql: &str) -> i64 {
    let database = rusqlite::Connection::open(exchange.data().join("clawrk.db")).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn many_files_as_large_as_may_be_take_little_memory() {
    const CLIENTS: usize = 32;
    let exchange = Exchange::sqlite().with("CLAWRK_RATE_LIMIT_PER_MINUTE", "0");
    let user = exchange.user("ada", 0);
    let server = Watched::with_files(&exchange, 1024);
    let before = server.memory_at_rest();
    let address = server.address().to_string();
    let piece = vec![7; 64 << 10];
    // All of them are half through before the first one comes to its end.
    let half = std::sync::Barrier::new(CLIENTS);
    let upload = || {
        let (mut stream, pieces) = (begin(&address, &user, LARGEST), LARGEST / piece.len());
        (0..pieces / 2).for_each(|_| stream.write_all(&piece).unwrap());
        half.wait();
        (pieces / 2..pieces).for_each(|_| stream.write_all(&piece).unwrap());
        stream.write_all(TAIL.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    };
    std::thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(upload))));
    let grown = (server.most_memory() - before) >> 20;
    println!("{grown} MiB more");
    // A fifth of what all of them have together.
    assert!(grown < 160, "{grown} MiB more");
    assert_eq!(number(&exchange, "SELECT SUM(size_bytes) FROM uploads"), (CLIENTS * LARGEST) as i64);
}

#[test]
fn a_client_that_hangs_up_in_the_midst_of_a_file_leaves_nothing() {
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 0);
    let server = exchange.serve();
    let mut stream = begin(address(&server), &user, LARGEST);
    stream.write_all(&vec![7; 4 << 20]).unwrap();
    until("a part of it is on the disk", || kept(&exchange).len() == 1);
    drop(stream);
    until("it is gone", || kept(&exchange).is_empty());
    assert_eq!(number(&exchange, "SELECT COUNT(*) FROM uploads"), 0);
    exchange.audit();
}

#[test]
fn a_server_killed_in_the_midst_of_a_file_serves_nothing_of_it_and_sweeps_it_up() {
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 0);
    let first = exchange.serve();
    let mut stream = begin(address(&first), &user, LARGEST);
    stream.write_all(&vec![7; 4 << 20]).unwrap();
    until("a part of it is on the disk", || kept(&exchange).len() == 1);
    first.kill();
    drop(stream);
    let left = kept(&exchange);
    assert!(left.len() == 1 && left[0].contains('#'), "{left:?}");
    let id = left[0].split('#').next().unwrap().to_owned();

    let again = exchange.serve();
    assert_eq!(number(&exchange, "SELECT COUNT(*) FROM uploads"), 0, "and none of the quota is used");
    let refused = again.command(&exchange, &user, &["download", &id, "-o", "-"]).output().unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("No such upload"), "{refused:?}");
    assert_eq!(kept(&exchange), left, "it may be another server's that is still at it");
    drop(again);

    // As if an hour had gone by: what is left over is called after the time when it came.
    let uploads = exchange.data().join("uploads");
    let old = format!("01800000-0000{}", &left[0][13..]);
    std::fs::rename(uploads.join(&left[0]), uploads.join(old)).unwrap();
    let last = exchange.serve();
    until("it is swept up", || kept(&exchange).is_empty());
    drop(last);
    exchange.audit();
}

/// Its peak memory, looked at until it ends, in bytes.
fn watched(child: &mut Child) -> usize {
    let mut most = 0;
    until("the command ends", || {
        most = most_memory(child.id()).unwrap_or(0).max(most);
        child.try_wait().unwrap().is_some()
    });
    most
}

/// A file of that size which takes no room on the disk.
fn large(exchange: &Exchange, size: u64) -> PathBuf {
    let path = exchange.folder().join("large.bin");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

#[test]
fn a_large_file_goes_up_and_comes_down_in_pieces() {
    const SIZE: u64 = 300 << 20;
    let exchange = Exchange::sqlite().with("CLAWRK_UPLOAD_MAX_BYTES", SIZE.to_string());
    let user = exchange.user("ada", 1000);
    let server = exchange.serve();
    let path = large(&exchange, SIZE);
    let run = ["run", "Sum it up", "--price", "500", "-y", "--json", "--attach", path.to_str().unwrap()];
    let mut child = server.command(&exchange, &user, &run).stdout(Stdio::piped()).spawn().unwrap();
    let grown = watched(&mut child) >> 20;
    let job: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    println!("{grown} MiB for 300");
    assert!(grown < 100, "{grown} MiB");
    assert_eq!(job["attachments"][0]["size"], SIZE);
    let id = job["attachments"][0]["id"].as_str().unwrap();
    let mut child =
        server.command(&exchange, &user, &["download", id, "-o", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let read = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!((read, child.wait().unwrap().success()), (SIZE, true));
    assert!(!exchange.folder().join("-").exists());
}

#[test]
fn a_file_goes_to_stdout_as_it_is_and_not_between_other_things() {
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 1000);
    let server = exchange.serve();
    let bytes = b"\x1b[31m\0\xff\r\n".repeat(1000);
    std::fs::write(exchange.folder().join("a.bin"), &bytes).unwrap();
    let run = ["run", "Sum it up", "--price", "500", "-y", "--attach", "a.bin"];
    let job = server.json(&exchange, &user, &run);
    let id = job["attachments"][0]["id"].as_str().unwrap();
    let came = server.command(&exchange, &user, &["download", id, "-o", "-"]).output().unwrap();
    assert!(came.status.success() && came.stdout == bytes && came.stderr.is_empty(), "{came:?}");
    let both = server.command(&exchange, &user, &["download", id, "-o", "-", "--json"]).output().unwrap();
    assert_eq!((both.status.code(), both.stdout.is_empty()), (Some(2), true), "{both:?}");
    assert!(!exchange.folder().join("-").exists());
}

#[test]
fn a_file_that_is_too_large_is_refused_in_words() {
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 1000);
    let server = exchange.serve();
    let path = large(&exchange, 200 << 20);
    let run = ["run", "Sum it up", "--price", "500", "-y", "--attach", path.to_str().unwrap()];
    let refused = server.command(&exchange, &user, &run).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("26214400"), "{said}");
}

#[test]
fn a_backup_says_that_files_are_not_in_it_and_where_they_are() {
    let exchange = Exchange::sqlite();
    let user = exchange.user("ada", 1000);
    let backup = exchange.folder().join("backup.db");
    let back_up = || {
        let arguments = ["admin", "backup", backup.to_str().unwrap(), "--force"];
        let told = exchange.json(arguments.into_iter().chain(["--json"]));
        let said = exchange.command(arguments).output().unwrap();
        (told, String::from_utf8(said.stderr).unwrap())
    };
    let uploads = exchange.data().join("uploads").display().to_string();
    let (told, said) = back_up();
    assert_eq!((&told["uploads"], &told["uploads_included"]), (&0.into(), &false.into()));
    assert!(!said.contains("uploaded file"), "{said}");
    let server = exchange.serve();
    std::fs::write(exchange.folder().join("a.txt"), "canary of the file").unwrap();
    server.json(&exchange, &user, &["run", "Sum it up", "--price", "500", "-y", "--attach", "a.txt"]);
    drop(server);
    let (told, said) = back_up();
    assert_eq!((&told["uploads"], &told["uploads_bytes"]), (&1.into(), &18.into()));
    assert_eq!(told["uploads_at"], uploads.as_str());
    assert!(said.contains(&format!("1 uploaded file (18 bytes) is not in it: copy {uploads} now")), "{said}");
    let bytes = std::fs::read(&backup).unwrap();
    assert!(!bytes.windows(18).any(|window| window == b"canary of the file"));
    let restored = exchange.command(["admin", "restore", backup.to_str().unwrap(), "--force"]).output().unwrap();
    let said = String::from_utf8(restored.stderr).unwrap();
    assert!(said.contains(&format!("are in {uploads}")), "{said}");
}
