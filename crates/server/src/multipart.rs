//! A form with one file in it, read as it comes: never more of it in memory than what arrived together.
//!
//! Strict, since two programs in a row could read anything else differently: the form begins with its boundary, has one
//! part, and ends with the boundary's end.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use memchr::memmem;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::edge::Limits;

/// The longest head of a part, in bytes.
const HEAD_BYTES: usize = 8 << 10;
/// What may stand behind the form's end, in bytes.
const EPILOGUE_BYTES: usize = 1 << 10;
/// What may stand around the file in its form, in bytes.
pub(crate) const AROUND_BYTES: u64 = 16 << 10;

/// A form that is being read.
pub(crate) struct Form {
    body: Body,
    limits: Limits,
    end: Instant,
    /// A line end, two dashes, and the boundary.
    delimiter: Vec<u8>,
    /// What has come and was not given out.
    buffer: Vec<u8>,
    file_is_over: bool,
}

/// What the form says about its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) content_type: Option<String>,
}

impl Form {
    /// A form of which nothing is read yet.
    pub(crate) fn new(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Self, Error> {
        let boundary = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(boundary);
        let boundary = boundary.ok_or_else(|| {
            Error::malformed("The request must be multipart/form-data with a boundary, and have one file")
        })?;
        let end = Instant::now() + limits.upload / 10 * 9;
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter has no line before it.
        Ok(Self { body, limits, end, delimiter, buffer: b"\r\n".to_vec(), file_is_over: false })
    }

    /// Reads up to the file's first byte.
    pub(crate) async fn head(&mut self) -> Result<Head, Error> {
        let start = self.delimiter.len();
        while self.buffer.len() < start + 2 {
            self.must_go_on().await?;
        }
        if !self.buffer.starts_with(&self.delimiter) {
            return Err(Error::malformed("The form must begin with its boundary"));
        }
        if &self.buffer[start..start + 2] != b"\r\n" {
            return Err(Error::malformed("The form has no file"));
        }
        loop {
            let so_far = &self.buffer[start..self.buffer.len().min(start + HEAD_BYTES)];
            if let Some(end) = memmem::find(so_far, b"\r\n\r\n") {
                let head = head(&so_far[2..end.max(2)])?;
                self.buffer.drain(..start + end + 4);
                return Ok(head);
            }
            if so_far.len() == HEAD_BYTES {
                return Err(Error::malformed(format!("The head of the form's part has more than {HEAD_BYTES} bytes")));
            }
            self.must_go_on().await?;
        }
    }

    /// The next bytes of the file; none at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        while !self.file_is_over {
            if let Some(end) = memmem::find(&self.buffer, &self.delimiter) {
                self.file_is_over = true;
                let last = self.buffer.drain(..end).collect();
                return Ok(Some(last));
            }
            let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if safe > 0 {
                return Ok(Some(self.buffer.drain(..safe).collect()));
            }
            self.must_go_on().await?;
        }
        Ok(None)
    }

    /// Reads to the form's end, which must be right behind the file.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        let start = self.delimiter.len();
        while self.buffer.len() < start + 2 {
            self.must_go_on().await?;
        }
        if &self.buffer[start..start + 2] != b"--" {
            return Err(Error::malformed("The form must have exactly one part: the file"));
        }
        while self.more().await? {
            if self.buffer.len() > start + EPILOGUE_BYTES {
                return Err(Error::malformed("The form goes on behind its end"));
            }
        }
        Ok(())
    }

    /// Reads on for the refusal to be seen, and forgets what comes; up to so many bytes.
    pub(crate) async fn drain(mut self, most: usize) -> Result<(), Error> {
        let mut drained = 0;
        while drained <= most {
            drained += self.buffer.len();
            self.buffer.clear();
            if !self.more().await? {
                break;
            }
        }
        Ok(())
    }

    async fn must_go_on(&mut self) -> Result<(), Error> {
        if self.more().await? { Ok(()) } else { Err(Error::malformed("The form ended early")) }
    }

    /// Waits for what comes next; false at the body's end.
    async fn more(&mut self) -> Result<bool, Error> {
        let pause_ends = Instant::now() + self.limits.body_pause;
        let frame = timeout_at(self.end.min(pause_ends), self.body.frame()).await.map_err(|_| Error::slow_body())?;
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|_| Error::malformed("The request body ended early, or its chunks are malformed"))?;
        if let Some(data) = frame.data_ref() {
            self.buffer.extend_from_slice(data);
        }
        Ok(true)
    }
}

/// The boundary in `multipart/form-data; boundary=…`: 1 to 70 visible characters.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (_, boundary) = parameters(rest).into_iter().find(|(name, _)| name == "boundary")?;
    let fits = (1..=70).contains(&boundary.len()) && boundary.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(boundary)
}

