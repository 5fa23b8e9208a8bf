//! The head of a request, read strictly before anything else sees it.
//!
//! What two programs in a row could read differently is refused: line ends without a carriage return, folded lines,
//! two lengths, a length beside an encoding, a missing or second host. What passes is read by hyper in one way only.

use axum::http::Uri;
use memchr::memchr;

/// The longest head, in bytes.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// The longest URI, in bytes.
pub(crate) const URI_BYTES: usize = 8 << 10;

/// The most header fields.
pub(crate) const FIELDS: usize = 64;

/// What stands beside the URI in a request's first line, at most, in bytes.
const BESIDE_URI_BYTES: usize = 64;

/// Why a request is refused for its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// More bytes than a head may have.
    HeadTooLarge,
    /// More fields than a head may have.
    TooManyFields,
    /// More bytes than a URI may have.
    UriTooLong,
    /// Something is expected that cannot be done.
    Expectation,
    /// The request breaks the grammar; what is wrong, for people.
    Malformed(&'static str),
}

use Refusal::Malformed;

/// Where the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// After so many bytes.
    After(u64),
    /// With the last of its chunks.
    WithLastChunk,
}

/// How far a head has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More has to come.
    Partial,
    /// The head is so many bytes long and good.
    Whole(usize, Ends),
    /// It is refused.
    Refused(Refusal),
}

/// Reads a head as it comes; no byte is looked at twice.
#[derive(Debug, Default)]
pub(crate) struct Head {
    seen: usize,
    line_start: usize,
    first_line_read: bool,
    fields: usize,
    is_http_11: bool,
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// Reads on: `bytes` is the head from its first byte, with at least what it had the last time.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Step {
        self.try_read(bytes).unwrap_or_else(Step::Refused)
    }

    fn try_read(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        while let Some(at) = memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + at;
            let line = &bytes[self.line_start..end];
            let line = line.strip_suffix(b"\r").ok_or(Malformed("A line ends without a carriage return"))?;
            self.seen = end + 1;
            self.line_start = self.seen;
            if !self.first_line_read {
                // Empty lines before a request are what some clients leave behind the one before.
                if !line.is_empty() {
                    self.first_line(line)?;
                    self.first_line_read = true;
                }
            } else if !line.is_empty() {
                self.field(line)?;
            }
            if self.seen > HEAD_BYTES {
                return Err(Refusal::HeadTooLarge);
            }
            if line.is_empty() && self.first_line_read {
                return Ok(Step::Whole(self.seen, self.end()?));
            }
        }
        self.seen = bytes.len();
        if !self.first_line_read && self.seen - self.line_start > URI_BYTES + BESIDE_URI_BYTES {
            return Err(Refusal::UriTooLong);
        }
        if self.seen > HEAD_BYTES { Err(Refusal::HeadTooLarge) } else { Ok(Step::Partial) }
    }

    /// `GET /path HTTP/1.1`.
    fn first_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        const WRONG: Refusal = Malformed("The request must begin with a method, a URI and HTTP/1.1");
        // The carriage return counts, so that a line that comes whole is measured as one that comes in parts.
        let is_long = line.len() >= URI_BYTES + BESIDE_URI_BYTES;
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(uri), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(if is_long { Refusal::UriTooLong } else { WRONG });
        };
        if is_long || uri.len() > URI_BYTES {
            return Err(Refusal::UriTooLong);
        }
        self.is_http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(WRONG),
        };
        if !is_token(method) {
            return Err(WRONG);
        }
        // What is not plain is asked of the code that reads it later, which would cut off a `#` and what is behind it.
        let plain = uri.first() == Some(&b'/') && all(uri, PLAIN_IN_URI);
        let possible = || all(uri, IN_VALUE) && !uri.contains(&b'\t') && !uri.contains(&b'#');
        if plain || (possible() && Uri::try_from(uri).is_ok()) {
            Ok(())
        } else {
            Err(Malformed("The URI has characters that none may have"))
        }
    }

    /// `name: value`.
    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Malformed("A header field is folded over two lines"));
        }
        self.fields += 1;
        if self.fields > FIELDS {
            return Err(Refusal::TooManyFields);
        }
        let colon = memchr(b':', line).ok_or(Malformed("A header field has no colon"))?;
        let (name, value) = (&line[..colon], trim_blanks(&line[colon + 1..]));
        if !is_token(name) {
            return Err(Malformed("The name of a header field has characters that none may have"));
        }
        if !all(value, IN_VALUE) {
            return Err(Malformed("A header field has control characters"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => expectation(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Malformed("There are two Host header fields"));
        }
        if all(value, IN_HOST) { Ok(()) } else { Err(Malformed("The Host header field names no host")) }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        const WRONG: Refusal = Malformed("The Content-Length is no number of bytes");
        let digits = !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).map_err(|_| WRONG)?;
        let length = text.parse().ok().filter(|_| digits).ok_or(WRONG)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Malformed("There are two Content-Length header fields")),
        }
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let once = !std::mem::replace(&mut self.chunked, true);
        if once && self.is_http_11 && value.eq_ignore_ascii_case(b"chunked") {
            Ok(())
        } else {
            Err(Malformed("The only Transfer-Encoding is chunked, once, in HTTP/1.1"))
        }
    }

    /// What can only be said of the whole.
    fn end(&self) -> Result<Ends, Refusal> {
        if self.is_http_11 && !self.has_host {
            return Err(Malformed("There is no Host header field"));
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Malformed("There is a Content-Length beside a Transfer-Encoding")),
            (None, true) => Ok(Ends::WithLastChunk),
            (length, false) => Ok(Ends::After(length.unwrap_or(0))),
        }
    }
}

