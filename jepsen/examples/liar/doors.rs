//! The two doors of a server: the HTTP answers of `jepsen/actors`, and the calls of the gRPC service.

use std::{convert::Infallible, pin::Pin, sync::Arc};

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
    },
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Status, codegen::tokio_stream::Stream, metadata::MetadataValue};

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

struct Service(Arc<Registers>);

type Answer<T> = Result<tonic::Response<T>, Status>;

#[tonic::async_trait]
impl Actors for Service {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<v1::FetchResponse, Status>> + Send>>;

    async fn call(&self, request: tonic::Request<v1::CallRequest>) -> Answer<v1::CallResponse> {
        let request = request.into_inner();
        let Some(v1::call_request::Args::Json(args)) = request.args else {
            return Err(Status::invalid_argument("only JSON"));
        };
        let args: Vec<i64> =
            serde_json::from_str(&args).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let reply = self.0.call(&key(request.actor)?, &request.method, &args).await;
        let json = value(reply)?.to_string();
        let result = Some(v1::call_response::Result::Json(json));
        Ok(tonic::Response::new(v1::CallResponse { id: String::new(), result, leader: String::new() }))
    }

    async fn destroy(&self, request: tonic::Request<v1::DestroyRequest>) -> Answer<v1::DestroyResponse> {
        let reply = self.0.call(&key(request.into_inner().actor)?, "destroy", &[]).await;
        value(reply)?;
        Ok(tonic::Response::new(v1::DestroyResponse { id: String::new() }))
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

fn key(actor: Option<v1::Actor>) -> Result<String, Status> {
    match actor.and_then(|actor| actor.id) {
        Some(v1::actor::Id::Name(name)) => Ok(name),
        Some(v1::actor::Id::Hex(_) | v1::actor::Id::Unique(_)) | None => Err(Status::invalid_argument("only names")),
    }
}

fn value(reply: anyhow::Result<Reply>) -> Result<Value, Status> {
    match reply {
        Ok(Reply::Value(value)) => Ok(value),
        Ok(Reply::Destroyed) => Err(status(ErrorCode::ActorDestroyed, Outcome::NotDone)),
        Ok(Reply::NotDone) => Err(status(ErrorCode::Overloaded, Outcome::NotDone)),
        Err(error) => Err(Status::invalid_argument(error.to_string())),
    }
}

fn status(code: ErrorCode, outcome: Outcome) -> Status {
    let error = v1::Error { code: code.into(), outcome: outcome.into(), ..v1::Error::default() };
    let mut status = Status::failed_precondition(code.as_str_name());
    status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&error.encode_to_vec()));
    status
}
