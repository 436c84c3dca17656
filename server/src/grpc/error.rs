//! The one table between the errors of calls and the errors of the wire.
//!
//! A [`CallError`] or a refusal becomes a [`v1::Error`], sent as the trailer `lethe-error-bin` of a gRPC status; the
//! other direction serves a node that calls an actor on another node.

use lethe_client::calls::Failure;
use lethe_proto::{
    ERROR_TRAILER, NodeId,
    v1::{self, ErrorCode},
};
use lethe_runtime::host::{CallError, CallErrorKind, JsError, Outcome};
use prost::Message;
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{
    actor::{Failed, error},
    peer::LinkError,
};

/// Longest `name` sent, bytes. These three together stay below the 8 KiB of headers that any gRPC client takes.
const NAME_BYTES_MAX: usize = 128;
/// Longest `message` sent, bytes.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Longest `stack` sent, bytes.
const STACK_BYTES_MAX: usize = 3 << 10;
/// Longest message of the gRPC status itself, which is there for people without the trailer, bytes.
const STATUS_BYTES_MAX: usize = 256;

fn code_of(kind: CallErrorKind) -> ErrorCode {
    match kind {
        CallErrorKind::Exception => ErrorCode::Exception,
        CallErrorKind::Destroyed => ErrorCode::ActorDestroyed,
        CallErrorKind::Overloaded => ErrorCode::Overloaded,
        CallErrorKind::Limit => ErrorCode::ExceededLimit,
        CallErrorKind::InvalidTarget => ErrorCode::InvalidTarget,
        CallErrorKind::Reset => ErrorCode::Reset,
        CallErrorKind::Unavailable => ErrorCode::Unavailable,
        CallErrorKind::Deadline => ErrorCode::Deadline,
        CallErrorKind::Internal => ErrorCode::Internal,
    }
}

fn kind_of(code: ErrorCode) -> CallErrorKind {
    match code {
        ErrorCode::Exception => CallErrorKind::Exception,
        ErrorCode::ActorDestroyed => CallErrorKind::Destroyed,
        ErrorCode::Overloaded => CallErrorKind::Overloaded,
        ErrorCode::ExceededLimit => CallErrorKind::Limit,
        ErrorCode::InvalidTarget | ErrorCode::InvalidId | ErrorCode::NoSuchActor => CallErrorKind::InvalidTarget,
        ErrorCode::Reset => CallErrorKind::Reset,
        ErrorCode::Unavailable | ErrorCode::NotLeader => CallErrorKind::Unavailable,
        ErrorCode::Deadline => CallErrorKind::Deadline,
        ErrorCode::Internal | ErrorCode::InvalidRequest | ErrorCode::Unspecified => CallErrorKind::Internal,
    }
}

fn grpc_of(code: ErrorCode) -> Code {
    match code {
        ErrorCode::Exception | ErrorCode::Unspecified => Code::Unknown,
        ErrorCode::ActorDestroyed => Code::FailedPrecondition,
        ErrorCode::Overloaded | ErrorCode::ExceededLimit => Code::ResourceExhausted,
        ErrorCode::InvalidTarget | ErrorCode::InvalidId | ErrorCode::InvalidRequest => Code::InvalidArgument,
        ErrorCode::NoSuchActor => Code::NotFound,
        ErrorCode::Reset => Code::Aborted,
        ErrorCode::Unavailable | ErrorCode::NotLeader => Code::Unavailable,
        ErrorCode::Deadline => Code::DeadlineExceeded,
        ErrorCode::Internal => Code::Internal,
    }
}

fn wire_outcome(outcome: Outcome) -> v1::Outcome {
    match outcome {
        Outcome::Done => v1::Outcome::Done,
        Outcome::NotDone => v1::Outcome::NotDone,
        Outcome::Unknown => v1::Outcome::Unknown,
    }
}

/// The error of a call that failed.
pub(super) fn of_call(error: &CallError) -> v1::Error {
    detail(code_of(error.kind), error.outcome, &error.error)
}

