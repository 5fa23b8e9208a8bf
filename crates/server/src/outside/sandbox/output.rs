//! What a command prints: cut into lines as it comes, and counted.
//!
//! A line is told without its end; what is not UTF-8 is replaced, control characters stay. It is told whole, however long
//! it is: whoever hears it takes the job's variables out (`verify/scrub.rs`), and a value that was cut in two would not be
//! found in either piece. What is left when there is too much is not told.

use super::limits;

/// Where a command prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Cuts what comes into lines, and stops at the limit.
pub(super) struct Printed<F> {
    tell: F,
    out: Vec<u8>,
    err: Vec<u8>,
    left: usize,
}

/// The command printed more than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl<F: FnMut(Stream, &str)> Printed<F> {
    pub(super) fn new(tell: F) -> Self {
        Self { tell, out: Vec::new(), err: Vec::new(), left: limits::OUTPUT }
    }

    /// Takes what came, tells whole lines.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), TooMuch> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.waiting(stream).extend_from_slice(&bytes[..taken]);
        // What was there before has no end in it.
        let mut seen = self.waiting(stream).len() - taken;
        while let Some(end) = memchr::memchr(b'\n', &self.waiting(stream)[seen..]) {
            let rest = self.waiting(stream).split_off(seen + end + 1);
            let line = std::mem::replace(self.waiting(stream), rest);
            self.tell(stream, &line);
            seen = 0;
        }
        if taken == bytes.len() {
            return Ok(());
        }
        self.out.clear();
        self.err.clear();
        Err(TooMuch)
    }

    /// Tells the lines that have no end.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let line = std::mem::take(self.waiting(stream));
            if !line.is_empty() {
                self.tell(stream, &line);
            }
        }
    }

    fn waiting(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn tell(&mut self, stream: Stream, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        (self.tell)(stream, &String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(chunks: &[(Stream, &[u8])]) -> (Vec<(Stream, String)>, bool) {
        let mut lines = Vec::new();
        let mut printed = Printed::new(|stream, line| lines.push((stream, line.to_owned())));
        let whole = chunks.iter().all(|(stream, bytes)| printed.take(*stream, bytes).is_ok());
        printed.finish();
        drop(printed);
        (lines, whole)
    }

    fn texts(lines: &[(Stream, String)]) -> Vec<&str> {
        lines.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn lines_are_told_when_they_are_whole_each_with_its_stream() {
        let chunks: [(Stream, &[u8]); 4] =
            [(Stream::Out, b"one\ntw"), (Stream::Err, b"oh\r\n"), (Stream::Out, b"o\n\nlast"), (Stream::Err, b"\xffx")];
        let (lines, whole) = told(&chunks);
        assert!(whole);
        assert_eq!(texts(&lines), ["one", "oh", "two", "", "last", "\u{fffd}x"]);
        assert_eq!((lines[1].0, lines[2].0), (Stream::Err, Stream::Out));
    }

    #[test]
    fn a_long_line_is_told_whole() {
        for lead in [0, 8_180, 8_188, 100_000] {
            let text = "x".repeat(lead) + "secret-canary" + &"a€😀".repeat(5_000);
            let chunks: Vec<(Stream, &[u8])> =
                text.as_bytes().chunks(4_096).map(|chunk| (Stream::Out, chunk)).collect();
            let (lines, whole) = told(&chunks);
            assert!(whole);
            assert_eq!(texts(&lines), [text]);
        }
    }

    #[test]
    fn more_than_the_limit_is_not_told() {
        let flood = vec![b'y'; limits::OUTPUT - 2];
        assert!(told(&[(Stream::Out, &flood)]).1);
        let (lines, whole) = told(&[(Stream::Out, b"a\n"), (Stream::Out, &flood), (Stream::Err, b"y")]);
        assert!(!whole);
        assert_eq!(texts(&lines), ["a"], "a line without its end may hold the beginning of a value");
    }
}
