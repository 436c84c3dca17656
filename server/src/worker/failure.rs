//! What a client sees, and what the operator reads, when a Worker gives no response.

use http::{Response, StatusCode, header};
use lethe_runtime::{
    body::{self, Body},
    engine::InvocationError,
    host::JsError,
};
use uuid::Uuid;

use crate::{cluster::Stale, deploy::Version};

/// Logs the failure and makes the response that stands for it.
pub(super) fn respond(version: &Version, request_id: Uuid, failure: &InvocationError, show: bool) -> Response<Body> {
    let (worker, id) = (version.name(), version.id());
    match failure {
        InvocationError::Exception(error) => {
            tracing::error!(worker, %request_id, version = %id, "uncaught {}", whole(error));
        }
        InvocationError::Limit(limit) => tracing::error!(worker, %request_id, version = %id, "the worker {limit}"),
        InvocationError::Aborted(reason) => {
            tracing::error!(worker, %request_id, version = %id, "the worker was ended: {reason}");
        }
        InvocationError::NoHandler(message) => tracing::error!(worker, %request_id, version = %id, "{message}"),
        InvocationError::Overloaded(reason) => tracing::warn!(worker, %request_id, "overloaded: {reason}"),
    }
    let (status, text) = answer(failure, show);
    plain(status, text)
}

/// Status and text of each; with `show`, what the Worker's author needs to know stands below.
fn answer(failure: &InvocationError, show: bool) -> (StatusCode, String) {
    let (status, text, detail) = match failure {
        InvocationError::Exception(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "The worker threw an exception.".to_owned(), Some(whole(error)))
        }
        InvocationError::Limit(limit) => (StatusCode::SERVICE_UNAVAILABLE, format!("The worker {limit}."), None),
        InvocationError::Aborted(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "The worker was ended before it answered.".to_owned(), None)
        }
        InvocationError::NoHandler(message) => {
            let text = "The worker cannot answer this request.".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, text, Some(message.clone()))
        }
        InvocationError::Overloaded(_) => {
            let text = "The server is overloaded; nothing was done. Try again.".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, text, None)
        }
    };
    match detail.filter(|_| show) {
        Some(detail) => (status, format!("{text}\n\n{detail}")),
        None => (status, text),
    }
}

/// The stack, which begins with name and message, or these alone.
fn whole(error: &JsError) -> String {
    if error.stack.is_empty() { error.to_string() } else { error.stack.clone() }
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

#[cfg(test)]
mod tests {
    use lethe_runtime::engine::Limit;

    use super::*;

    #[test]
    fn the_reference_tells_of_every_failure_and_only_an_authors_own_node_shows_the_stack() {
        let reference = include_str!("../../../docs/reference.md");
        let error = JsError { name: "E".into(), message: "m".into(), stack: "E: m\n  at index.js:1".into() };
        let failures = [
            (InvocationError::Exception(error), "E: m\n  at index.js:1"),
            (InvocationError::Limit(Limit::Cpu), ""),
            (InvocationError::Limit(Limit::Memory), ""),
            (InvocationError::Limit(Limit::Wall), ""),
            (InvocationError::Aborted("r".into()), ""),
            (InvocationError::NoHandler("no fetch".into()), "no fetch"),
            (InvocationError::Overloaded("full".into()), ""),
        ];
        for (failure, detail) in failures {
            let (status, text) = answer(&failure, false);
            let row = match failure {
                InvocationError::Limit(_) => {
                    let what = text.trim_end_matches('.').trim_start_matches("The worker exceeded ");
                    assert!(reference.contains(&format!("`{what}`")), "docs/reference.md has no {what:?}");
                    format!("| {} | The worker exceeded | ", status.as_u16())
                }
                _ => format!("| {} | {text} | ", status.as_u16()),
            };
            assert!(reference.contains(&row), "docs/reference.md has no row {row:?}");
            let shown = if detail.is_empty() { text } else { format!("{text}\n\n{detail}") };
            assert_eq!(answer(&failure, true), (status, shown));
        }
    }
}
