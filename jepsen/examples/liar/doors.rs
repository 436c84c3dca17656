//! The two doors of a server: the HTTP answers of `jepsen/actors`, and the calls of the gRPC service.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Bytes,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use lethe_proto::{
    ERROR_TRAILER,
    v1::{
        self, ErrorCode, Outcome,
        actors_server::{Actors, ActorsServer},
        numbered_answer::Answer as Told,
        numbered_call::What,
    },
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Status, metadata::MetadataValue};

use crate::registers::{Registers, Reply};

pub async fn serve_http(listener: TcpListener, registers: Arc<Registers>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let registers = Arc::clone(&registers);
        let service = service_fn(move |request| {
            let registers = Arc::clone(&registers);
            async move { Ok::<_, Infallible>(answer_http(&registers, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer_http(registers: &Registers, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_string();
    let [_, _class, key, method] = path.split('/').collect::<Vec<_>>()[..] else {
        return respond(StatusCode::NOT_FOUND, &json!("no such path"));
    };
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let args: Vec<i64> = serde_json::from_slice(&body).unwrap_or_default();
    match registers.call(key, method, &args).await {
        Ok(Reply::Value(value)) => respond(StatusCode::OK, &json!({"value": value})),
        Ok(Reply::Destroyed) => respond(StatusCode::GONE, &json!({"name": "ActorDestroyed"})),
        Ok(Reply::NotDone) => respond(StatusCode::SERVICE_UNAVAILABLE, &json!({"name": "Overloaded"})),
        Err(error) => respond(StatusCode::NOT_FOUND, &json!(error.to_string())),
    }
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
}

pub async fn serve_grpc(listener: TcpListener, registers: Arc<Registers>) -> anyhow::Result<()> {
    let service = TowerToHyperService::new(ActorsServer::new(Service(registers)));
    loop {
        let (stream, _) = listener.accept().await?;
        let connection =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection);
    }
}

/// Calls that run side by side on one stream.
const CALLS_MAX: u32 = 64;

#[derive(Clone)]
struct Service(Arc<Registers>);

type Answer<T> = Result<tonic::Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Actors for Service {
    type CallsStream = Answers<v1::CallsResponse>;
    type FetchStream = Answers<v1::FetchResponse>;

    async fn call(&self, request: tonic::Request<v1::CallRequest>) -> Answer<v1::CallResponse> {
        self.method(request.into_inner()).await.map(tonic::Response::new).map_err(|error| status(&error))
    }

    /// Every call runs to its end, whether somebody waits for it or not.
    async fn calls(&self, request: tonic::Request<tonic::Streaming<v1::CallsRequest>>) -> Answer<Self::CallsStream> {
        let service = self.clone();
        let calls = request.into_inner().flat_map(|message| {
            // A stream that broke off says nothing more.
            stream::iter(message.map(|message| message.calls).unwrap_or_default())
        });
        let answers = calls
            .map(move |call| service.clone().numbered(call))
            .buffer_unordered(CALLS_MAX as usize)
            .map(|answer| Ok(v1::CallsResponse { answers: vec![answer], calls_max: 0, last: None }));
        let limit = v1::CallsResponse { answers: Vec::new(), calls_max: CALLS_MAX, last: None };
        Ok(tonic::Response::new(stream::iter([Ok(limit)]).chain(answers).boxed()))
    }

    async fn destroy(&self, request: tonic::Request<v1::DestroyRequest>) -> Answer<v1::DestroyResponse> {
        self.destruction(request.into_inner()).await.map(tonic::Response::new).map_err(|error| status(&error))
    }

    async fn fetch(&self, _: tonic::Request<tonic::Streaming<v1::FetchRequest>>) -> Answer<Self::FetchStream> {
        Err(Status::unimplemented("fetch"))
    }

    async fn list(&self, _: tonic::Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        Err(Status::unimplemented("list"))
    }

    async fn show(&self, _: tonic::Request<v1::ShowRequest>) -> Answer<v1::ShowResponse> {
        Err(Status::unimplemented("show"))
    }
}

impl Service {
    async fn numbered(self, call: v1::NumberedCall) -> v1::NumberedAnswer {
        let answer = match call.what {
            Some(What::Call(request)) => self.method(request).await.map(Told::Called),
            Some(What::Destroy(request)) => self.destruction(request).await.map(Told::Destroyed),
            None => Err(wrong("nothing to do")),
        };
        v1::NumberedAnswer { number: call.number, answer: Some(answer.unwrap_or_else(Told::Error)) }
    }

    async fn method(&self, request: v1::CallRequest) -> Result<v1::CallResponse, v1::Error> {
        let Some(v1::call_request::Args::Json(args)) = request.args else { return Err(wrong("only JSON")) };
        let args: Vec<i64> = serde_json::from_str(&args).map_err(|error| wrong(&error.to_string()))?;
        let reply = self.0.call(&key(request.actor)?, &request.method, &args).await;
        let json = value(reply)?.to_string();
        let result = Some(v1::call_response::Result::Json(json));
        Ok(v1::CallResponse { id: String::new(), result, leader: String::new() })
    }

    async fn destruction(&self, request: v1::DestroyRequest) -> Result<v1::DestroyResponse, v1::Error> {
        let reply = self.0.call(&key(request.actor)?, "destroy", &[]).await;
        value(reply)?;
        Ok(v1::DestroyResponse { id: String::new() })
    }
}

fn key(actor: Option<v1::Actor>) -> Result<String, v1::Error> {
    match actor.and_then(|actor| actor.id) {
        Some(v1::actor::Id::Name(name)) => Ok(name),
        _ => Err(wrong("only names")),
    }
}

fn value(reply: anyhow::Result<Reply>) -> Result<Value, v1::Error> {
    match reply {
        Ok(Reply::Value(value)) => Ok(value),
        Ok(Reply::Destroyed) => Err(error(ErrorCode::ActorDestroyed, "destroyed")),
        Ok(Reply::NotDone) => Err(error(ErrorCode::Overloaded, "refused")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// The request makes no sense.
fn wrong(message: &str) -> v1::Error {
    error(ErrorCode::InvalidRequest, message)
}

fn error(code: ErrorCode, message: &str) -> v1::Error {
    let (code, outcome) = (code.into(), Outcome::NotDone.into());
    v1::Error { code, outcome, message: message.to_owned(), ..v1::Error::default() }
}

fn status(error: &v1::Error) -> Status {
    let mut status = Status::failed_precondition(error.message.clone());
    status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&error.encode_to_vec()));
    status
}
