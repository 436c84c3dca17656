// Every native function that built-in JavaScript can call as `lethe.ops.NAME`, and the Rust function behind it.
//
// This file is included twice: by `ops/mod.rs`, where the macro makes the table of functions, and by `build.rs`, where
// it makes the list of names. The order is the index that a startup snapshot remembers.

ops! {
    builtin => super::builtins::compile,
    log => super::log::log,
    logException => super::log::exception,
    now => super::clock::now,
    randomFill => super::clock::random_fill,
    timerStart => super::timers::start,
    timerClear => super::timers::clear,
    bodyRead => super::body::read,
    bodyCancel => super::body::cancel,
    bodyOpen => super::body::open,
    bodyWrite => super::body::write,
    bodyEnd => super::body::end,
    bodyFail => super::body::fail,
    fetch => super::fetch::fetch,
    fetchAbort => super::fetch::abort,
    serialize => super::clone::serialize,
    deserialize => super::clone::deserialize,
    structuredClone => super::clone::structured_clone,
    replyResponse => super::reply::response,
    replyValue => super::reply::value,
    replyError => super::reply::error,
    hold => super::reply::hold,
    actorAbort => super::reply::abort,
}
