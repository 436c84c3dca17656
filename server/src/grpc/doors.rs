//! Two services behind one port, told apart by the service's name in the request's path, or by the whole path.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::{Either, Future};
use tonic::{body::Body, server::NamedService};
use tower_service::Service;

/// Requests for `B` go to it; all others go to `A`, which refuses those it does not know.
#[derive(Clone)]
pub(super) struct Doors<A, B> {
    first: A,
    second: B,
}

impl<A, B> Doors<A, B> {
    /// Both services.
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A, B, R> Service<http::Request<R>> for Doors<A, B>
where
    A: Service<http::Request<R>, Response = http::Response<Body>, Error = Infallible>,
    B: Service<http::Request<R>, Response = http::Response<Body>, Error = Infallible> + NamedService,
    A::Future: Future<Output = Result<http::Response<Body>, Infallible>>,
    B::Future: Future<Output = Result<http::Response<Body>, Infallible>>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<A::Future, B::Future>;

    /// Services that tonic makes are always ready.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.first.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.second.poll_ready(cx),
            not_yet => not_yet,
        }
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match service {
            Some((name, _)) if name == B::NAME => Either::Right(self.second.call(request)),
            _ => Either::Left(self.first.call(request)),
        }
    }
}

/// Requests for one path go to a service of their own.
#[derive(Clone)]
pub(super) struct Paths<S> {
    others: S,
    path: &'static str,
    own: S,
}

impl<S> Paths<S> {
    /// Requests for `path` go to `own`, all others to `others`.
    pub(super) fn new(others: S, path: &'static str, own: S) -> Self {
        Self { others, path, own }
    }
}

impl<S, R> Service<http::Request<R>> for Paths<S>
where
    S: Service<http::Request<R>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    /// Services that tonic makes are always ready.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.others.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.own.poll_ready(cx),
            not_yet => not_yet,
        }
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        if request.uri().path() == self.path { self.own.call(request) } else { self.others.call(request) }
    }
}
