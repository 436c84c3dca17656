//! One turn: something is delivered into an isolate, JavaScript runs until its microtasks are drained.
//!
//! Everything that happens to an isolate after it was made goes through [`deliver`]: timers, ends of operations, events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

use crate::{
    body::Body,
    error::InvocationError,
    gate::{Door, Pass},
    host::{Host, JsError, Payload},
    invocation::{Event, Reply},
    js, modules,
    ops::{log, rejection, section},
    pending::{self, Settle},
    program::Program,
    state,
};

/// Something to deliver.
pub(crate) enum Completion {
    /// An operation ended.
    Operation {
        /// Its number.
        id: u32,
        /// What settles its promise.
        settle: Settle,
    },
    /// The time of the next timer, or of a section, has come.
    Timer,
    /// A timer that was due fires.
    Fire(u32),
    /// Something came in.
    Event(Box<Event>),
}

/// What the driver must know after a turn.
pub(crate) struct Report {
    /// Operations the turn started.
    pub(crate) started: Vec<BoxFuture<'static, Completion>>,
    /// Completions that wait at an actor's input gate.
    pub(crate) at_door: usize,
    /// Whether the gate is open to an event that waits at it for the next batch.
    pub(crate) event_ready: bool,
    /// When the next timer is due, or a section expires.
    pub(crate) next_timer: Option<Instant>,
    /// Invocations without an answer.
    pub(crate) replies: usize,
    /// Unsettled promises given to `waitUntil`.
    pub(crate) wait_until: u32,
    /// Response bodies being written.
    pub(crate) streams: u32,
    /// Chunks of bodies that were not taken yet.
    pub(crate) body_writes: u32,
}

/// Loads `program` into a pristine isolate. Nothing is answered yet; an error ends the isolate.
pub(crate) fn boot(
    scope: &mut v8::PinScope,
    program: &Arc<Program>,
    host: Option<Arc<dyn Host>>,
) -> Result<(), JsError> {
    let state = state::get(scope);
    state.program = Some(program.clone());
    state.host = host;
    v8::tc_scope!(scope, scope);
    match try_boot(scope, program) {
        Some(()) => Ok(()),
        None => {
            let exception = scope.exception();
            scope.reset();
            Err(exception.map_or_else(stopped, |exception| js::thrown(scope, exception)))
        }
    }
}

/// The error of an isolate that was stopped; the reason to report is in its `Kill`.
pub(crate) fn stopped() -> JsError {
    JsError { name: "Error".into(), message: "the isolate was stopped".into(), stack: String::new() }
}

/// [`boot`] with its exception left pending.
pub(crate) fn try_boot(scope: &mut v8::PinScope, program: &Program) -> Option<()> {
    let vars = match &program.vars {
        Some(vars) => js::string(scope, vars).into(),
        None => v8::undefined(scope).into(),
    };
    let pairs: Vec<v8::Local<v8::Value>> = program
        .namespaces
        .iter()
        .map(|(binding, class_name)| {
            let pair = [js::string(scope, binding).into(), js::string(scope, class_name).into()];
            v8::Array::new_with_elements(scope, &pair).into()
        })
        .collect();
    let namespaces = v8::Array::new_with_elements(scope, &pairs).into();
    call_entry(scope, "setup", &[vars, namespaces])?;
    let exports = modules::load(scope, &program.main)?;
    let exports = v8::Global::new(scope, exports);
    state::get(scope).exports = Some(exports);
    scope.get_current_context().set_allow_generation_from_strings(false);
    Some(())
}

/// An event of an actor enters a batch only while the batch has taken less than this; later ones wait for the next. CPU
/// time is counted by batch and starts anew with an event, so this is by how much the time of one may burden another.
const EVENTS_WITHIN: Duration = Duration::from_millis(2);

/// Delivers completions. In a Worker they run now; in an actor they go through the input gate, and whatever the gate then
/// lets in runs.
pub(crate) fn deliver(scope: &mut v8::PinScope, batch: Vec<Completion>) {
    let start = Instant::now();
    enter(scope, start);
    for completion in batch {
        match completion {
            Completion::Timer => time(scope),
            completion => arrive(scope, completion),
        }
        enter(scope, start);
        if state::get(scope).kill.reason().is_some() {
            return;
        }
    }
    // Timers that came due meanwhile are not left behind by events that keep coming.
    if state::get(scope).timers.next().is_some_and(|when| when <= Instant::now()) {
        time(scope);
        enter(scope, start);
    }
}

/// Lets in what may enter an actor, in a batch that began at `start`.
fn enter(scope: &mut v8::PinScope, start: Instant) {
    loop {
        let state = state::get(scope);
        let Some(door) = &mut state.door else { return };
        let now = Instant::now();
        let stays = now - start > EVENTS_WITHIN && matches!(door.peek(), Some(Completion::Event(_)));
        if stays || state.kill.reason().is_some() {
            return;
        }
        let Some(completion) = door.enter(now) else { return };
        run(scope, completion);
        if let Some(door) = &mut state::get(scope).door {
            door.leave();
        }
    }
}

