//! What a client sees, and what the operator reads, when a Worker gives no response.

use http::{Response, StatusCode, header};
use lethe_runtime::{
    body::{self, Body},
    engine::InvocationError,
};
use uuid::Uuid;

use crate::{cluster::Stale, deploy::Version};

/// Logs the failure and makes the response that stands for it.
pub(super) fn respond(version: &Version, request_id: Uuid, failure: &InvocationError, show: bool) -> Response<Body> {
    let worker = version.name();
    let (status, text) = match failure {
        InvocationError::Exception(error) => {
            // A stack begins with name and message.
            let what = if error.stack.is_empty() { error.to_string() } else { error.stack.clone() };
            tracing::error!(worker, %request_id, version = %version.id(), "uncaught {what}");
            let detail = if show { format!("\n\n{what}") } else { String::new() };
            (StatusCode::INTERNAL_SERVER_ERROR, format!("The worker threw an exception.{detail}"))
        }
        InvocationError::Limit(limit) => {
            tracing::error!(worker, %request_id, version = %version.id(), "the worker {limit}");
            (StatusCode::SERVICE_UNAVAILABLE, format!("The worker {limit}."))
        }
        InvocationError::Aborted(reason) => {
            tracing::error!(worker, %request_id, version = %version.id(), "the worker was ended: {reason}");
            (StatusCode::INTERNAL_SERVER_ERROR, "The worker was ended before it answered.".to_owned())
        }
        InvocationError::NoHandler(message) => {
            tracing::error!(worker, %request_id, version = %version.id(), "{message}");
            let detail = if show { format!("\n\n{message}") } else { String::new() };
            (StatusCode::INTERNAL_SERVER_ERROR, format!("The worker cannot answer this request.{detail}"))
        }
        InvocationError::Overloaded(reason) => {
            tracing::warn!(worker, %request_id, "overloaded: {reason}");
            (StatusCode::SERVICE_UNAVAILABLE, "The server is overloaded; nothing was done. Try again.".to_owned())
        }
    };
    plain(status, text)
}

/// The response of a node that may not know what to run.
pub(super) fn not_now(stale: &Stale) -> Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, format!("503 Service Unavailable: {stale}"));
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(body::full(text + "\n"));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
