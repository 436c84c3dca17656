//! The access log: one `tracing` event per request, written when its response's body is dropped.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;
use uuid::Uuid;

use super::request_body::Intake;

/// What will be said about one request. Says it when dropped.
pub(super) struct Record {
    pub(super) enabled: bool,
    pub(super) started: Instant,
    pub(super) request_id: Uuid,
    pub(super) peer: IpAddr,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) intake: Arc<Intake>,
    /// `None` until there is an answer: the client left before.
    pub(super) status: Option<StatusCode>,
    pub(super) bytes_out: u64,
    /// The response's last frame was taken.
    pub(super) complete: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.enabled {
            return;
        }
        tracing::info!(
            target: "lethe::access",
            request_id = %self.request_id,
            peer = %self.peer,
            method = %self.method,
            host = %self.host,
            path = %self.path,
            // 499, as other servers write it: the client closed the request.
            status = self.status.map_or(499, |status| status.as_u16()),
            complete = self.complete,
            bytes_in = self.intake.bytes(),
            bytes_out = self.bytes_out,
            duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            protocol = ?self.version,
            "request"
        );
    }
}
