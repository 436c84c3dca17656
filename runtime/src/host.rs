//! The only door out of an isolate: everything JavaScript may ask of the world is a method here.
//!
//! The server implements [`Host`] twice: once for Workers (no storage) and once for actors (storage, output gate).
//! The runtime knows nothing of clusters, disks or placement; it calls these methods and waits for what comes back.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::body::Body;

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

/// A JavaScript error as it crosses an isolate's edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsError {
    /// The error's `name`: `TypeError`, `ActorDestroyed`, ...
    pub name: String,
    /// The error's `message`.
    pub message: String,
    /// The error's `stack`, mapped to the worker's own files; empty when there is none.
    pub stack: String,
}

impl fmt::Display for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// What kind of failure a call met. Decided by the host, so no exception that user code throws can pass for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// The actor's own code threw.
    Exception,
    /// The actor was destroyed; a tombstone stands in its place. JavaScript name `ActorDestroyed`.
    Destroyed,
    /// A mailbox or the node is full. JavaScript name `Overloaded`.
    Overloaded,
    /// A limit of the worker was exceeded. JavaScript name `LimitExceeded`.
    Limit,
    /// No such namespace, class, method or handler, or an id of another namespace. JavaScript name `TypeError`.
    InvalidTarget,
    /// The instance was reset before it could answer (`ctx.abort`, a failed section, a lost commit). JavaScript name `ActorReset`.
    Reset,
    /// No leader, no quorum, or the node is stopping. JavaScript name `Unavailable`.
    Unavailable,
    /// The deadline passed. JavaScript name `TimeoutError`.
    Deadline,
    /// A fault of ours. JavaScript name `InternalError`.
    Internal,
}

/// A call that gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct CallError {
    /// What kind of failure this is.
    pub kind: CallErrorKind,
    /// What JavaScript sees thrown.
    pub error: JsError,
    /// Whether the call took effect.
    pub outcome: Outcome,
}

/// How JavaScript named an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdSource {
    /// `idFromName(name)`
    Name(String),
    /// `newUniqueId()`
    Unique,
    /// `idFromString(hex)`; refused when it is not an id of this namespace.
    Hex(String),
}

/// Where an actor call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorAddress {
    /// Binding name of the namespace in the calling worker's `env`.
    pub binding: String,
    /// The actor's id, 64 lower-case hex digits.
    pub id: String,
    /// The name the id was made from, if the caller knows it.
    pub name: Option<String>,
}

/// Arguments or result of a method call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes of the V8 value serializer: what isolates speak among themselves.
    V8(Bytes),
    /// JSON text: what programs outside speak. A call that came as JSON is answered in JSON.
    Json(String),
}

/// One call to an actor.
pub enum ActorCall {
    /// `stub.method(...args)`
    Method {
        /// The method's name.
        method: String,
        /// The arguments as one array.
        args: Payload,
    },
    /// `stub.fetch(request)`
    Fetch(http::Request<Body>),
    /// `stub.destroy()`: ends the actor; a tombstone stays.
    Destroy {
        /// An operator asks, and not a program; never said by JavaScript.
        by_operator: bool,
    },
}

/// What an actor call gave back.
pub enum ActorReply {
    /// The method's result, in the encoding of its arguments.
    Value(Payload),
    /// The response to a `fetch`.
    Response(http::Response<Body>),
    /// `destroy` is done.
    Destroyed,
}

/// One line a worker printed, or an exception nobody caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `debug`, `log`, `info`, `warn`, `error`, or `exception` for an uncaught one.
    pub level: &'static str,
    /// The formatted text; bounded by the runtime.
    pub text: String,
}

