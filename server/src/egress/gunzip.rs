//! Decodes a gzip response while it arrives, so that a worker reads what the server meant.
//!
//! The response loses its `content-encoding` and `content-length`, which describe the coded bytes. Output comes in
//! pieces of bounded size and only when asked for, so a few bytes that unpack to gigabytes cost their reader time, not
//! memory.

use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use lethe_runtime::body::{Body, BodyError};

/// What one frame holds at most.
const FRAME_BYTES_MAX: usize = 32 << 10;

/// Asks for gzip and nothing else, unless the worker asked for something else only.
///
/// A worker that forwards its client's request also forwards what the client can decode; the worker itself could then
/// not read, say, brotli.
pub(super) fn offer(headers: &mut HeaderMap) {
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let mut asked = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).peekable();
    let takes_gzip = asked.peek().is_none() || asked.any(is_gzip);
    if takes_gzip {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// One element of `accept-encoding`: gzip or anything, with a weight that is not 0.
fn is_gzip(element: &str) -> bool {
    let (coding, weight) = element.split_once(';').unwrap_or((element, ""));
    let coding = coding.trim();
    let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0f32));
    (coding.eq_ignore_ascii_case("gzip") || coding == "*") && !refused
}

/// Wraps the body of a gzip response; others stay as they are.
pub(super) fn decoded(method: &Method, status: StatusCode, headers: &mut HeaderMap, body: Body) -> Body {
    let bodiless = *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let gzip = codings.next().is_some_and(|value| {
        value.as_bytes().eq_ignore_ascii_case(b"gzip") || value.as_bytes().eq_ignore_ascii_case(b"x-gzip")
    });
    if bodiless || !gzip || codings.next().is_some() {
        return body;
    }
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let decoder = MultiGzDecoder::new(Feed::default());
    Gunzip { inner: body, decoder, began: false, state: State::Running }.boxed_unsync()
}

/// The coded bytes that are here already. Out of them it says "would block" until told that there are no more.
#[derive(Default)]
struct Feed {
    chunk: Bytes,
    ended: bool,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(into.len());
        self.chunk.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.ended { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(&self.chunk) }
    }

    fn consume(&mut self, bytes: usize) {
        self.chunk.advance(bytes);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Over,
}

struct Gunzip {
    inner: Body,
    decoder: MultiGzDecoder<Feed>,
    /// A byte has come: an empty body is not a broken one.
    began: bool,
    state: State,
}

impl Gunzip {
    fn end<T>(&mut self, error: Option<BodyError>) -> Poll<Option<Result<T, BodyError>>> {
        self.state = State::Over;
        Poll::Ready(error.map(Err))
    }

    /// Takes the next coded bytes from the server.
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx)) {
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    self.began |= !chunk.is_empty();
                    self.decoder.get_mut().chunk = chunk;
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => self.decoder.get_mut().ended = true,
        }
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for Gunzip {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut frame = Vec::new();
        while this.state == State::Running {
            if this.decoder.get_ref().ended && !this.began {
                return this.end(None);
            }
            frame.resize(FRAME_BYTES_MAX, 0);
            match this.decoder.read(&mut frame) {
                Ok(0) => return this.end(None),
                Ok(length) => {
                    frame.truncate(length);
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(frame)))));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready!(this.poll_feed(cx)) {
                        return this.end(Some(error));
                    }
                }
                Err(_) => return this.end(Some("the response's body is not the gzip it says it is".into())),
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Over
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::StreamBody;
    use lethe_runtime::body;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// A body that comes in pieces of this size.
    fn pieces(bytes: Vec<u8>, size: usize) -> Body {
        let frames: Vec<_> = bytes.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    fn headers() -> HeaderMap {
        HeaderMap::from_iter([
            (header::CONTENT_ENCODING, HeaderValue::from_static("GZIP")),
            (header::CONTENT_LENGTH, HeaderValue::from_static("99")),
        ])
    }

    async fn read(body: Body) -> Result<Bytes, String> {
        let body = decoded(&Method::GET, StatusCode::OK, &mut headers(), body);
        body.collect().await.map(|collected| collected.to_bytes()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn it_decodes_whatever_the_pieces_are() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n % 997).to_le_bytes()).collect();
        let two_members = [gzip(&plain), gzip(b"tail")].concat();
        for size in [1, 2, 7, 10, 1000, usize::MAX] {
            let found = read(pieces(two_members.clone(), size)).await.unwrap();
            assert_eq!(found, [&plain[..], b"tail"].concat(), "in pieces of {size}");
        }
        assert_eq!(read(body::empty()).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_is_cut_short_or_damaged_is_an_error() {
        let whole = gzip(b"some text that matters");
        for length in 1..whole.len() {
            let error = read(pieces(whole[..length].to_vec(), 5)).await.unwrap_err();
            assert_eq!(error, "the response's body is not the gzip it says it is", "{length} bytes");
        }
        let mut damaged = whole.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(read(pieces(damaged, 5)).await.is_err(), "wrong length");
        assert!(read(body::full("plain")).await.is_err());
    }

    #[tokio::test]
    async fn a_bomb_comes_in_small_frames() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100 << 10);
        let mut body = decoded(&Method::GET, StatusCode::OK, &mut headers(), body::full(bomb));
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= FRAME_BYTES_MAX);
            total += data.len();
        }
        assert_eq!(total, 64 << 20);
    }

    #[test]
    fn only_gzip_is_asked_for_where_it_is_welcome() {
        let table = [
            (&[][..], "gzip"),
            (&["gzip, deflate, br, zstd"], "gzip"),
            (&["br", "GZIP;q=0.5"], "gzip"),
            (&["*"], "gzip"),
            (&["identity"], "identity"),
            (&["br"], "br"),
            (&["gzip;q=0"], "gzip;q=0"),
        ];
        for (asked, expected) in table {
            let mut headers = HeaderMap::new();
            for value in asked {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            offer(&mut headers);
            assert_eq!(headers.get_all(header::ACCEPT_ENCODING).iter().collect::<Vec<_>>(), [expected], "{asked:?}");
        }
    }

    #[tokio::test]
    async fn headers_change_only_with_the_body() {
        let mut changed = headers();
        decoded(&Method::GET, StatusCode::OK, &mut changed, body::empty());
        assert!(changed.is_empty());
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204)] {
            let mut kept = headers();
            decoded(&method, StatusCode::from_u16(status).unwrap(), &mut kept, body::empty());
            assert_eq!(kept, headers(), "{method} {status}");
        }
        for other in ["br", "gzip, gzip", "identity"] {
            let mut kept = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(other))]);
            let body = decoded(&Method::GET, StatusCode::OK, &mut kept, body::full("raw"));
            assert_eq!((body.collect().await.unwrap().to_bytes(), kept.len()), (Bytes::from("raw"), 1), "{other}");
        }
    }
}
