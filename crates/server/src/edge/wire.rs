//! A connection as hyper reads it: whole good heads only, and no wait without an end.
//!
//! | Phase    | what comes next                      | it ends                                                |
//! |----------|--------------------------------------|--------------------------------------------------------|
//! | head     | a head, kept here until it is whole   | closed when it does not come in time, which begins when no request is in hand |
//! | body     | so many bytes, passed on as they come | by whoever reads the body, in `input`                  |
//! | chunks   | a body in chunks, passed on as it comes | with the connection: what follows is never read as a request |
//! | refused  | nothing that counts                  | once the refusal is answered                           |
//!
//! A head that is refused never reaches hyper. In its place hyper reads [`REFUSED`], which no client can send because
//! it has no host, so the refusal is answered in its turn and by the same code as everything else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use super::head::{Ends, Head, Refusal, Step};

/// What stands for a head that was refused.
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nconnection: close\r\n\r\n";

/// When a connection ends while its client still sends, the client has this long to see the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// So much of what comes meanwhile is thrown away, in bytes.
const FAREWELL_BYTES: usize = 4 << 20;

/// What a connection and the requests on it tell each other.
#[derive(Debug)]
pub(crate) struct Talk {
    begun: Instant,
    /// Requests whose answer has not been written whole.
    in_hand: AtomicUsize,
    /// When the last of them was, in microseconds since the connection began.
    free_since: AtomicU64,
    refusal: OnceLock<Refusal>,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            in_hand: AtomicUsize::new(0),
            free_since: AtomicU64::new(0),
            refusal: OnceLock::new(),
        }
    }

    /// Since when no request is in hand; none while one is.
    fn free_since(&self) -> Option<Instant> {
        let is_free = self.in_hand.load(Ordering::Relaxed) == 0;
        is_free.then(|| self.begun + Duration::from_micros(self.free_since.load(Ordering::Relaxed)))
    }

    /// Why the request that has no host was refused.
    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal.get().copied().unwrap_or(Refusal::Malformed("There is no Host header field"))
    }
}

/// A request in hand, until it is dropped with the end of its answer.
#[derive(Debug)]
pub(crate) struct InHand(Arc<Talk>);