/// The error of an attempt that failed.
pub(super) fn of_attempt(failed: &Failed) -> v1::Error {
    match failed {
        Failed::Call(error) => of_call(error),
        Failed::NotLeader { leader } => {
            let CallError { error, .. } = failed.clone().into();
            let leader = leader.map(|node| node.to_string()).unwrap_or_default();
            v1::Error { leader, ..detail(ErrorCode::NotLeader, Outcome::NotDone, &error) }
        }
    }
}

/// The error of a request that was refused before anything ran.
pub(super) fn of_refusal(code: ErrorCode, message: impl Into<String>) -> v1::Error {
    let error = JsError { name: "TypeError".into(), message: message.into(), stack: String::new() };
    detail(code, Outcome::NotDone, &error)
}

/// The error of a call that the server itself ended.
pub(super) fn of_end(kind: CallErrorKind, outcome: Outcome, name: &str, message: &str) -> v1::Error {
    let error = JsError { name: name.into(), message: message.into(), stack: String::new() };
    detail(code_of(kind), outcome, &error)
}

/// The status of a call that failed.
pub(super) fn status(error: &CallError) -> Status {
    envelope(&of_call(error))
}

/// The status of an attempt that failed.
pub(super) fn failure(failed: &Failed) -> Status {
    envelope(&of_attempt(failed))
}

/// The status of a request that was refused before anything ran.
pub(super) fn refuse(code: ErrorCode, message: impl Into<String>) -> Status {
    envelope(&of_refusal(code, message))
}

/// The status of a call that the server itself ended.
pub(super) fn ended(kind: CallErrorKind, outcome: Outcome, name: &str, message: &str) -> Status {
    envelope(&of_end(kind, outcome, name, message))
}

fn detail(code: ErrorCode, outcome: Outcome, error: &JsError) -> v1::Error {
    v1::Error {
        code: code.into(),
        outcome: wire_outcome(outcome).into(),
        name: cut(&error.name, NAME_BYTES_MAX).to_owned(),
        message: cut(&error.message, MESSAGE_BYTES_MAX).to_owned(),
        stack: cut(&error.stack, STACK_BYTES_MAX).to_owned(),
        leader: String::new(),
    }
}

/// The gRPC status that carries an error as its trailer.
pub(super) fn envelope(error: &v1::Error) -> Status {
    let line = error.message.lines().next().unwrap_or_default();
    let mut status = Status::new(grpc_of(error.code()), cut(line, STATUS_BYTES_MAX));
    status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&error.encode_to_vec()));
    status
}

/// What an error from another node means.
pub(super) fn from_wire(error: v1::Error) -> Failed {
    let outcome = match error.outcome() {
        v1::Outcome::Done => Outcome::Done,
        v1::Outcome::NotDone => Outcome::NotDone,
        v1::Outcome::Unknown | v1::Outcome::Unspecified => Outcome::Unknown,
    };
    if error.code() == ErrorCode::NotLeader {
        let leader = uuid::Uuid::try_parse(&error.leader).ok().map(NodeId);
        return Failed::NotLeader { leader };
    }
    let kind = kind_of(error.code());
    let error = JsError { name: error.name, message: error.message, stack: error.stack };
    CallError { kind, error, outcome }.into()
}

/// What a status from another node means. Without a trailer the call may have been lost on the way.
pub(super) fn from_status(status: &Status) -> Failed {
    if let Some(error) = trailer(status) {
        return from_wire(error);
    }
    let (kind, name) = match status.code() {
        _ if causes(status).any(|error| error.is::<tonic::TimeoutExpired>()) => {
            (CallErrorKind::Deadline, "TimeoutError")
        }
        Code::DeadlineExceeded => (CallErrorKind::Deadline, "TimeoutError"),
        Code::Unavailable | Code::Cancelled | Code::Unknown => (CallErrorKind::Unavailable, "Unavailable"),
        _ => (CallErrorKind::Internal, "InternalError"),
    };
    let outcome = if never_sent(status) { Outcome::NotDone } else { Outcome::Unknown };
    let error = JsError { name: name.into(), message: status.message().to_owned(), stack: String::new() };
    CallError { kind, error, outcome }.into()
}