/// Shows the pass of a completion at the door; without a door, runs it.
fn arrive(scope: &mut v8::PinScope, completion: Completion) {
    let pass = match &completion {
        Completion::Operation { id, .. } => pending::take_pass(scope, *id),
        Completion::Event(_) | Completion::Timer | Completion::Fire(_) => None,
    };
    let state = state::get(scope);
    if let Completion::Event(event) = &completion
        && let Event::Construct { section_timeout, .. } = **event
    {
        state.door.get_or_insert_with(|| Door::new(section_timeout));
    }
    match &mut state.door {
        Some(door) => {
            let pass = pass.unwrap_or_else(|| door.outside());
            door.arrive(pass, completion);
        }
        None => run(scope, completion),
    }
}

/// Lets timers that are due fire, and ends an actor whose section takes too long.
fn time(scope: &mut v8::PinScope) {
    let now = Instant::now();
    while let Some((id, section)) = state::get(scope).timers.take_due(now) {
        match (&mut state::get(scope).door, section) {
            (Some(door), Some(section)) => door.arrive(Pass::Waits(section), Completion::Fire(id)),
            _ => run(scope, Completion::Fire(id)),
        }
        if state::get(scope).kill.reason().is_some() {
            return;
        }
    }
    let expired = state::get(scope).door.as_mut().and_then(|door| door.expire(now)).map(ToString::to_string);
    if let Some(reason) = expired {
        section::reset(scope, reason);
    }
}

/// One turn: starts what was let in and runs JavaScript until it rests.
fn run(scope: &mut v8::PinScope, completion: Completion) {
    let state = state::get(scope);
    state.turn_written = 0;
    state.turn_commit = None;
    match completion {
        Completion::Operation { id, settle } => pending::finish(scope, id, settle),
        Completion::Timer => {}
        Completion::Fire(id) => fire_timer(scope, id),
        Completion::Event(event) => start_event(scope, *event),
    }
    scope.perform_microtask_checkpoint();
    rejection::report(scope);
    end_turn(scope);
}

/// Closes the turn's implicit transaction, and only then lets its answers go. A turn that was stopped in the middle has
/// no end: its writes are not kept, its answers not given; what it printed helps to find out why.
fn end_turn(scope: &mut v8::PinScope) {
    let state = state::get(scope);
    let answers = std::mem::take(&mut state.answers);
    if state.kill.reason().is_some() {
        return log::flush(state);
    }
    if let Some(host) = state.host.clone() {
        host.turn_ended();
    }
    log::flush(state);
    for answer in answers {
        answer();
    }
}

/// Ends a batch of deliveries.
pub(crate) fn report(scope: &mut v8::PinScope) -> Report {
    let state = state::get(scope);
    Report {
        started: state.pending.take_started(),
        next_timer: state.timers.next().into_iter().chain(state.door.as_ref().and_then(Door::deadline)).min(),
        at_door: state.door.as_ref().map_or(0, Door::waiting),
        event_ready: state.door.as_ref().is_some_and(|door| door.peek().is_some()),
        replies: state.replies.len(),
        wait_until: state.wait_until,
        streams: state.streams,
        body_writes: state.body_writes,
    }
}

fn fire_timer(scope: &mut v8::PinScope, id: u32) {
    let Some(timer) = state::get(scope).timers.take_ready(id, Instant::now()) else { return };
    let continuation = v8::Local::new(scope, timer.continuation);
    scope.set_continuation_preserved_embedder_data(continuation);
    let handler = v8::Local::new(scope, timer.handler);
    v8::tc_scope!(scope, scope);
    let undefined = v8::undefined(scope).into();
    if handler.call(scope, undefined, &[]).is_none()
        && let Some(exception) = scope.exception()
    {
        scope.reset();
        crate::ops::log::uncaught(scope, exception, None);
    }
}

