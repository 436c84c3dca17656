//! What Rust keeps per isolate: everything the natives and the event loop share. It lives in a slot of the isolate and is
//! touched only under its lock.

use std::{collections::HashMap, ptr, sync::Arc, time::Instant};

use crate::{
    bodies::Bodies,
    gate::Door,
    host::{Host, LogLine},
    invocation::Reply,
    js,
    kill::Kill,
    memory::{Buffers, HeapGuard},
    modules::Modules,
    ops::fetch::Fetches,
    pending::Pending,
    program::Program,
    quotas::Quotas,
    tasks::Tasks,
    timers::Timers,
    turn::Completion,
};

/// Console output of one invocation (of an actor: between two incoming events), bytes.
pub(crate) const LOG_BYTES_MAX: usize = 256 * 1024;
/// Requests an isolate may send per invocation.
pub(crate) const SUBREQUESTS_MAX: u32 = 10_000;

/// Names of methods that an isolate keeps as strings.
const METHOD_NAMES_MAX: usize = 16;
/// Longest such name.
const METHOD_NAME_BYTES_MAX: usize = 128;

/// State of one isolate.
pub(crate) struct State {
    /// The one context.
    pub(crate) context: v8::Global<v8::Context>,
    /// The builtins' `lethe` object.
    pub(crate) lethe: v8::Global<v8::Object>,
    /// `lethe.unclonables`: prototypes of objects that cannot be serialized.
    pub(crate) unclonables: v8::Global<v8::Set>,
    /// Exports of `entry.js`.
    pub(crate) entry: v8::Global<v8::Object>,
    /// Those of its functions that were called before, so that a live actor's turn need not look for them.
    pub(crate) entry_functions: Vec<(&'static str, v8::Global<v8::Function>)>,
    /// Names of methods that were called, [`METHOD_NAMES_MAX`] at most.
    pub(crate) method_names: Vec<(Box<str>, v8::Global<v8::String>)>,
    /// The program, once there is one.
    pub(crate) program: Option<Arc<Program>>,
    /// The door out; none while a program is compiled.
    pub(crate) host: Option<Arc<dyn Host>>,
    /// Ends this isolate.
    pub(crate) kill: Kill,
    /// An actor's input gate; none in a Worker, whose one event needs no protection.
    pub(crate) door: Option<Door<Completion>>,
    /// Watches the heap's limit.
    pub(crate) heap_guard: Arc<HeapGuard>,
    /// Array buffer accounting.
    pub(crate) buffers: Arc<Buffers>,
    /// Count of the bytes that left the isolate and are still under way.
    pub(crate) outgoing: Arc<Buffers>,
    /// Loaded modules.
    pub(crate) modules: Modules,
    /// Namespace of the program's entry module, once it is loaded.
    pub(crate) exports: Option<v8::Global<v8::Object>>,
    /// Operations that JavaScript waits for.
    pub(crate) pending: Pending,
    /// Fetches that can be aborted.
    pub(crate) fetches: Fetches,
    /// Tasks that may outlive the isolate.
    pub(crate) tasks: Tasks,
    /// What is on its way outside of the isolate's heap.
    pub(crate) quotas: Quotas,
    /// Bodies by number.
    pub(crate) bodies: Bodies,
    /// Timers.
    pub(crate) timers: Timers,
    /// Invocations without an answer yet.
    pub(crate) replies: HashMap<u32, Reply>,
    /// Number of the last invocation.
    pub(crate) last_invocation: u32,
    /// Bytes that this turn has put into storage.
    pub(crate) turn_written: usize,
    /// What later writes of this turn wait for, once it has written much.
    pub(crate) turn_commit: Option<v8::Global<v8::Value>>,
    /// Lines an actor printed in a turn that has not ended.
    pub(crate) lines: Vec<LogLine>,
    /// Answers of an actor's turn that has not ended, and ends of bodies.
    pub(crate) answers: Vec<Box<dyn FnOnce() + Send>>,
    /// Promises given to `waitUntil` that have not settled.
    pub(crate) wait_until: u32,
    /// Response bodies that JavaScript is still writing.
    pub(crate) streams: u32,
    /// Chunks that JavaScript wrote to bodies and that were not taken, or of which it was not told yet that they were.
    pub(crate) body_writes: u32,
    /// Rejected promises that nobody handles so far.
    pub(crate) rejections: Vec<(v8::Global<v8::Promise>, v8::Global<v8::Value>)>,
    /// Bytes of console output left.
    pub(crate) log_bytes_left: usize,
    /// Requests left.
    pub(crate) subrequests_left: u32,
    /// When the memory check last asked for a garbage collection.
    pub(crate) last_collection: Option<Instant>,
    /// Bytes of the WebAssembly memories that JavaScript knows, when it last looked.
    pub(crate) wasm_bytes: usize,
    /// Whether WebAssembly may be compiled now: only while the runtime compiles a module of the program.
    pub(crate) wasm_allowed: bool,
}

impl State {
    /// Gives an answer: a Worker's at once, an actor's when the turn has ended, so that it rests on a closed batch of
    /// writes; never if the turn is stopped before.
    pub(crate) fn answer(&mut self, give: impl FnOnce() + Send + 'static) {
        if self.door.is_some() {
            self.answers.push(Box::new(give));
        } else {
            give();
        }
    }
}

/// The state of the isolate that `scope` is in.
pub(crate) fn get(scope: &mut v8::Isolate) -> &mut State {
    scope.get_slot_mut::<State>().expect("an isolate gets its state when it is made")
}

/// Reads a handle out of the state.
pub(crate) fn local<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    pick: impl FnOnce(&State) -> &v8::Global<T>,
) -> v8::Local<'s, T> {
    let global = ptr::from_ref(pick(get(scope)));
    // SAFETY: the state stays where it is, in its slot, and making a local handle changes nothing in it. A clone of the
    // handle would be a new one for V8, made and freed in each turn.
    v8::Local::new(scope, unsafe { &*global })
}

/// A method's name as a string. Those that were called before are kept: V8's table of strings is large, and in no cache
/// when an actor among many has its turn.
pub(crate) fn method_name<'s>(scope: &mut v8::PinScope<'s, '_>, method: &str) -> v8::Local<'s, v8::String> {
    let known = get(scope).method_names.iter().position(|(name, _)| **name == *method);
    if let Some(index) = known {
        return local(scope, |state| &state.method_names[index].1);
    }
    let name = js::name(scope, method);
    if method.len() <= METHOD_NAME_BYTES_MAX && get(scope).method_names.len() < METHOD_NAMES_MAX {
        let global = v8::Global::new(scope, name);
        get(scope).method_names.push((method.into(), global));
    }
    name
}
