//! HTTP requests to an actor's `fetch`, with bodies streaming both ways.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use lethe_proto::v1::{self, fetch_request, fetch_response};
use tonic::Streaming;

use crate::{Actor, Code, Error, Outcome, actor::garbled};

/// Bytes of a body sent in one message.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Body of a response, chunk by chunk as it arrives.
#[derive(Debug)]
pub struct ResponseBody {
    parts: Streaming<v1::FetchResponse>,
}

impl Actor {
    /// Sends a request whose body is known. The URL must be absolute; its host is what the actor sees.
    pub async fn fetch(&self, request: http::Request<Bytes>) -> Result<http::Response<ResponseBody>, Error> {
        let (head, body) = request.into_parts();
        let body = stream::iter((!body.is_empty()).then_some(body));
        self.fetch_streaming(http::Request::from_parts(head, body)).await
    }

    /// Sends a request whose body comes bit by bit. The deadline covers the time until the response's head.
    pub async fn fetch_streaming<S>(&self, request: http::Request<S>) -> Result<http::Response<ResponseBody>, Error>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let head = v1::RequestHead {
            actor: Some(self.address.clone()),
            method: parts.method.as_str().to_owned(),
            url: parts.uri.to_string(),
            headers: parts
                .headers
                .iter()
                .map(|(name, value)| v1::Header {
                    name: name.as_str().to_owned(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                })
                .collect(),
        };
        let head = stream::iter([fetch_request::Part::Head(head)]);
        let chunks = body.flat_map(|chunk| stream::iter(split(chunk))).map(fetch_request::Part::Chunk);
        let messages = head.chain(chunks).map(|part| v1::FetchRequest { part: Some(part) });

        let client = &self.client;
        let first = async {
            let mut parts = client.stub().fetch(client.request(messages)).await?.into_inner();
            let first = parts.message().await?;
            Ok(tonic::Response::new((first, parts)))
        };
        let (first, parts) = client.bounded(first).await?;
        let Some(fetch_response::Part::Head(head)) = first.and_then(|message| message.part) else {
            return Err(garbled("the answer has no head"));
        };
        response(head, ResponseBody { parts })
    }
}

impl ResponseBody {
    /// The next chunk; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.parts.message().await {
            Ok(None) => Ok(None),
            Ok(Some(v1::FetchResponse { part: Some(fetch_response::Part::Chunk(chunk)) })) => Ok(Some(chunk)),
            Ok(Some(_)) => Err(garbled("the body holds something that is not a chunk")),
            Err(status) => Err(Error::from_status(&status)),
        }
    }

    /// The whole rest of the body; refused when it is larger than `bytes_max`.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > bytes_max {
                let message = format!("the response's body is larger than {bytes_max} bytes");
                return Err(Error::new(Code::ExceededLimit, Outcome::Done, message));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }
}

fn response(head: v1::ResponseHead, body: ResponseBody) -> Result<http::Response<ResponseBody>, Error> {
    let status = u16::try_from(head.status).map_err(|_| garbled("the answer's status is out of range"))?;
    let mut builder = http::Response::builder().status(status);
    for header in head.headers {
        builder = builder.header(header.name, &header.value[..]);
    }
    builder.body(body).map_err(|error| garbled(&format!("the answer's head is not HTTP: {error}")))
}

/// A chunk in pieces that fit a message.
fn split(mut chunk: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(chunk.len() / CHUNK_BYTES_MAX + 1);
    while chunk.len() > CHUNK_BYTES_MAX {
        pieces.push(chunk.split_to(CHUNK_BYTES_MAX));
    }
    if !chunk.is_empty() {
        pieces.push(chunk);
    }
    pieces
}