/// Reads the lines above a file.
fn head(lines: &[u8]) -> Result<Head, Error> {
    let text = String::from_utf8_lossy(lines);
    let fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let field = |wanted: &str| {
        fields.clone().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let disposition = field("content-disposition").and_then(|value| value.split_once(';'));
    let (kind, rest) = disposition.unwrap_or_default();
    let parameters = parameters(rest);
    let said = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let plain = said("filename").map(str::to_owned);
    let name = said("filename*").and_then(extended).or(plain);
    if !kind.trim().eq_ignore_ascii_case("form-data") || (name.is_none() && said("name") != Some("file")) {
        return Err(Error::malformed("The form's part must be a file: name it \"file\", or give it a filename"));
    }
    let content_type = field("content-type").map(str::to_owned);
    Ok(Head { name: name.unwrap_or_default(), content_type })
}

/// `name=value; name="value"`, the names in small letters.
fn parameters(text: &str) -> Vec<(String, String)> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        all.push((name.trim_matches([' ', '\t', ';']).to_ascii_lowercase(), value));
        rest = after;
    }
    all
}

/// What stands before the closing quote, and what behind it. A backslash is one, but before a quote.
fn unquoted(quoted: &str) -> (String, &str) {
    let (mut value, mut letters) = (String::new(), quoted.char_indices().peekable());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' if letters.peek().is_some_and(|(_, next)| *next == '"') => {
                letters.next();
                value.push('"');
            }
            _ => value.push(letter),
        }
    }
    (value, "")
}

/// `UTF-8''percent%20encoded`.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    // The form's own encoding, but for the plus sign.
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, text)| text.into_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;

    async fn read(content_type: &str, body: &[u8], piece: usize) -> Result<(Head, Vec<u8>), Error> {
        let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok::<_, Error>(Bytes::copy_from_slice(piece))).collect();
        let pieces = pieces.into_iter().map(|piece| piece.map_err(|_| std::io::Error::other("never")));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        let mut form = Form::new(&headers, Body::from_stream(stream::iter(pieces)), Limits::default())?;
        let (head, mut file) = (form.head().await?, Vec::new());
        while let Some(bytes) = form.next().await? {
            file.extend(bytes);
        }
        form.finish().await?;
        Ok((head, file))
    }

    const TYPE: &str = "multipart/form-data; boundary=\"x-y\"";

    fn form(head: &str, file: &str) -> Vec<u8> {
        format!("--x-y\r\n{head}\r\n\r\n{file}\r\n--x-y--\r\n").into_bytes()
    }

    #[tokio::test]
    async fn a_file_is_the_same_however_its_form_arrives() {
        let file = "\r\n--x-\r\n--x\r\n\r\n--x--y\0\r";
        let body = form(
            "Content-Disposition: form-data; name=\"f\"; filename=\"a\\\"b.txt\"\r\nContent-Type: text/plain",
            file,
        );
        for piece in 1..=body.len() {
            let (head, read) = read(TYPE, &body, piece).await.unwrap();
            assert_eq!((head.name.as_str(), head.content_type.as_deref()), ("a\"b.txt", Some("text/plain")));
            assert_eq!(read, file.as_bytes(), "in pieces of {piece}");
        }
        let empty = form("content-disposition:form-data;name=file", "");
        assert_eq!(read(TYPE, &empty, 1).await.unwrap(), (Head::default(), Vec::new()));
    }

    #[tokio::test]
    async fn names_are_read_as_clients_write_them() {
        for (said, name) in [
            ("filename=plain.txt", "plain.txt"),
            ("filename=\"a; b=c.txt\"", "a; b=c.txt"),
            ("filename=\"C:\\dir\\f.txt\"", "C:\\dir\\f.txt"),
            ("filename=\"x.txt\"; filename*=UTF-8''%E6%97%A5+a%26b.txt", "日+a&b.txt"),
            ("filename*=latin1''%E9; filename=\"e.txt\"", "e.txt"),
        ] {
            let body = form(&format!("Content-Disposition: form-data; name=\"file\"; {said}"), "x");
            assert_eq!(read(TYPE, &body, 7).await.unwrap().0.name, name, "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_form_with_one_file_is_refused() {
        let good = "Content-Disposition: form-data; name=\"file\"";
        let two = format!("--x-y\r\n{good}\r\n\r\na\r\n--x-y\r\n{good}\r\n\r\nb\r\n--x-y--\r\n");
        let huge = form(&format!("{good}\r\nX: {}", "x".repeat(HEAD_BYTES)), "a");
        let many = format!("--x-y\r\n{good}\r\n\r\na\r\n").repeat(10_000) + "--x-y--";
        for (content_type, body) in [
            ("multipart/form-data", form(good, "a")),
            ("multipart/form-data; boundary=", form(good, "a")),
            ("multipart/mixed; boundary=x-y", form(good, "a")),
            ("application/json", form(good, "a")),
            ("multipart/form-data; boundary=other", form(good, "a")),
            (TYPE, two.into_bytes()),
            (TYPE, many.into_bytes()),
            (TYPE, huge),
            (TYPE, form("Content-Disposition: form-data; name=\"other\"", "a")),
            (TYPE, form("X: y", "a")),
            (TYPE, b"--x-y--\r\n".to_vec()),
            (TYPE, b"".to_vec()),
            (TYPE, b"preamble\r\n--x-y--".to_vec()),
            (TYPE, form(good, "a")[..40].to_vec()),
            (TYPE, [form(good, "a"), vec![b'x'; EPILOGUE_BYTES + 100]].concat()),
            (TYPE, format!("--x-y\r\n{good}\r\n\r\na").into_bytes()),
        ] {
            assert!(read(content_type, &body, 1000).await.is_err(), "{content_type}");
        }
    }
}
