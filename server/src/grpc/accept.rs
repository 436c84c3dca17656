//! Accepting gRPC connections within bounds: how many there may be, and how long a new one may say nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Length of what every HTTP/2 client says first.
const PREFACE_BYTES: usize = 24;
/// Pause after the operating system refused to accept, as it does when descriptors run out.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Connections of `listener`. One over `connections_max` is closed at once.
pub(super) fn incoming(
    listener: TcpListener,
    connections_max: usize,
    preface_timeout: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(connections_max));
    stream::unfold((listener, places), move |(listener, places)| async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a gRPC connection");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(connections_max, "a gRPC connection was refused: there are too many");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a gRPC connection was gone at once");
                continue;
            }
            let preface = Some(Preface { left: PREFACE_BYTES, until: Box::pin(tokio::time::sleep(preface_timeout)) });
            let connection = Connection { stream, preface, _place: place };
            return Some((Ok(connection), (listener, places)));
        }
    })
}

/// A connection that holds its place among all.
pub(super) struct Connection {
    stream: TcpStream,
    /// What the client must still say before its time is up; `None` once it has.
    preface: Option<Preface>,
    _place: OwnedSemaphorePermit,
}

struct Preface {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(preface) = &mut self.preface else { return read };
        preface.left = preface.left.saturating_sub(buf.filled().len() - before);
        if preface.left == 0 {
            self.preface = None;
            return read;
        }
        if read.is_pending() && preface.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
