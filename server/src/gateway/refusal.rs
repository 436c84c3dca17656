//! What the gateway answers by itself: short plain text that names the reason, from one table.

use std::fmt::Write as _;

use http::{HeaderValue, Response, StatusCode, header};
use lethe_runtime::body::{self, Body};

/// A request the gateway answers without asking [`super::Serve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    BadHost,
    BadTarget,
    MethodNotAllowed,
    UrlTooLong,
    HeadersTooLarge,
    HeaderTimeout,
    BodyTooLarge,
    BodyStalled,
    BodyBroken,
    TooManyConnections,
    TooManyRequests,
    Panicked,
    BadResponse,
}

impl Refusal {
    /// Status and text of each.
    fn table(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Malformed => (StatusCode::BAD_REQUEST, "this is not a valid HTTP request"),
            Refusal::BadHost => (StatusCode::BAD_REQUEST, "the Host header is missing, repeated or not a host name"),
            Refusal::BadTarget => {
                (StatusCode::BAD_REQUEST, "the request target must be a path or an http or https URL")
            }
            Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT and TRACE are not served"),
            Refusal::UrlTooLong => (StatusCode::URI_TOO_LONG, "the URL is too long"),
            Refusal::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many or too large headers")
            }
            Refusal::HeaderTimeout => (StatusCode::REQUEST_TIMEOUT, "the request's headers did not arrive in time"),
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large"),
            Refusal::BodyStalled => (StatusCode::REQUEST_TIMEOUT, "the request's body stopped arriving"),
            Refusal::BodyBroken => (StatusCode::BAD_REQUEST, "the request's body is malformed or was broken off"),
            Refusal::TooManyConnections => {
                (StatusCode::SERVICE_UNAVAILABLE, "too many connections are open, try again")
            }
            Refusal::TooManyRequests => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way, try again"),
            Refusal::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Refusal::BadResponse => (StatusCode::INTERNAL_SERVER_ERROR, "the worker's response cannot be sent"),
        }
    }

    /// The refusal for a status that the HTTP library chose by itself.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            414 => Refusal::UrlTooLong,
            431 => Refusal::HeadersTooLarge,
            _ => Refusal::Malformed,
        }
    }

    fn retry_after(self) -> bool {
        matches!(self, Refusal::TooManyConnections | Refusal::TooManyRequests)
    }

    fn text(self) -> String {
        let (status, reason) = self.table();
        format!("{} {}: {reason}\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
    }

    /// The page as a response.
    pub(super) fn response(self) -> Response<Body> {
        let mut response = Response::new(body::full(self.text()));
        *response.status_mut() = self.table().0;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// The page as the last HTTP/1.1 bytes of a connection.
    pub(super) fn last_words(self) -> Vec<u8> {
        let text = self.text();
        let status = self.table().0;
        let mut page = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
        let retry = if self.retry_after() { "retry-after: 1\r\n" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "content-type: text/plain; charset=utf-8\r\n{retry}content-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        );
        page.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_tells_of_every_refusal() {
        let reference = include_str!("../../../docs/reference.md");
        // `match` makes sure that none is forgotten: each names the one after it.
        let next = |refusal| match refusal {
            Refusal::Malformed => Some(Refusal::BadHost),
            Refusal::BadHost => Some(Refusal::BadTarget),
            Refusal::BadTarget => Some(Refusal::MethodNotAllowed),
            Refusal::MethodNotAllowed => Some(Refusal::UrlTooLong),
            Refusal::UrlTooLong => Some(Refusal::HeadersTooLarge),
            Refusal::HeadersTooLarge => Some(Refusal::HeaderTimeout),
            Refusal::HeaderTimeout => Some(Refusal::BodyTooLarge),
            Refusal::BodyTooLarge => Some(Refusal::BodyStalled),
            Refusal::BodyStalled => Some(Refusal::BodyBroken),
            Refusal::BodyBroken => Some(Refusal::TooManyConnections),
            Refusal::TooManyConnections => Some(Refusal::TooManyRequests),
            Refusal::TooManyRequests => Some(Refusal::Panicked),
            Refusal::Panicked => Some(Refusal::BadResponse),
            Refusal::BadResponse => None,
        };
        for refusal in std::iter::successors(Some(Refusal::Malformed), |refusal| next(*refusal)) {
            let (status, text) = refusal.table();
            let row = format!("| {} | {text} | ", status.as_u16());
            let found = reference.lines().find(|line| line.starts_with(&row));
            let found = found.unwrap_or_else(|| panic!("docs/reference.md has no row {row:?}"));
            assert_eq!(found.contains("`retry-after: 1`"), refusal.retry_after(), "{found}");
        }
    }
}
