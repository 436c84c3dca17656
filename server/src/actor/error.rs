//! The errors an actor call can end in: one constructor per kind, so that kind, name and outcome always agree.

use lethe_runtime::{
    engine::InvocationError,
    host::{CallError, CallErrorKind, JsError, Outcome},
};

fn call_error(kind: CallErrorKind, name: &str, message: impl Into<String>, outcome: Outcome) -> CallError {
    CallError { kind, error: JsError { name: name.into(), message: message.into(), stack: String::new() }, outcome }
}

/// The actor was destroyed; `outcome` says what became of this call.
pub(crate) fn destroyed(outcome: Outcome) -> CallError {
    call_error(CallErrorKind::Destroyed, "ActorDestroyed", "the actor was destroyed", outcome)
}

/// Something is full; nothing ran.
pub(crate) fn overloaded(message: impl Into<String>) -> CallError {
    call_error(CallErrorKind::Overloaded, "Overloaded", message, Outcome::NotDone)
}

/// The call names nothing that exists; nothing ran.
pub(crate) fn invalid_target(message: impl Into<String>) -> CallError {
    call_error(CallErrorKind::InvalidTarget, "TypeError", message, Outcome::NotDone)
}

/// The instance ended while the call was in it.
pub(crate) fn reset(message: impl Into<String>) -> CallError {
    call_error(CallErrorKind::Reset, "ActorReset", message, Outcome::Unknown)
}

/// No leader, no quorum, or the node is stopping.
pub(crate) fn unavailable(message: impl Into<String>, outcome: Outcome) -> CallError {
    call_error(CallErrorKind::Unavailable, "Unavailable", message, outcome)
}

/// The deadline passed while the call was under way.
pub(crate) fn deadline() -> CallError {
    let message = "the call's deadline passed before its reply; it may still take effect";
    call_error(CallErrorKind::Deadline, "TimeoutError", message, Outcome::Unknown)
}

/// The deadline passed before the call could begin.
pub(crate) fn deadline_before_start() -> CallError {
    let message = "the call's deadline passed before its actor was ready; nothing was done";
    call_error(CallErrorKind::Deadline, "TimeoutError", message, Outcome::NotDone)
}

/// A fault of ours.
pub(crate) fn internal(message: impl Into<String>, outcome: Outcome) -> CallError {
    call_error(CallErrorKind::Internal, "InternalError", message, outcome)
}

/// What the runtime says of an invocation, as the error of a call.
pub(crate) fn from_invocation(error: InvocationError) -> CallError {
    match error {
        InvocationError::Exception(error) => {
            CallError { kind: CallErrorKind::Exception, error, outcome: Outcome::Done }
        }
        InvocationError::Limit(limit) => {
            call_error(CallErrorKind::Limit, "LimitExceeded", limit.to_string(), Outcome::Unknown)
        }
        InvocationError::Aborted(reason) => reset(reason),
        InvocationError::NoHandler(message) => invalid_target(message),
        InvocationError::Overloaded(message) => overloaded(message),
    }
}
