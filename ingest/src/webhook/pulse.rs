//! Ends connections on which nothing happens for too long.
//!
//! A connection may be silent before its first request, while a header arrives, and between
//! requests, each for so long. While a request is in hand its own limits count, and on HTTP/2 the
//! time of a header that begins meanwhile. An HTTP/2 client that is silent is told before it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use super::blocks::Blocks;

/// How long what a client still sends is read and thrown away when its connection ends: closing
/// at once would reset the connection and could take the answer with it.
const LINGER: Duration = Duration::from_secs(2);

/// How much of it is thrown away: more than is on its way between two kernels when the answer is
/// sent. Whoever goes on sending does not read answers.
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How much is thrown away at a time.
const SCRAP_BYTES: usize = 16 * 1024;

/// What the requests of a connection say about it.
#[derive(Default)]
pub(super) struct Pulse {
    in_flight: AtomicUsize,
    begun: AtomicUsize,
    /// The connection is to end, as nothing comes.
    pub(super) silent: Notify,
    /// HTTP/2 sends more than requests, so bytes alone do not begin a header.
    is_multiplexed: AtomicBool,
    /// The connection is to end soon.
    is_old: AtomicBool,
    /// Wakes the connection when no request is in hand any more: its time begins to run then.
    quiet: AtomicWaker,
}

impl Pulse {
    /// Counts a request until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_multiplexed: bool) -> Beat {
        self.is_multiplexed.store(is_multiplexed, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Beat(Arc::clone(self))
    }

    /// Has the connection end after the next answer.
    pub(super) fn retire(&self) {
        self.is_old.store(true, Ordering::Relaxed);
    }

    /// True if requests run side by side.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.is_multiplexed.load(Ordering::Relaxed)
    }
}

/// A request in hand.
pub(super) struct Beat(Arc<Pulse>);

impl Beat {
    /// True if the connection ends with this request.
    pub(super) fn is_last(&self) -> bool {
        self.0.is_old.load(Ordering::Relaxed)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.quiet.wake();
        }
    }
}

/// A stream that fails when nothing happens on it for too long.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
    first_request_max: Duration,
    header_max: Duration,
    idle_max: Duration,
    /// Requests that had begun when last looked at.
    seen: usize,
    /// Since when no request has been in hand.
    quiet_since: Instant,
    /// Since when a header has been arriving.
    header_since: Option<Instant>,
    blocks: Blocks,
    /// Until when a client may take leave that was told that its connection ends.
    leave_until: Option<Instant>,
    /// Until when what still comes is thrown away.
    linger_until: Option<Instant>,
    /// How much has been thrown away.
    scrapped_bytes: usize,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>, limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            stream,
            pulse,
            first_request_max: limits.first_request_max,
            header_max: limits.header_max,
            idle_max: limits.idle_max,
            seen: 0,
            quiet_since: now,
            header_since: None,
            blocks: Blocks::default(),
            leave_until: None,
            linger_until: None,
            scrapped_bytes: 0,
            alarm: Box::pin(sleep_until(now)),
        }
    }

    /// Until when bytes have to come; without limit while a request is in hand.
    fn deadline(&mut self) -> Option<Instant> {
        let begun = self.pulse.begun.load(Ordering::Relaxed);
        let is_busy = self.pulse.in_flight.load(Ordering::Relaxed) > 0;
        if is_busy || begun != self.seen {
            self.seen = begun;
            self.quiet_since = Instant::now();
            if !self.blocks.is_open() {
                self.header_since = None;
            }
        }
        match self.header_since {
            Some(since) if self.blocks.is_open() => Some(since + self.header_max),
            _ if is_busy => None,
            _ if self.leave_until.is_some() => self.leave_until,
            Some(since) => Some(since + self.header_max),
            None if begun == 0 => Some(self.quiet_since + self.first_request_max),
            None => Some(self.quiet_since + self.idle_max),
        }
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        if self.blocks.read(bytes) {
            self.header_since = Some(Instant::now());
        }
        if self.blocks.is_multiplexed() {
            self.pulse.is_multiplexed.store(true, Ordering::Relaxed);
            return;
        }
        let is_header = self.pulse.in_flight.load(Ordering::Relaxed) == 0 && !self.pulse.is_multiplexed();
        if is_header && self.header_since.is_none() {
            self.header_since = Some(Instant::now());
        }
    }

    /// Ready when `deadline` has passed.
    fn poll_alarm(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
        self.alarm.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads what the client still sends, until it stops or is too long about it.
    fn poll_scrap(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let until = *self.linger_until.get_or_insert_with(|| Instant::now() + LINGER);
        if self.poll_alarm(until, context).is_ready() || self.scrapped_bytes >= LINGER_BYTES_MAX {
            return Poll::Ready(());
        }
        let mut room = [0; SCRAP_BYTES];
        let mut scrap = ReadBuf::new(&mut room);
        match Pin::new(&mut self.stream).poll_read(context, &mut scrap) {
            Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {
                self.scrapped_bytes += scrap.filled().len();
                // Others have their turn between one read and the next.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Before looking, so that a request that ends meanwhile is not missed.
        this.pulse.quiet.register(context.waker());
        let deadline = this.deadline();
        let filled = room.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(context, room) {
            if let Some(bytes) = room.filled().get(filled..).filter(|bytes| !bytes.is_empty()) {
                this.note_bytes(bytes);
            }
            // Bytes that trickle in do not put off the end of the time for a header.
            return match deadline {
                Some(deadline) if Instant::now() > deadline => {
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
                _ => Poll::Ready(result),
            };
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        std::task::ready!(this.poll_alarm(deadline, context));
        if !this.blocks.is_multiplexed() || this.blocks.is_open() || this.leave_until.is_some() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let until = Instant::now() + this.header_max;
        this.leave_until = Some(until);
        this.pulse.silent.notify_one();
        this.poll_alarm(until, context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger_until.is_none() {
            std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.poll_scrap(context).map(Ok)
    }
}