const PLAIN_IN_URI: u8 = 1;
const IN_TOKEN: u8 = 2;
const IN_VALUE: u8 = 4;
const IN_HOST: u8 = 8;

/// For each byte, where it may stand.
const PLACES: [u8; 256] = {
    const fn one_of(byte: u8, list: &[u8]) -> bool {
        let mut at = 0;
        while at < list.len() {
            if list[at] == byte {
                return true;
            }
            at += 1;
        }
        false
    }
    let mut places = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let plain = byte.is_ascii_alphanumeric() || one_of(byte, b"-._~");
        if plain || one_of(byte, b"!$&'()*+,;=:@/?%") {
            places[at] |= PLAIN_IN_URI;
        }
        if plain || one_of(byte, b"!#$%&'*+^`|") {
            places[at] |= IN_TOKEN;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            places[at] |= IN_VALUE;
        }
        if plain || one_of(byte, b"!$&'()*+,;=:[]%") {
            places[at] |= IN_HOST;
        }
        at += 1;
    }
    places
};

/// What a client waits for before it sends its body.
fn expectation(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(Refusal::Expectation) }
}

/// Whether each byte may stand there.
fn all(bytes: &[u8], place: u8) -> bool {
    bytes.iter().fold(place, |places, byte| places & PLACES[usize::from(*byte)]) == place
}

/// Blanks around a value are no part of it: a carriage return is none.
fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, IN_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Step {
        Head::default().read(text.as_bytes())
    }

    #[test]
    fn a_good_head_is_measured_and_its_body_too() {
        let get = "GET /a?b=%20 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(whole(&format!("{get}GET /next")), Step::Whole(get.len(), Ends::After(0)));
        let put = "\r\nPUT http://x/ HTTP/1.1\r\nhost:[::1]:80\r\nContent-Length: 12 \r\nX: \u{e4}\t\r\n\r\n";
        assert_eq!(whole(put), Step::Whole(put.len(), Ends::After(12)));
        let chunks = "POST /\u{e4}{} HTTP/1.1\r\nHost:\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(whole(chunks), Step::Whole(chunks.len(), Ends::WithLastChunk));
        let old = "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(whole(old), Step::Whole(old.len(), Ends::After(0)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            "GET /\r\nHost: x\r\n\r\n",
            "GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /#\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /# HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a?b#c HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://x/#a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\t HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\nHost: x\r\n\r\n",
            "G{T / HTTP/1.1\r\nHost: x\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\n",
        ] {
            assert!(matches!(whole(head), Step::Refused(Malformed(_))), "{head:?} is {:?}", whole(head));
        }
    }

    #[test]
    fn nothing_is_expected_but_100_continue() {
        let expects = |what: &str| whole(&format!("PUT / HTTP/1.1\r\nHost: x\r\nExpect:{what}\r\n\r\n"));
        for good in [" 100-continue", "100-Continue "] {
            assert!(matches!(expects(good), Step::Whole(..)), "{good}");
        }
        for bad in ["", " foo", " 100-continue, foo", " 100-continue;a=b", " 100-continue\r\nExpect: foo"] {
            assert_eq!(expects(bad), Step::Refused(Refusal::Expectation), "{bad}");
        }
    }

    #[test]
    fn each_bound_is_met_exactly() {
        let uri = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(bytes - 1));
        assert!(matches!(whole(&uri(URI_BYTES)), Step::Whole(..)));
        assert_eq!(whole(&uri(URI_BYTES + 1)), Step::Refused(Refusal::UriTooLong));
        assert_eq!(whole(&"a".repeat(URI_BYTES * 2)), Step::Refused(Refusal::UriTooLong));
        // A long method is as long a line, whether it comes at once or byte by byte.
        let method = |bytes: usize| format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "A".repeat(bytes));
        for (bytes, fits) in [(URI_BYTES + BESIDE_URI_BYTES - 12, true), (URI_BYTES + BESIDE_URI_BYTES - 11, false)] {
            let (text, mut head) = (method(bytes), Head::default());
            let by_byte =
                (0..=text.len()).map(|end| head.read(&text.as_bytes()[..end])).find(|step| *step != Step::Partial);
            assert_eq!(by_byte, Some(whole(&text)), "{bytes}");
            assert_eq!(whole(&text) == Step::Refused(Refusal::UriTooLong), !fits, "{bytes}");
        }
        let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
        assert!(matches!(whole(&fields(FIELDS)), Step::Whole(..)));
        assert_eq!(whole(&fields(FIELDS + 1)), Step::Refused(Refusal::TooManyFields));
        let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
        let sized = |bytes: usize| format!("{start}{}\r\n\r\n", "b".repeat(bytes - start.len() - 4));
        assert!(matches!(whole(&sized(HEAD_BYTES)), Step::Whole(HEAD_BYTES, _)));
        assert_eq!(whole(&sized(HEAD_BYTES + 1)), Step::Refused(Refusal::HeadTooLarge));
        assert_eq!(whole(&sized(HEAD_BYTES * 2)[..HEAD_BYTES + 1]), Step::Refused(Refusal::HeadTooLarge));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_the_same() {
        let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n";
        let mut head = Head::default();
        for end in 0..text.len() {
            assert_eq!(head.read(&text.as_bytes()[..end]), Step::Partial, "{end}");
        }
        assert_eq!(head.read(text.as_bytes()), Step::Whole(text.len(), Ends::After(7)));
    }
}
