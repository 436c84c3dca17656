//! Errors of calls: what went wrong, and what the caller may believe about the call's effects.

use std::fmt;

use lethe_proto::{ERROR_TRAILER, v1};
use prost::Message;

use crate::{Code, calls::Failure};

/// What the caller may believe of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call ran to its end; the error is its answer.
    Done,
    /// The call surely had no effect.
    NotDone,
    /// The call may or may not have had its effects.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NotDone => "not done",
            Self::Unknown => "unknown",
        })
    }
}

/// A call that gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Error {
    /// What kind of failure this is.
    pub code: Code,
    /// Whether the call took effect.
    pub outcome: Outcome,
    /// Name of the JavaScript error, like `TypeError`.
    pub name: String,
    /// What went wrong.
    pub message: String,
    /// Stack in the worker's files; empty when there is none.
    pub stack: String,
}

impl Error {
    pub(crate) fn new(code: Code, outcome: Outcome, message: impl Into<String>) -> Self {
        let name = match code {
            Code::Deadline => "TimeoutError",
            Code::Unavailable => "Unavailable",
            Code::InvalidRequest | Code::InvalidTarget | Code::InvalidId => "TypeError",
            _ => "Error",
        };
        Self { code, outcome, name: name.to_owned(), message: message.into(), stack: String::new() }
    }

    /// Says the whole error at once: what `Display` says, with the outcome.
    pub fn describe(&self) -> String {
        format!("{self} (outcome: {})", self.outcome)
    }

    /// From the status of a call that was sent, or tried to be.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let trailer = status.metadata().get_bin(ERROR_TRAILER).and_then(|value| value.to_bytes().ok());
        match trailer.and_then(|bytes| v1::Error::decode(bytes).ok()) {
            Some(error) => Self::from_wire(error),
            None => Self::without_detail(status),
        }
    }

    /// From what became of a call on a stream of calls.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        match failure {
            Failure::Answered(error) => Self::from_wire(error),
            Failure::Late { sent: true } => Self::late(),
            Failure::Late { sent: false } => {
                Self::new(Code::Deadline, Outcome::NotDone, "the call could not be sent before its deadline")
            }
            Failure::NotTaken => Self::new(Code::Unavailable, Outcome::NotDone, "the server is stopping"),
            Failure::Full => Self::new(Code::Overloaded, Outcome::NotDone, "too many calls wait for their turn"),
            Failure::NotSent(status) if status.code() == tonic::Code::Unimplemented => Self::from_status(&status),
            Failure::NotSent(status) => Self::new(Code::Unavailable, Outcome::NotDone, status.message()),
            // The status says something of the stream, not of the call.
            Failure::Lost(status) => Self::new(Code::Unavailable, Outcome::Unknown, status.message()),
        }
    }

    /// Nobody answered before the deadline.
    pub(crate) fn late() -> Self {
        Self::new(Code::Deadline, Outcome::Unknown, "no answer before the deadline")
    }

    fn from_wire(error: v1::Error) -> Self {
        let outcome = match error.outcome() {
            v1::Outcome::Done => Outcome::Done,
            v1::Outcome::NotDone => Outcome::NotDone,
            v1::Outcome::Unknown | v1::Outcome::Unspecified => Outcome::Unknown,
        };
        let code = match error.code() {
            // Nodes say this to each other; to a caller it is one more node that cannot help now.
            Code::NotLeader => Code::Unavailable,
            code => code,
        };
        Self { code, outcome, name: error.name, message: error.message, stack: error.stack }
    }

    /// A status that Lethe did not write itself: from the transport, or from something in between.
    fn without_detail(status: &tonic::Status) -> Self {
        use tonic::Code as Grpc;
        let never_begun = never_begun(status);
        let outcome = match status.code() {
            _ if never_begun => Outcome::NotDone,
            Grpc::Unimplemented => Outcome::NotDone,
            _ => Outcome::Unknown,
        };
        let code = match status.code() {
            _ if never_begun => Code::Unavailable,
            _ if causes(status).any(|error| error.is::<tonic::TimeoutExpired>()) => Code::Deadline,
            Grpc::DeadlineExceeded => Code::Deadline,
            Grpc::Unavailable | Grpc::Cancelled | Grpc::Unknown => Code::Unavailable,
            Grpc::ResourceExhausted => Code::Overloaded,
            Grpc::InvalidArgument | Grpc::OutOfRange | Grpc::Unimplemented => Code::InvalidRequest,
            _ => Code::Internal,
        };
        Self::new(code, outcome, status.message())
    }
}

/// Whether the call was surely never begun: there was no connection, it closed before the request's turn came, or the
/// server said when it closed it that it has not looked at this request.
fn never_begun(status: &tonic::Status) -> bool {
    causes(status).any(|error| {
        error.is::<tonic::ConnectError>()
            || error.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || error.downcast_ref().is_some_and(was_passed_over)
    })
}

/// The request came after the last one that a closing server names (GOAWAY): it is not processed (RFC 9113, 6.8). h2 gives
/// this error to those requests only.
fn was_passed_over(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote()
}

fn causes(status: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_that_is_not_an_error_counts_as_unknown() {
        let mut status = tonic::Status::internal("x");
        let rubbish = tonic::metadata::MetadataValue::from_bytes(&[0xff; 7]);
        status.metadata_mut().insert_bin(ERROR_TRAILER, rubbish);
        assert_eq!(Error::from_status(&status), Error::new(Code::Internal, Outcome::Unknown, "x"));
    }

    #[test]
    fn a_method_the_server_does_not_have_was_not_done() {
        let error = Error::from_status(&tonic::Status::unimplemented("x"));
        assert_eq!((error.code, error.outcome), (Code::InvalidRequest, Outcome::NotDone));
    }

    #[test]
    fn a_status_from_in_between_leaves_the_outcome_unknown() {
        for code in [tonic::Code::Unavailable, tonic::Code::Cancelled, tonic::Code::DeadlineExceeded] {
            assert_eq!(Error::from_status(&tonic::Status::new(code, "x")).outcome, Outcome::Unknown);
        }
    }

    #[test]
    fn what_became_of_a_call_on_a_stream_says_what_may_be_believed() {
        let status = || tonic::Status::internal("snap");
        let told = v1::Error {
            code: Code::Exception.into(),
            outcome: v1::Outcome::Done.into(),
            name: "RangeError".into(),
            ..v1::Error::default()
        };
        let unimplemented = || tonic::Status::unimplemented("an older server");
        let table = [
            (Failure::Answered(told), Code::Exception, Outcome::Done),
            (Failure::Late { sent: true }, Code::Deadline, Outcome::Unknown),
            (Failure::Late { sent: false }, Code::Deadline, Outcome::NotDone),
            (Failure::NotTaken, Code::Unavailable, Outcome::NotDone),
            (Failure::Full, Code::Overloaded, Outcome::NotDone),
            (Failure::NotSent(status()), Code::Unavailable, Outcome::NotDone),
            (Failure::Lost(status()), Code::Unavailable, Outcome::Unknown),
            (Failure::NotSent(unimplemented()), Code::InvalidRequest, Outcome::NotDone),
            (Failure::Lost(unimplemented()), Code::Unavailable, Outcome::Unknown),
        ];
        for (failure, code, outcome) in table {
            let shown = format!("{failure:?}");
            let error = Error::from_failure(failure);
            assert_eq!((error.code, error.outcome), (code, outcome), "{shown}");
        }
    }
}