impl InHand {
    pub(crate) fn new(talk: &Arc<Talk>) -> Self {
        talk.in_hand.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(talk))
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.free_since.store(self.0.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Body(u64),
    Chunks,
    Refused,
}

/// A connection between the socket and hyper.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    talk: Arc<Talk>,
    limits: Limits,
    phase: Phase,
    head: Head,
    /// The beginning of a head that is not whole.
    partial: Vec<u8>,
    /// Sifted, and not yet passed on.
    ready: Bytes,
    /// Nothing came yet.
    is_new: bool,
    /// Until when the head that has begun has to be whole.
    whole_until: Option<Instant>,
    /// Until when the client has to take more of what is written.
    unread_until: Option<Instant>,
    farewell: Option<(Instant, usize)>,
    timer: Pin<Box<Sleep>>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, talk: Arc<Talk>, limits: Limits) -> Self {
        Self {
            stream,
            talk,
            phase: Phase::Head,
            head: Head::default(),
            partial: Vec::new(),
            ready: Bytes::new(),
            is_new: true,
            whole_until: None,
            unread_until: None,
            farewell: None,
            timer: Box::pin(sleep(limits.first_byte)),
            limits,
        }
    }

    /// How many of the bytes may be passed on: whole good heads and what belongs to their bodies.
    fn sift(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.phase {
                Phase::Refused => return at,
                Phase::Chunks => return bytes.len(),
                Phase::Body(left) => {
                    let taken = left.min((bytes.len() - at) as u64);
                    at += taken as usize;
                    self.phase = if taken == left { Phase::Head } else { Phase::Body(left - taken) };
                }
                Phase::Head => match self.head.read(&bytes[at..]) {
                    Step::Partial => return at,
                    Step::Refused(refusal) => {
                        // Only the first can be set: nothing is read after it.
                        self.talk.refusal.get_or_init(|| refusal);
                        self.phase = Phase::Refused;
                        return at;
                    }
                    Step::Whole(length, ends) => {
                        at += length;
                        self.head = Head::default();
                        self.whole_until = None;
                        self.phase = match ends {
                            Ends::After(0) => Phase::Head,
                            Ends::After(length) => Phase::Body(length),
                            Ends::WithLastChunk => Phase::Chunks,
                        };
                    }
                },
            }
        }
        at
    }

    /// Takes what was read to the buffer from `start` on, and leaves there what may be passed on at once.
    fn take_in(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        self.is_new = false;
        if self.partial.is_empty() {
            let passed = start + self.sift(&buffer.filled()[start..]);
            if self.phase == Phase::Head {
                self.partial.extend_from_slice(&buffer.filled()[passed..]);
            }
            buffer.set_filled(passed);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(&buffer.filled()[start..]);
            buffer.set_filled(start);
            let passed = self.sift(&bytes);
            if self.phase == Phase::Head {
                self.partial = bytes.split_off(passed);
            }
            bytes.truncate(passed);
            self.ready = bytes.into();
        }
        if self.phase == Phase::Refused {
            self.ready = [&self.ready, REFUSED].concat().into();
        }
    }

    /// Whether the client has let us wait too long for what has to come now.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.phase != Phase::Head {
            return false;
        }
        let until = match self.talk.free_since() {
            Some(since) if self.partial.is_empty() => {
                since + if self.is_new { self.limits.first_byte } else { self.limits.idle }
            }
            Some(_) => *self.whole_until.get_or_insert_with(|| Instant::now() + self.limits.head),
            None => {
                // Hyper does not ask again when the request in hand has its answer, so time has to bring us back here.
                let look_again = Instant::now() + self.limits.head.min(self.limits.idle);
                return self.is_over(look_again, context);
            }
        };
        self.is_over(until, context)
    }

    /// Whether that time has come; if not, the connection is looked at again when it has.
    fn is_over(&mut self, until: Instant, context: &mut Context<'_>) -> bool {
        // Set back rarely: a timer that goes off too early is set again then.
        let goes_off = self.unread_until.map_or(until, |other| other.min(until));
        if self.timer.is_elapsed() || self.timer.deadline() > goes_off {
            self.timer.as_mut().reset(goes_off);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            self.timer.as_mut().reset(until);
        }
        false
    }

    /// Sees to it that a client takes what is written.
    fn written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unread_until = None;
            return written;
        }
        let until = *self.unread_until.get_or_insert_with(|| Instant::now() + self.limits.unread);
        if self.is_over(until, context) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buffer.filled().len();
        loop {
            if !this.ready.is_empty() {
                buffer.put_slice(&this.ready.split_to(this.ready.len().min(buffer.remaining())));
            }
            if buffer.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
            // Not even an end: hyper would take it for a client that no longer waits for its answer.
            if this.phase == Phase::Refused {
                return Poll::Pending;
            }
            let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) else {
                // Late clients are as good as gone.
                return if this.is_late(context) { Poll::Ready(Ok(())) } else { Poll::Pending };
            };
            read?;
            if buffer.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            this.take_in(buffer, start);
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    /// A socket that is closed while bytes lie in it takes back what was just answered. So when the client was not
    /// heard to the end, what it still sends is thrown away for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.farewell = Some((Instant::now() + FAREWELL, FAREWELL_BYTES));
            this.unread_until = None;
        }
        while let (Some((until, left)), true) = (this.farewell, this.phase != Phase::Head) {
            let mut bytes = [0; 8192];
            let mut buffer = ReadBuf::new(&mut bytes);
            if Pin::new(&mut this.stream).poll_read(context, &mut buffer)?.is_pending() {
                return if this.is_over(until, context) { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let read = buffer.filled().len();
            if read == 0 || read >= left {
                break;
            }
            this.farewell = Some((until, left - read));
        }
        Poll::Ready(Ok(()))
    }
}
