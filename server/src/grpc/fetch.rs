//! HTTP over gRPC messages: a head, then chunks of the body, both ways.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use lethe_proto::v1::{self, ErrorCode, fetch_request, fetch_response};
use lethe_runtime::{
    body::{self, Body, BodyError},
    host::{CallErrorKind, Outcome},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    entry::stopping,
    error::{ended, envelope, refuse},
};

/// Most headers of a request.
const HEADERS_MAX: usize = 256;
/// Most bytes of a request's headers together.
const HEADERS_BYTES_MAX: usize = 128 << 10;
/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 16 << 10;
/// Largest piece of a body in one message, bytes.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// What `Fetch` answers with.
pub(super) type FetchStream = Pin<Box<dyn Stream<Item = Result<v1::FetchResponse, Status>> + Send>>;

/// Waits for the first message of a request.
pub(super) async fn read_head(
    mut parts: Streaming<v1::FetchRequest>,
) -> Result<(v1::RequestHead, Streaming<v1::FetchRequest>), Status> {
    match parts.message().await?.and_then(|message| message.part) {
        Some(fetch_request::Part::Head(head)) => Ok((head, parts)),
        Some(fetch_request::Part::Chunk(_) | fetch_request::Part::Failed(_)) | None => {
            Err(refuse(ErrorCode::InvalidRequest, "the first message of a fetch must be its head"))
        }
    }
}

/// The HTTP request of a head and the messages after it.
pub(super) fn request(
    head: v1::RequestHead,
    parts: Streaming<v1::FetchRequest>,
) -> Result<http::Request<Body>, Status> {
    let wrong = |what: String| refuse(ErrorCode::InvalidRequest, what);
    let bytes: usize = head.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    if head.headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        return Err(wrong(format!(
            "a request has at most {HEADERS_MAX} headers of {HEADERS_BYTES_MAX} bytes together"
        )));
    }
    if head.url.len() > URL_BYTES_MAX {
        return Err(wrong(format!("a URL has at most {URL_BYTES_MAX} bytes")));
    }
    let url: http::Uri = head.url.parse().map_err(|error| wrong(format!("{:?} is not a URL: {error}", head.url)))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong(format!("a URL must begin with http:// or https://, got {:?}", head.url)));
    }
    let mut builder = http::Request::builder().method(head.method.as_bytes()).uri(url);
    for header in &head.headers {
        builder = builder.header(&header.name, &header.value[..]);
    }
    let bodyless = matches!(head.method.as_str(), "GET" | "HEAD");
    let body = if bodyless { body::empty() } else { request_body(parts) };
    builder.body(body).map_err(|error| wrong(format!("not an HTTP request: {error}")))
}

fn request_body(parts: Streaming<v1::FetchRequest>) -> Body {
    let frames = parts.map(|message| match message.map(|message| message.part) {
        Ok(Some(fetch_request::Part::Chunk(chunk))) => Ok(Frame::data(chunk)),
        Ok(Some(fetch_request::Part::Failed(reason))) => Err(BodyError::from(reason)),
        Ok(Some(fetch_request::Part::Head(_)) | None) => Err(BodyError::from("the body holds something else")),
        Err(status) => Err(BodyError::from(format!("the body broke off: {}", status.message()))),
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A request whose body says when it is first asked for.
pub(super) fn watched(request: http::Request<Body>) -> (http::Request<Body>, oneshot::Receiver<()>) {
    let (touch, touched) = oneshot::channel();
    let request = request.map(|body| Watched { body, touch: Some(touch) }.boxed_unsync());
    (request, touched)
}

struct Watched {
    body: Body,
    touch: Option<oneshot::Sender<()>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(touch) = self.touch.take() {
            // Nobody waits for it once the call has been answered.
            touch.send(()).ok();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The messages of a response that is yet to come.
pub(super) fn later(
    id: String,
    response: impl Future<Output = Result<http::Response<Body>, Status>> + Send + 'static,
    cut: CancellationToken,
    place: Arc<OwnedSemaphorePermit>,
) -> FetchStream {
    let messages = stream::once(response).flat_map(move |response| match response {
        Ok(response) => stream(id.clone(), response, cut.clone(), place.clone()),
        Err(status) => stream::iter([Err(status)]).boxed(),
    });
    messages.boxed()
}

/// The messages of a response. They end early, with an error, when `cut` is cancelled.
pub(super) fn stream(
    id: String,
    response: http::Response<Body>,
    cut: CancellationToken,
    place: Arc<OwnedSemaphorePermit>,
) -> FetchStream {
    let (parts, body) = response.into_parts();
    let head = v1::ResponseHead { id, status: parts.status.as_u16().into(), headers: wire_headers(&parts.headers) };
    let head = stream::iter([Ok(fetch_response::Part::Head(head))]);
    let chunks = BodyStream::new(body).flat_map(|frame| stream::iter(pieces(frame)));
    let stopped = stream::once(async move { cut.cancelled().await }).map(|()| Err(envelope(&stopping())));
    // `None` marks the body's end, so that the stream does not go on waiting for `cut`.
    let body = head.chain(chunks).map(Some).chain(stream::iter([None]));
    let parts = stream::select(body, stopped.map(Some)).take_while(|part| std::future::ready(part.is_some()));
    let messages = parts.filter_map(std::future::ready).map(move |part| {
        let _held = &place;
        part.map(|part| v1::FetchResponse { part: Some(part) })
    });
    Box::pin(messages)
}

fn pieces(frame: Result<Frame<Bytes>, BodyError>) -> Vec<Result<fetch_response::Part, Status>> {
    let data = match frame.map(Frame::into_data) {
        Ok(Ok(data)) => data,
        // Trailers have no place in `fetch`.
        Ok(Err(_)) => return Vec::new(),
        Err(error) => {
            let text = format!("the response's body failed: {error}");
            return vec![Err(ended(CallErrorKind::Exception, Outcome::Unknown, "Error", &text))];
        }
    };
    split(data).into_iter().map(|piece| Ok(fetch_response::Part::Chunk(piece))).collect()
}

/// A piece of a body in parts that fit a message.
pub(super) fn split(mut data: Bytes) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(data.len() / CHUNK_BYTES_MAX + 1);
    while data.len() > CHUNK_BYTES_MAX {
        parts.push(data.split_to(CHUNK_BYTES_MAX));
    }
    if !data.is_empty() {
        parts.push(data);
    }
    parts
}

/// Headers as messages carry them.
pub(super) fn wire_headers(headers: &http::HeaderMap) -> Vec<v1::Header> {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| v1::Header {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(header).collect()
}
