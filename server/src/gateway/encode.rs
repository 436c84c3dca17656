//! From the worker's response to the wire's: no hop-by-hop header, a true content-length, a body only where one may be.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use lethe_runtime::body::{self, Body};

use super::refusal::Refusal;
use crate::egress::hop;

/// Makes a response fit to be sent. Returns it with the number of bytes its `content-length` promises, if any.
pub(super) fn response(response: Response<Body>, method: &Method) -> (Response<Body>, Option<u64>) {
    // 1xx is not an answer, and 101 needs an upgrade that was not agreed on.
    let response = if response.status().is_informational() { Refusal::BadResponse.response() } else { response };
    let (mut parts, mut inner) = response.into_parts();
    hop::strip(&mut parts.headers);
    parts.extensions.clear();
    if *method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED {
        // The headers say what a GET would have got.
        if let (None, Some(bytes), true) =
            (declared_length(&mut parts.headers), inner.size_hint().exact(), *method == Method::HEAD)
        {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        return (Response::from_parts(parts, body::empty()), None);
    }
    if parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::RESET_CONTENT {
        inner = body::empty();
        parts.headers.remove(header::CONTENT_LENGTH);
        return (Response::from_parts(parts, inner), None);
    }
    let promised = match inner.size_hint().exact() {
        // What the body knows of itself is truer than a header.
        Some(bytes) => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
            Some(bytes)
        }
        None => declared_length(&mut parts.headers),
    };
    (Response::from_parts(parts, inner), promised)
}

/// The one value of `content-length`; a header that has no such value is removed.
fn declared_length(headers: &mut HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let value = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    if value.is_none() || values.next().is_some() {
        headers.remove(header::CONTENT_LENGTH);
        return None;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(response: &Response<Body>) -> Option<&str> {
        response.headers().get("content-length").map(|value| value.to_str().unwrap())
    }

    fn streaming() -> Body {
        use http_body_util::{BodyExt, StreamBody};
        let frames = futures::stream::iter([Ok(http_body::Frame::data(bytes::Bytes::from_static(b"abc")))]);
        StreamBody::new(frames).boxed_unsync()
    }

    #[test]
    fn a_wrong_content_length_gives_way_to_the_bodys_own() {
        let given = Response::builder().header("content-length", "99").body(body::full("abc")).unwrap();
        let (sent, promised) = response(given, &Method::GET);
        assert_eq!((length(&sent), promised), (Some("3"), Some(3)));
    }

    #[test]
    fn a_stream_is_held_to_the_length_it_declares_and_nonsense_is_dropped() {
        let given = Response::builder().header("content-length", "7").body(streaming()).unwrap();
        let (sent, promised) = response(given, &Method::GET);
        assert_eq!((length(&sent), promised), (Some("7"), Some(7)));
        for nonsense in ["+7", "seven", "", "7, 7", "-1"] {
            let given = Response::builder().header("content-length", nonsense).body(streaming()).unwrap();
            let (sent, promised) = response(given, &Method::GET);
            assert_eq!((length(&sent), promised), (None, None), "{nonsense:?}");
        }
    }

    #[test]
    fn head_gets_the_headers_of_get_and_no_body() {
        let (sent, promised) = response(Response::new(body::full("abc")), &Method::HEAD);
        assert_eq!((length(&sent), promised, sent.body().is_end_stream()), (Some("3"), None, true));
    }

    #[test]
    fn statuses_without_a_body_lose_it() {
        for status in [204, 205, 304] {
            let given = Response::builder().status(status).body(body::full("abc")).unwrap();
            let (sent, promised) = response(given, &Method::GET);
            assert_eq!((length(&sent), promised, sent.body().is_end_stream()), (None, None, true), "{status}");
        }
    }

    #[test]
    fn an_informational_status_is_no_answer() {
        let given = Response::builder().status(101).body(body::empty()).unwrap();
        assert_eq!(response(given, &Method::GET).0.status(), 500);
    }
}