/// Everything an isolate can ask of the world.
///
/// One `Host` serves one invocation of a Worker, or one instance of an actor. All methods are called under the isolate's
/// lock and must be quick. The futures they return must not block. Those of [`Storage::get`] and [`Storage::list`] are
/// polled once under the lock, where an answer that is ready spares a turn; otherwise futures are polled outside of it.
pub trait Host: Send + Sync + 'static {
    /// Checks or makes an actor id. Errors become a JavaScript `TypeError` with this text.
    fn actor_id(&self, binding: &str, source: IdSource) -> Result<String, String>;

    /// Calls an actor. Calls are handed over in the order JavaScript made them, before the turn that made them has ended;
    /// a host keeps that order for calls to one actor, and lets none leave before what the turn wrote is committed.
    fn call_actor(&self, to: ActorAddress, call: ActorCall) -> BoxFuture<'static, Result<ActorReply, CallError>>;

    /// Sends one HTTP request to the outside, without following redirects.
    /// Errors become a JavaScript `TypeError` with this text.
    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, String>>;

    /// Takes a line a worker printed. An actor's lines come when the turn that printed them has ended.
    fn log(&self, line: LogLine);

    /// The actor's storage; `None` in a Worker.
    fn storage(&self) -> Option<&dyn Storage> {
        None
    }

    /// Called after every turn of the event loop in which JavaScript ran, with microtasks drained and the lock still
    /// held. An actor's host closes the implicit transaction here: writes of one turn are one atomic batch. Answers that
    /// an actor gave in the turn are handed out after this call.
    ///
    /// A turn that was stopped in the middle (a limit, an abort) has no end: this is not called, its answers are not
    /// given, its writes must not be kept.
    fn turn_ended(&self) {}

    /// `ctx.destroy()` inside an actor: ends this actor for good once all earlier writes are committed.
    fn destroy_self(&self) -> BoxFuture<'static, Result<(), CallError>> {
        Box::pin(async {
            Err(CallError {
                kind: CallErrorKind::InvalidTarget,
                error: JsError {
                    name: "TypeError".into(),
                    message: "only an actor can destroy itself".into(),
                    stack: String::new(),
                },
                outcome: Outcome::NotDone,
            })
        })
    }

    /// The actor is reset: `ctx.abort(reason)`, or a section that threw or took too long. From here on no write of this
    /// instance is taken.
    fn aborted(&self, _reason: &str) {}
}

/// Which records `list` returns, in UTF-8 order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// First name, inclusive.
    pub start: Option<String>,
    /// First name, exclusive.
    pub start_after: Option<String>,
    /// Last name, exclusive.
    pub end: Option<String>,
    /// Only names with this prefix.
    pub prefix: Option<String>,
    /// Descending order.
    pub reverse: bool,
    /// At most this many records.
    pub limit: Option<usize>,
}

/// Why a storage call was refused. Becomes the JavaScript error `name: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct StorageError {
    /// `TypeError`, `RangeError` or `Error`.
    pub name: &'static str,
    /// What was wrong and what to do.
    pub message: String,
}

/// An actor's storage. Values are V8-serialized bytes that storage does not look into.
///
/// Writes take effect at once in the buffer that reads see; they are committed together after the turn ends. Write
/// methods are called under the isolate's lock, in JavaScript's order. `get` and `list` take their snapshot when they
/// are called, and return a future because values may have to come from disk.
pub trait Storage: Send + Sync {
    /// Values of these names, `None` where there is none, in the order asked for.
    fn get(&self, names: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Bytes>>, StorageError>>;
    /// Names and values in order.
    fn list(&self, options: ListOptions) -> BoxFuture<'static, Result<Vec<(String, Bytes)>, StorageError>>;
    /// Writes all of these or, on error, none. `unconfirmed` writes do not hold the output gate.
    fn put(&self, records: Vec<(String, Bytes)>, unconfirmed: bool) -> Result<(), StorageError>;
    /// Removes names; returns how many of them were there.
    fn delete(&self, names: Vec<String>, unconfirmed: bool) -> Result<u64, StorageError>;
    /// Removes everything.
    fn delete_all(&self, unconfirmed: bool) -> Result<(), StorageError>;
    /// Resolves when every write made before the call is committed, except those of an open explicit transaction, for
    /// which it does not wait.
    fn sync(&self) -> BoxFuture<'static, Result<(), StorageError>>;
    /// Opens a (nested) explicit transaction: a savepoint. While one is open `turn_ended` commits nothing.
    fn begin(&self) -> Result<(), StorageError>;
    /// Closes the innermost transaction, keeping its writes.
    fn commit(&self) -> Result<(), StorageError>;
    /// Closes the innermost transaction, undoing its writes.
    fn rollback(&self) -> Result<(), StorageError>;
}
