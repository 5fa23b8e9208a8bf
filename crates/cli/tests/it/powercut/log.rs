//! The recorder (`crashlog.c`) and what it wrote down, in the order in which it happened.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("crashlog.c");

/// One thing that was done to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A file or a folder came into being, under a name.
    Created { number: u64, name: &'a str, folder: bool },
    /// Bytes were written into a file.
    Wrote { number: u64, at: u64, bytes: &'a [u8] },
    /// A file was made this long.
    Length { number: u64, length: u64 },
    /// A file or a folder was synced.
    Synced { number: u64 },
    /// A name went.
    Removed { name: &'a str },
    /// A name became another, which goes if it was there.
    Renamed { from: &'a str, to: &'a str },
    /// A file was mapped into memory, to be written to behind the recorder's back.
    Mapped { number: u64 },
}

/// An event and where its record ends in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) event: Event<'a>,
    pub(super) end: u64,
}

/// Compiles the recorder into this folder.
pub(super) fn recorder(into: &Path) -> PathBuf {
    let (source, library) = (into.join("crashlog.c"), into.join("crashlog.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
    let output = compiler.arg(&library).arg(&source).arg("-ldl").output();
    let output = output.unwrap_or_else(|error| panic!("power cuts need a C compiler named cc: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the recorder does not compile here; it is made for Linux and glibc:\n{said}");
    library
}

/// The entries of a log, from its bytes.
pub(super) fn entries(log: &[u8]) -> Vec<Entry<'_>> {
    assert!(
        !log.is_empty(),
        "nothing was recorded: LD_PRELOAD does not work here, or the program is linked statically"
    );
    let (mut rest, mut entries) = (log, Vec::new());
    while !rest.is_empty() {
        let event = next(&mut rest);
        entries.push(Entry { event, end: (log.len() - rest.len()) as u64 });
    }
    entries
}

/// Takes the first record off the log: a header of 32 bytes, names, bytes.
fn next<'a>(log: &mut &'a [u8]) -> Event<'a> {
    let header = take(log, 32);
    let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().unwrap());
    let names = u32::from_ne_bytes(header[4..8].try_into().unwrap());
    let (number, at, size) = (word(8), word(16), word(24));
    let names = std::str::from_utf8(take(log, names.into())).unwrap();
    let bytes = take(log, size);
    match header[0] {
        b'c' => Event::Created { number, name: names, folder: false },
        b'd' => Event::Created { number, name: names, folder: true },
        b'w' => Event::Wrote { number, at, bytes },
        b't' => Event::Length { number, length: at },
        b's' => Event::Synced { number },
        b'u' => Event::Removed { name: names },
        b'r' => {
            let (from, to) = names.split_once('\0').unwrap();
            Event::Renamed { from, to }
        }
        b'm' => Event::Mapped { number },
        other => panic!("the recorder writes no {other}"),
    }
}

fn take<'a>(log: &mut &'a [u8], size: u64) -> &'a [u8] {
    let (taken, rest) = log.split_at(usize::try_from(size).unwrap());
    *log = rest;
    taken
}