/// What became of a call on a stream of calls to another node.
pub(super) fn from_failure(failure: Failure) -> Failed {
    let error = match failure {
        Failure::Answered(error) => return from_wire(error),
        Failure::Late { sent } => late(if sent { Outcome::Unknown } else { Outcome::NotDone }),
        Failure::NotTaken => error::unavailable("the actor's node is stopping", Outcome::NotDone),
        Failure::Full => error::overloaded("too many calls to the actor's node wait for their turn"),
        Failure::NotSent(status) => error::unavailable(status.message(), Outcome::NotDone),
        Failure::Lost(status) => error::unavailable(status.message(), Outcome::Unknown),
    };
    error.into()
}

/// Another node did not answer in time.
pub(super) fn late(outcome: Outcome) -> CallError {
    let message = "the actor's node did not answer before the deadline".into();
    let error = JsError { name: "TimeoutError".into(), message, stack: String::new() };
    CallError { kind: CallErrorKind::Deadline, error, outcome }
}

/// Whether the answer is that there is no such actor.
pub(super) fn is_unknown_actor(status: &Status) -> bool {
    trailer(status).is_some_and(|error| error.code() == ErrorCode::NoSuchActor)
}

fn trailer(status: &Status) -> Option<v1::Error> {
    let trailer = status.metadata().get_bin(ERROR_TRAILER)?.to_bytes().ok()?;
    v1::Error::decode(trailer).ok()
}