fn start_event(scope: &mut v8::PinScope, event: Event) {
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    scope.set_continuation_preserved_embedder_data(undefined);
    let state = state::get(scope);
    state.log_bytes_left = state::LOG_BYTES_MAX;
    state.subrequests_left = state::SUBREQUESTS_MAX;
    match event {
        Event::Fetch { entrypoint, request, reply } => {
            let Some(request) = request_object(scope, request) else { return reply.fail(too_many_bodies()) };
            let exports = exports(scope);
            let entrypoint = entrypoint.map_or(undefined, |name| js::string(scope, &name).into());
            start(scope, reply, "fetch", &[exports, entrypoint, request]);
        }
        Event::Scheduled { cron, scheduled_time_ms, reply } => {
            let exports = exports(scope);
            let cron = js::string(scope, &cron).into();
            let time = v8::Number::new(scope, scheduled_time_ms as f64).into();
            start(scope, reply, "scheduled", &[exports, cron, time]);
        }
        Event::Construct { start: actor, reply, .. } => {
            let exports = exports(scope);
            let class = js::string(scope, &actor.class_name).into();
            let id = js::string(scope, &actor.id).into();
            let name = actor.name.map_or(undefined, |name| js::string(scope, &name).into());
            start(scope, reply, "construct", &[exports, class, id, name]);
        }
        Event::Call { method, args, waiting, reply } => {
            let method = state::method_name(scope, &method).into();
            let json = matches!(args, Payload::Json(_));
            let args = match args {
                Payload::Json(text) => Some(js::string(scope, &text).into()),
                Payload::V8(bytes) => js::bytes(scope, &bytes).map(Into::into),
            };
            drop(waiting);
            let Some(args) = args else { return reply.fail(too_large()) };
            let json = v8::Boolean::new(scope, json).into();
            start(scope, reply, "call", &[method, args, json]);
        }
        Event::ActorFetch { request, reply } => {
            let Some(request) = request_object(scope, request) else { return reply.fail(too_many_bodies()) };
            start(scope, reply, "actorFetch", &[request]);
        }
    }
}

fn too_many_bodies() -> InvocationError {
    InvocationError::Overloaded("the isolate holds too many bodies".into())
}

fn too_large() -> InvocationError {
    InvocationError::Limit(crate::error::Limit::Memory)
}

fn exports<'s>(scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
    match state::get(scope).exports.clone() {
        Some(exports) => v8::Local::new(scope, exports).into(),
        None => v8::undefined(scope).into(),
    }
}

/// Registers the reply and calls a function of `entry.js`, which answers now or later.
fn start(scope: &mut v8::PinScope, reply: Reply, function: &'static str, args: &[v8::Local<v8::Value>]) {
    let state = state::get(scope);
    state.last_invocation += 1;
    let id = state.last_invocation;
    state.replies.insert(id, reply);
    let id = v8::Integer::new_from_unsigned(scope, id).into();
    let args: Vec<v8::Local<v8::Value>> = std::iter::once(id).chain(args.iter().copied()).collect();
    v8::tc_scope!(scope, scope);
    // Entry functions turn exceptions into replies; only termination gets here, and then the driver answers.
    if call_entry(scope, function, &args).is_none() && scope.can_continue() {
        tracing::error!(function, "an entry function threw");
    }
}

fn call_entry<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    function: &'static str,
    args: &[v8::Local<v8::Value>],
) -> Option<v8::Local<'s, v8::Value>> {
    let known = state::get(scope).entry_functions.iter().position(|(name, _)| *name == function);
    let function = match known {
        Some(index) => state::local(scope, |state| &state.entry_functions[index].1),
        None => {
            let entry = state::local(scope, |state| &state.entry);
            let found = js::get(scope, entry, function)?.cast::<v8::Function>();
            let global = v8::Global::new(scope, found);
            state::get(scope).entry_functions.push((function, global));
            found
        }
    };
    let receiver = v8::undefined(scope).into();
    function.call(scope, receiver, args)
}

/// The object `newIncomingRequest` takes, or `None` when there are too many bodies.
fn request_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    request: http::Request<Body>,
) -> Option<v8::Local<'s, v8::Value>> {
    let (parts, body) = request.into_parts();
    let object = v8::Object::new(scope);
    let method = js::string(scope, parts.method.as_str()).into();
    js::set(scope, object, "method", method);
    let url = js::string(scope, &absolute_url(&parts)).into();
    js::set(scope, object, "url", url);
    let headers = crate::ops::fetch::header_list(scope, &parts.headers);
    js::set(scope, object, "headers", headers.into());
    let rid = if http_body::Body::is_end_stream(&body) {
        v8::null(scope).into()
    } else {
        let id = state::get(scope).bodies.receive(body)?;
        v8::Integer::new_from_unsigned(scope, id).into()
    };
    js::set(scope, object, "rid", rid);
    Some(object.into())
}

/// A request's URL; one in origin form gets its host from the `Host` header.
fn absolute_url(parts: &http::request::Parts) -> String {
    if parts.uri.scheme().is_some() {
        return parts.uri.to_string();
    }
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    format!("http://{host}{path}")
}

/// Names of the program's exported actor classes; the program must be loaded.
pub(crate) fn actor_classes(scope: &mut v8::PinScope) -> Vec<String> {
    v8::tc_scope!(scope, scope);
    let exports = exports(scope);
    let Some(list) = call_entry(scope, "actorClasses", &[exports]) else { return Vec::new() };
    let Ok(list) = v8::Local::<v8::Array>::try_from(list) else { return Vec::new() };
    (0..list.length()).filter_map(|i| list.get_index(scope, i)).map(|name| name.to_rust_string_lossy(scope)).collect()
}
