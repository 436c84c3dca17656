//! One socket, plain or TLS, as the HTTP library sees it: with patience that ends.
//!
//! The wire knows from [`Activity`] whether a request is open. While none is, it bounds how long the client may take to
//! begin the next head (idle) and to finish one it began (slow headers); writes that make no progress are bounded
//! always. Slow *bodies* are bounded where they are read, in `request_body`. It also gives the HTTP library's bare error
//! responses a text, and reads on for a moment after an early answer, so that the client sees the answer, not a reset.
//! And it looks ahead while a request is open, because the HTTP library does not read while nobody takes the request's
//! body, and would not notice that the client has left.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::config::Limits;
use super::refusal::Refusal;

/// How an HTTP/2 client that knows it is one begins.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// How long, and for how many bytes, a closed connection listens on for a client that is still sending.
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 16 << 20;
/// How much is read ahead of the HTTP library. A client that sent more than this unread leaves unnoticed.
const AHEAD_BYTES_MAX: usize = 16 << 10;
/// What one read takes while lingering.
const LINGER_READ_BYTES: usize = 16 << 10;
const AHEAD_READ_BYTES: usize = 4 << 10;

/// What the wire waits for from the client while no request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    /// Nothing: a request is open, others keep the time.
    Nothing,
    /// The first byte of a head.
    Head,
    /// The rest of a head.
    HeadEnd,
    /// That an HTTP/2 client takes note of our goodbye.
    Goodbye,
}

/// What the first bytes say about the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// This many bytes of the HTTP/2 preface were seen.
    Unsure(usize),
    Http1,
    Http2,
}

/// See the module's text.
pub(super) struct Wire<S> {
    stream: S,
    activity: Arc<Activity>,
    idle_timeout: Duration,
    header_timeout: Duration,
    stall_timeout: Duration,
    protocol: Protocol,
    awaiting: Awaiting,
    /// `Activity::started` when `awaiting` was set.
    seen: u64,
    patience: Pin<Box<Sleep>>,
    /// Armed while a write waits for the client.
    stall: Option<Pin<Box<Sleep>>>,
    /// Bytes of our own that must go out before the socket is closed.
    page: Vec<u8>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    /// Read from the stream, and not yet by the HTTP library.
    ahead: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Starts to wait for the first request.
    pub(super) fn new(stream: S, activity: Arc<Activity>, limits: &Limits) -> Self {
        Self {
            stream,
            activity,
            idle_timeout: limits.idle_timeout(),
            header_timeout: limits.header_timeout(),
            stall_timeout: limits.body_stall_timeout(),
            protocol: Protocol::Unsure(0),
            awaiting: Awaiting::Nothing,
            seen: u64::MAX,
            patience: Box::pin(tokio::time::sleep(limits.idle_timeout())),
            stall: None,
            page: Vec::new(),
            linger: None,
            ahead: BytesMut::new(),
        }
    }

    fn wait_for(&mut self, what: Awaiting, timeout: Duration) {
        self.awaiting = what;
        self.patience.as_mut().reset(Instant::now() + timeout);
    }

    /// Learns the protocol and the phase from bytes that came while no request was open.
    fn note_read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Protocol::Unsure(matched) = self.protocol else { break };
            self.protocol = match (H2_PREFACE.get(matched) == Some(byte), matched + 1 == H2_PREFACE.len()) {
                (true, true) => Protocol::Http2,
                (true, false) => Protocol::Unsure(matched + 1),
                (false, _) => Protocol::Http1,
            };
        }
        if self.activity.open_count() > 0 || self.protocol == Protocol::Http2 {
            return;
        }
        self.seen = self.activity.started();
        if self.awaiting != Awaiting::HeadEnd {
            self.wait_for(Awaiting::HeadEnd, self.header_timeout);
        }
    }

    /// There is nothing to read: whether to wait on. `Ready(Ok)` ends the connection as if the client had closed it.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.poll_idle(cx) {
            self.awaiting = Awaiting::Nothing;
            return Poll::Pending;
        }
        let started = self.activity.started();
        let h2_woke = self.protocol == Protocol::Http2 && self.awaiting == Awaiting::HeadEnd;
        if self.awaiting == Awaiting::Nothing || self.seen != started || h2_woke {
            self.seen = started;
            self.wait_for(Awaiting::Head, self.idle_timeout);
        }
        ready!(self.patience.as_mut().poll(cx));
        match self.awaiting {
            Awaiting::Head if self.protocol == Protocol::Http2 => {
                // A client that is just sending a request must learn that it was not taken.
                self.activity.note_tired();
                self.wait_for(Awaiting::Goodbye, self.header_timeout);
                return self.patience.as_mut().poll(cx).map(Ok);
            }
            Awaiting::Head | Awaiting::Goodbye | Awaiting::Nothing => return Poll::Ready(Ok(())),
            Awaiting::HeadEnd => {}
        }
        // The client began a head. Say why it is cut off; one try, whoever is this slow may not even listen.
        self.page = Refusal::HeaderTimeout.last_words();
        match self.poll_page(cx) {
            Poll::Ready(Ok(())) => drop(Pin::new(&mut self.stream).poll_flush(cx)),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's headers did not arrive in time")))
    }

    /// A write or flush waits for the client: whether to wait on.
    fn poll_stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let timeout = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped taking the response")))
    }

    /// If the HTTP library refuses a request by itself, takes note of our page in place of its empty one.
    fn takes_over(&mut self, bytes: &[u8]) -> bool {
        if self.protocol == Protocol::Http2 || self.activity.responding() {
            return false;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
        let Some(status @ 400..=499) = status else { return false };
        self.page = Refusal::of_status(status).last_words();
        self.activity.note_unread();
        true
    }

    /// Writes what is left of our own page.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.page.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.page))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.page.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads ahead while a request is open; an error when the client has left.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.protocol == Protocol::Http2 || self.activity.open_count() == 0 {
            return Ok(());
        }
        while self.ahead.len() < AHEAD_BYTES_MAX {
            let mut space = [0u8; AHEAD_READ_BYTES];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client left"));
                }
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(buf.filled()),
            }
        }
        Ok(())
    }

    /// Reads and forgets, until the client has closed its side or patience ends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (timer, bytes) = self.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), 0));
        let mut space = [0u8; LINGER_READ_BYTES];
        loop {
            if timer.as_mut().poll(cx).is_ready() || *bytes > LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => *bytes += buf.filled().len(),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if !this.ahead.is_empty() {
            let taken = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
            buf.put_slice(&taken);
            this.note_read(&taken);
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    this.note_read(&buf.filled()[before..]);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_patience(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.takes_over(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(result) => {
                this.stall = None;
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_stall(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if parts.first().is_some_and(|first| this.takes_over(first)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        match Pin::new(&mut this.stream).poll_write_vectored(cx, parts) {
            Poll::Ready(result) => {
                this.stall = None;
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_stall(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match this.poll_page(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_flush(cx),
            other => other,
        };
        match flushed {
            Poll::Ready(Ok(())) => {
                this.stall = None;
                this.activity.flushed();
                Poll::Ready(this.poll_ahead(cx))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_stall(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            match this.poll_page(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.poll_stall(cx),
            }
            match Pin::new(&mut this.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.poll_stall(cx),
            }
        }
        if this.activity.has_unread() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