/// Whether the request surely never reached the wire: there was no connection, or it closed before its turn came.
fn never_sent(status: &Status) -> bool {
    causes(status).any(|error| {
        error.is::<tonic::ConnectError>()
            || error.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || matches!(error.downcast_ref(), Some(LinkError::NotSent(_)))
    })
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use lethe_runtime::engine::{InvocationError, Limit};

    use super::*;

    const KINDS: [CallErrorKind; 9] = [
        CallErrorKind::Exception,
        CallErrorKind::Destroyed,
        CallErrorKind::Overloaded,
        CallErrorKind::Limit,
        CallErrorKind::InvalidTarget,
        CallErrorKind::Reset,
        CallErrorKind::Unavailable,
        CallErrorKind::Deadline,
        CallErrorKind::Internal,
    ];

    #[test]
    fn every_kind_and_outcome_survives_the_wire() {
        for kind in KINDS {
            for outcome in [Outcome::Done, Outcome::NotDone, Outcome::Unknown] {
                let error = JsError { name: "N".into(), message: "m\nn é".into(), stack: "at x".into() };
                let error = CallError { kind, error, outcome };
                assert_eq!(from_status(&status(&error)), error.into());
            }
        }
    }

    #[test]
    fn the_reference_tells_of_every_code_with_its_status_and_name() {
        let reference = include_str!("../../../docs/reference.md");
        let name = |code: ErrorCode| match code {
            ErrorCode::Unspecified => None,
            ErrorCode::Exception => Some("the exception's".to_owned()),
            ErrorCode::ActorDestroyed => Some(error::destroyed(Outcome::NotDone).error.name),
            ErrorCode::Overloaded => Some(error::overloaded("").error.name),
            ErrorCode::ExceededLimit => Some(error::from_invocation(InvocationError::Limit(Limit::Cpu)).error.name),
            ErrorCode::InvalidTarget => Some(error::invalid_target("").error.name),
            ErrorCode::InvalidId | ErrorCode::InvalidRequest | ErrorCode::NoSuchActor => {
                Some(of_refusal(code, "").name)
            }
            ErrorCode::Reset => Some(error::reset("").error.name),
            ErrorCode::Unavailable => Some(error::unavailable("", Outcome::NotDone).error.name),
            ErrorCode::Deadline => Some(error::deadline().error.name),
            ErrorCode::Internal => Some(error::internal("", Outcome::Unknown).error.name),
            ErrorCode::NotLeader => Some(of_attempt(&Failed::NotLeader { leader: None }).name),
        };
        for code in (0..).map_while(|number| ErrorCode::try_from(number).ok()) {
            let Some(name) = name(code) else { continue };
            let name = if name.contains(' ') { name } else { format!("`{name}`") };
            let short = code.as_str_name().trim_start_matches("ERROR_CODE_");
            let row = format!("\n| `{short}` | `{}` | {name} | ", in_capitals(grpc_of(code)));
            assert!(reference.contains(&row), "docs/reference.md has no row {row:?}");
        }
    }

    /// `DeadlineExceeded` as gRPC writes it: `DEADLINE_EXCEEDED`.
    fn in_capitals(code: Code) -> String {
        let mut text = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_ascii_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.push(letter.to_ascii_uppercase());
        }
        text
    }

    #[test]
    fn a_hint_at_the_leader_survives_the_wire() {
        for leader in [None, Some(NodeId::from(7))] {
            let failed = Failed::NotLeader { leader };
            assert_eq!(from_status(&failure(&failed)), failed);
        }
    }

    #[test]
    fn what_a_link_did_not_send_was_not_done() {
        let broken =
            [(LinkError::NotSent("n".into()), Outcome::NotDone), (LinkError::Lost("l".into()), Outcome::Unknown)];
        for (error, outcome) in broken {
            let error = CallError::from(from_status(&Status::from_error(Box::new(error))));
            assert_eq!((error.kind, error.outcome), (CallErrorKind::Unavailable, outcome));
        }
    }

    #[test]
    fn long_texts_are_cut_so_that_every_client_takes_the_trailer() {
        let long = "é".repeat(100_000);
        let error = JsError { name: long.clone(), message: long.clone(), stack: long };
        let error = CallError { kind: CallErrorKind::Exception, error, outcome: Outcome::Done };
        let mut headers = http::HeaderMap::new();
        status(&error).add_header(&mut headers).unwrap();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes < 8 << 10, "{bytes} bytes of headers");
    }

    #[test]
    fn a_status_without_a_trailer_leaves_the_outcome_unknown() {
        let error = CallError::from(from_status(&Status::unavailable("gone")));
        assert_eq!((error.kind, error.outcome), (CallErrorKind::Unavailable, Outcome::Unknown));
    }

    #[test]
    fn what_became_of_a_call_on_a_stream_to_another_node_says_what_may_be_believed() {
        let status = || Status::internal("snap");
        let unsent = || Status::from_error(Box::new(LinkError::NotSent("n".into())));
        let (unavailable, late) = (CallErrorKind::Unavailable, CallErrorKind::Deadline);
        let table = [
            (Failure::Late { sent: true }, late, Outcome::Unknown),
            (Failure::Late { sent: false }, late, Outcome::NotDone),
            (Failure::NotTaken, unavailable, Outcome::NotDone),
            (Failure::Full, CallErrorKind::Overloaded, Outcome::NotDone),
            (Failure::NotSent(status()), unavailable, Outcome::NotDone),
            (Failure::Lost(status()), unavailable, Outcome::Unknown),
            // What was sent on a stream that broke may have arrived, whatever the stream's end says.
            (Failure::Lost(unsent()), unavailable, Outcome::Unknown),
        ];
        for (failure, kind, outcome) in table {
            let shown = format!("{failure:?}");
            let error = CallError::from(from_failure(failure));
            assert_eq!((error.kind, error.outcome), (kind, outcome), "{shown}");
        }
        let hint = Failed::NotLeader { leader: Some(NodeId::from(7)) };
        assert_eq!(from_failure(Failure::Answered(of_attempt(&hint))), hint);
    }
}
